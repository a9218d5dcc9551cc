"""`qsgd-lab variance`: its formats, its inputs, its exit codes."""

from __future__ import annotations

import csv
import errno
import io
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from qsgd_lab.cli.measure.variance import variance
from qsgd_lab.cli.measure.variance_output import Conditions, render
from qsgd_lab.errors import LabError, UsageError
from qsgd_lab.theory.checks import sweep

KEYS = [
    "bits",
    "levels",
    "dim",
    "bucket_size",
    "norm",
    "relative_variance",
    "ci_low",
    "ci_high",
    "exact",
    "bound_paper",
    "bound_tight",
    "bias_z",
    "nonzeros",
    "nonzeros_exact",
    "nonzeros_bound_paper",
    "nonzeros_bound_tight",
    "verdict",
]
SMALL = ["--dim", "2^12", "--trials", "4"]


def invoke(*arguments: str):
    """Run the command on a small vector."""
    return CliRunner().invoke(variance, [*SMALL, *arguments])


def invoke_on(path, *arguments: str):
    """Run the command on a file."""
    return CliRunner().invoke(variance, ["--trials", "4", "--input", str(path), *arguments])


def test_json_has_a_row_a_bit_width():
    """JSON is a list of rows with the documented keys, in the order asked for."""
    rows = json.loads(invoke("--bits", "4,1..2", "--format", "json").stdout)

    assert [(row["bits"], row["levels"]) for row in rows] == [(4, 15), (1, 1), (2, 3)]
    assert all(list(row)[: len(KEYS)] == KEYS for row in rows)
    assert all(row["ci_low"] <= row["relative_variance"] <= row["ci_high"] for row in rows)
    assert all(row["exact"] <= row["bound_tight"] <= row["bound_paper"] for row in rows)
    assert {row["verdict"] for row in rows} == {"ok"}


def test_csv_and_json_hold_the_same_figures():
    """CSV has the JSON's columns and, read back, its values."""
    records = json.loads(invoke("--bits", "1,3", "--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(invoke("--bits", "1,3", "--format", "csv").stdout)))

    assert [list(row) for row in rows] == [list(record) for record in records]
    assert [float(row["exact"]) for row in rows] == [record["exact"] for record in records]


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("norm", ["l2", "max"])
def test_text_fits_eighty_columns(norm, rounding):
    """Both tables stay whole within 80 columns for every number of bits."""
    result = invoke("--bits", "1..15", "--norm", norm, "--rounding", rounding)

    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert result.stdout.count("\n15  32767") == 2


def test_latex_rows_have_the_columns_of_the_tabular():
    """Each row has as many cells as the tabular has columns, and no special character is loose."""
    lines = invoke("--bits", "1..3", "--format", "latex").stdout.splitlines()
    columns = next(line for line in lines if "begin{tabular}" in line).split("{")[-1].rstrip("}")
    rows = [line for line in lines if line.endswith(r"\\")]

    assert len(rows) == 4
    assert {row.count("&") for row in rows} == {len(columns) - 1}


def test_a_vector_of_ones_own_is_measured(tmp_path):
    """--input reads any float array, flattened, and names it in the output."""
    np.save(tmp_path / "grad.npy", np.random.default_rng(0).standard_normal((30, 50)))

    rows = json.loads(invoke_on(tmp_path / "grad.npy", "--bits", "3", "--format", "json").stdout)

    assert (rows[0]["dim"], rows[0]["source"], rows[0]["verdict"]) == (1500, "grad.npy", "ok")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "only zeros"),
        (np.array([1.0, np.inf]), "NaN, infinities"),
        (np.array([1e200]), "beyond float32"),
        (np.arange(3), "floating-point"),
        (np.zeros(0), "non-empty"),
        (np.array([{}], dtype=object), "not a .npy file of numbers"),
    ],
)
def test_a_file_that_cannot_be_measured_is_refused(tmp_path, array, message):
    """Zeros, non-finite numbers, integers and pickles end in one line and exit code 2."""
    np.save(tmp_path / "grad.npy", array)
    error = invoke_on(tmp_path / "grad.npy").exception

    assert isinstance(error, LabError)
    assert message in str(error)
    assert error.exit_code == 2


def test_a_missing_file_is_missing_data(tmp_path):
    """A file that is not there is exit code 3."""
    error = invoke_on(tmp_path / "none.npy").exception

    assert isinstance(error, LabError)
    assert error.exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [["--plot", "figure.gif"], ["--plot", "no-such-folder/a.pdf"], ["--dim", "2^40"], ["--input", "a.npy"]],
)
def test_requests_that_cannot_be_met_are_usage_errors(arguments):
    """Unknown figure formats, missing folders, vectors beyond memory and two vectors at once are refused."""
    error = invoke(*arguments).exception

    assert isinstance(error, LabError)
    assert error.exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["--bits", "32"], ["--bits", "0"], ["--bucket-size", "0"], ["--trials", "1"]]
)
def test_values_out_of_range_are_usage_errors(arguments):
    """Click refuses them with exit code 2."""
    assert invoke(*arguments).exit_code == 2


def test_one_bucket_for_the_whole_vector():
    """--bucket-size tensor is one bucket, and so is a bucket longer than the vector."""
    results = [
        invoke("--bits", "2", "--bucket-size", size, "--format", "json") for size in ("tensor", "2^13")
    ]

    assert results[0].stdout == results[1].stdout
    assert json.loads(results[0].stdout)[0]["bucket_size"] == 2**12


@pytest.mark.parametrize("ending", ["pdf", "png", "svg"])
@pytest.mark.parametrize("options", [[], ["--norm", "max"], ["--distribution", "onehot"]])
def test_plot_writes_a_figure(tmp_path, ending, options):
    """--plot writes a file of its ending's kind, also where there is no bound of the paper or no variance."""
    path = tmp_path / f"figure.{ending}"

    assert invoke("--bits", "1..3", "--plot", str(path), *options).exit_code == 0
    assert path.read_bytes().startswith({"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}[ending])


def test_a_plot_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    """--plot to a folder, a pipe or a device, or through a link, is refused before anything is measured."""
    monkeypatch.setattr("qsgd_lab.theory.checks.sweep.sweep_bits", lambda *_, **__: pytest.fail("measured"))
    (tmp_path / "folder.svg").mkdir()
    os.mkfifo(tmp_path / "pipe.svg")
    (tmp_path / "null.svg").symlink_to(os.devnull)
    (tmp_path / "link.svg").symlink_to("folder.svg")
    for name in ("folder.svg", "pipe.svg", "null.svg", "link.svg"):
        error = invoke("--plot", str(tmp_path / name)).exception
        assert isinstance(error, UsageError)
        assert "not an ordinary file" in str(error)


def test_results_are_printed_before_the_figure_is_drawn(tmp_path, monkeypatch):
    """A figure that cannot be written after all, because the disk has become full, costs no result."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("qsgd_lab.cli.measure.variance_plot.save", full)
    result = invoke("--bits", "1", "--format", "csv", "--plot", str(tmp_path / "a.svg"))

    assert isinstance(result.exception, OSError)
    assert result.stdout == invoke("--bits", "1", "--format", "csv").stdout != ""


def test_a_failed_check_is_exit_code_one(monkeypatch):
    """A biased quantizer is named in the conclusion and the verdict, and ends the command with 1."""

    def inflated(vector, setting, trial):
        return vector * np.float32(1.5)

    def biased_sweep(bits, **options):
        return sweep_bits(bits, **options, quantizer=inflated)

    sweep_bits = sweep.sweep_bits
    monkeypatch.setattr(sweep, "sweep_bits", biased_sweep)
    result = invoke("--bits", "3")

    assert result.exit_code == 1
    assert "1 of 1 rows FAIL (b = 3)" in result.stdout
    assert "BIASED" in result.stdout


def test_the_same_command_prints_the_same_bytes():
    """The output is a function of the options."""
    assert invoke("--bits", "2").stdout == invoke("--bits", "2").stdout


def test_latex_escapes_a_files_name():
    """A name from the user's disk cannot become LaTeX."""
    (check,) = sweep.sweep_bits((2,), dim=64, trials=2)

    assert r"a\_b\%\$.npy" in render([check], Conditions("a_b%$.npy", 0, 2), "latex")


def test_levels_stand_in_for_bits():
    """--levels 3,16 measures s = 3 as --bits 2 does, and s = 16, which no number of bits gives."""
    by_levels = json.loads(invoke("--levels", "3,16", "--format", "json").stdout)
    (by_bits,) = json.loads(invoke("--bits", "2", "--format", "json").stdout)

    assert by_levels[0] == by_bits
    assert (by_levels[1]["bits"], by_levels[1]["levels"], by_levels[1]["verdict"]) == (5, 16, "ok")
    assert isinstance(invoke("--bits", "2", "--levels", "3").exception, LabError)


def test_every_backend_prints_the_same_bytes():
    """The reference, in plain NumPy, gives the rows of the compiled kernels."""
    outputs = {invoke("--bits", "2", "--backend", name).stdout for name in ("auto", "cpu", "reference")}

    assert len(outputs) == 1
