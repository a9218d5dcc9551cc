"""`qsgd-lab code-length`: its keys, its formats, its inputs, its exit codes."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

from qsgd_lab.cli.measure.code_length import code_length
from qsgd_lab.errors import LabError
from qsgd_lab.theory.checks import code_length as checks

CONDITIONS = ["bits", "levels", "dim", "bucket_size", "norm", "code", "layout"]
BITS = ["bits_measured", "bits_exact", "bound_paper", "bound_explicit", "entropy", "lower_bound"]
KEYS = [*CONDITIONS, *BITS, *(f"{name}_per_coord" for name in BITS)]


def invoke(*arguments: str):
    """Run the command on a small vector."""
    return CliRunner().invoke(code_length, ["--dim", "2^12", "--trials", "3", *arguments])


def rows_of(*arguments: str) -> list[dict]:
    """Return the command's JSON rows."""
    return json.loads(invoke(*arguments, "--format", "json").stdout)


@pytest.mark.parametrize("layout", ["dense", "dense-signed", "sparse"])
def test_json_has_the_documented_keys_in_order(layout):
    """JSON is a list of rows, documented keys first; figures a coordinate are the vector's over n."""
    rows = rows_of("--bits", "4,1..2", "--layout", layout)

    assert [(row["bits"], row["levels"]) for row in rows] == [(4, 15), (1, 1), (2, 3)]
    assert all(list(row)[: len(KEYS)] == KEYS for row in rows)
    assert all(row[f"{name}_per_coord"] * 4096 == pytest.approx(row[name]) for row in rows for name in BITS)
    assert {(row["code"], row["layout"], row["verdict"]) for row in rows} == {("omega", layout, "ok")}


def test_fixed_width_has_no_code_and_no_bound_of_the_paper():
    """Fixed width costs b + 1 bits and its norms, whatever the layout says."""
    (row,) = rows_of("--bits", "3", "--code", "fixed", "--layout", "sparse")

    assert (row["code"], row["layout"], row["bound_paper"]) == ("none", "fixed", None)
    assert row["bits_measured_per_coord"] == row["bits_exact_per_coord"] == 4.0625


def test_the_headline_comes_from_the_command():
    """--levels 16 with buckets of 256 on a constant vector: 4 n + 32 in real messages."""
    (row,) = rows_of("--levels", "16", "--bucket-size", "256", "--distribution", "constant")

    assert (row["bits"], row["levels"]) == (5, 16)
    assert row["bits_measured_per_coord"] == 4 + 32 / 256


def test_csv_and_json_hold_the_same_figures():
    """CSV has the JSON's columns and, read back, its values; what there is not is empty."""
    arguments = ["--bits", "1,3", "--code", "gamma"]
    records = rows_of(*arguments)
    rows = list(csv.DictReader(io.StringIO(invoke(*arguments, "--format", "csv").stdout)))

    assert [list(row) for row in rows] == [list(record) for record in records]
    assert [float(row["bits_exact"]) for row in rows] == [record["bits_exact"] for record in records]
    assert {row["bound_paper"] for row in rows} == {""}


@pytest.mark.parametrize(
    "options", [[], ["--norm", "max"], ["--rounding", "nearest"], ["--layout", "sparse"]]
)
def test_text_fits_eighty_columns(options):
    """Lines stay within 80 columns for every number of bits; a wider table comes in blocks of all rows."""
    result = invoke("--bits", "1..15", *options)

    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    blocks = result.stdout.count("\n b ")
    assert 1 <= blocks <= 2
    assert result.stdout.count("\n15  32767") == blocks


def test_latex_rows_have_the_columns_of_the_tabular():
    """Each row has as many cells as the tabular has columns."""
    lines = invoke("--bits", "1..3", "--format", "latex").stdout.splitlines()
    columns = next(line for line in lines if "begin{tabular}" in line).split("{")[-1].rstrip("}")
    rows = [line for line in lines if line.endswith(r"\\")]

    assert len(rows) == 4
    assert {row.count("&") for row in rows} == {len(columns) - 1}


def test_a_vector_of_ones_own_is_measured(tmp_path):
    """--input reads any float array, and names it in the output."""
    np.save(tmp_path / "grad.npy", np.random.default_rng(0).standard_normal((30, 50)))
    arguments = ["--input", str(tmp_path / "grad.npy"), "--bits", "3", "--format", "json"]
    (row,) = json.loads(CliRunner().invoke(code_length, arguments).stdout)

    assert (row["dim"], row["source"], row["verdict"]) == (1500, "grad.npy", "ok")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--input", "a.npy"], 2),  # and --dim
        (["--plot", "figure.gif"], 2),
        (["--dim", "2^40"], 2),
        (["--bits", "3", "--levels", "7"], 2),
    ],
)
def test_requests_that_cannot_be_met_are_refused(arguments, code):
    """Contradictions, unknown figure formats and vectors beyond memory end in one line."""
    error = invoke(*arguments).exception

    assert isinstance(error, LabError)
    assert error.exit_code == code


@pytest.mark.parametrize(
    "arguments", [["--code", "huffman"], ["--layout", "fixed"], ["--levels", "0"], ["--dim", "0"]]
)
def test_unknown_values_are_usage_errors(arguments):
    """Click refuses them with exit code 2."""
    assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize("ending", ["pdf", "png", "svg"])
def test_plot_writes_the_same_figure_twice(tmp_path, ending):
    """--plot writes a file of its ending's kind, byte for byte the same each time."""
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        assert invoke("--bits", "1..3", "--plot", str(path)).exit_code == 0

    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith({"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}[ending])


def test_a_failed_check_is_exit_code_one(monkeypatch):
    """Messages of another code are named in the conclusion and the verdict, and end the command with 1."""
    measure = checks.measure_messages

    def other(vector, setting, code, layout, trials):
        return measure(vector, setting, "delta", layout, trials)

    monkeypatch.setattr(checks, "measure_messages", other)
    result = invoke("--levels", "7", "--code", "gamma", "--dim", "2^16")

    assert result.exit_code == 1
    assert "1 of 1 rows FAIL (s = 7)" in result.stdout
    assert "WRONG LENGTH" in result.stdout
