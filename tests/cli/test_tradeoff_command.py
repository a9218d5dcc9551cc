"""`qsgd-lab tradeoff`: its formats, its inputs, its figure."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

from qsgd_lab.cli.measure.tradeoff import tradeoff
from qsgd_lab.errors import LabError
from qsgd_lab.theory.tradeoff import CODES


def invoke(*arguments: str):
    """Run the command on a small vector."""
    return CliRunner().invoke(tradeoff, ["--dim", "2^12", *arguments])


@pytest.mark.parametrize("options", [[], ["--distribution", "worst-case"], ["--bucket-size", "tensor"]])
def test_json_has_every_quantizer_and_code(options):
    """Each row has the variance, the bits under each code (null where there is none) and the lower bound."""
    rows = json.loads(invoke("--format", "json", *options).stdout)

    assert {"QSGD, l2", "QSGD, max", "NUQSGD", "TernGrad", "rand-k", "top-k", "HSQ"} <= {
        row["method"] for row in rows
    }
    for row in rows:
        bits = [row[f"bits_{code}"] for code in CODES]
        assert any(value is not None for value in bits)
        assert all(value >= row["lower_bound"] for value in bits if value is not None)


def test_csv_and_json_hold_the_same_figures():
    """CSV has the JSON's columns and, read back, its values."""
    records = json.loads(invoke("--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(invoke("--format", "csv").stdout)))

    assert [list(row) for row in rows] == [list(record) for record in records]
    assert [float(row["bits_fixed"]) for row in rows] == [record["bits_fixed"] for record in records]


def test_text_fits_a_hundred_columns_and_marks_bias(monkeypatch):
    """In a wide terminal no row is broken, and biased methods alone have a star."""
    monkeypatch.setenv("COLUMNS", "100")
    lines = invoke("--bits", "1..15").stdout.splitlines()

    assert max(map(len, lines)) <= 100
    assert sum("lower" in line for line in lines) == 2  # one block's heading, and the legend
    assert all("*" in line for line in lines if line.startswith(("top-k", "nearest", "scaled sign")))
    assert not any("*" in line for line in lines if line.startswith(("QSGD", "rand-k", "NUQSGD")))


def test_latex_rows_have_the_columns_of_the_tabular():
    """Each row has as many cells as the tabular has columns."""
    lines = invoke("--format", "latex").stdout.splitlines()
    columns = next(line for line in lines if "begin{tabular}" in line).split("{")[-1].rstrip("}")

    assert {row.count("&") for row in lines if row.endswith(r"\\")} == {len(columns) - 1}


def test_a_vector_of_ones_own_is_taken(tmp_path):
    """--input reads a file and names it."""
    np.save(tmp_path / "grad.npy", np.random.default_rng(0).standard_normal(1000))
    arguments = ["--input", str(tmp_path / "grad.npy"), "--format", "json"]
    rows = json.loads(CliRunner().invoke(tradeoff, arguments).stdout)

    assert {(row["dim"], row["source"]) for row in rows} == {(1000, "grad.npy")}


@pytest.mark.parametrize("arguments", [["--dim", "1"], ["--plot", "figure.gif"], ["--input", "a.npy"]])
def test_requests_that_cannot_be_met_are_refused(arguments):
    """One coordinate, unknown figure formats and two vectors at once end in one line."""
    error = invoke(*arguments).exception

    assert isinstance(error, LabError)
    assert error.exit_code == 2


@pytest.mark.parametrize("distribution", ["normal", "worst-case", "onehot"])
@pytest.mark.parametrize("ending", ["pdf", "png", "svg"])
def test_plot_writes_the_same_figure_twice(tmp_path, ending, distribution):
    """--plot writes a file of its ending's kind, byte for byte the same each time."""
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        assert invoke("--bits", "1,4", "--distribution", distribution, "--plot", str(path)).exit_code == 0

    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith({"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}[ending])
