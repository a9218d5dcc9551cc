"""`qsgd-lab convergence`: its formats, its figure, its exit codes."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import CliRunner

from qsgd_lab.cli.measure.convergence import convergence
from qsgd_lab.theory.checks import convergence as checks

SMALL = ["--problem", "logistic", "--steps", "20", "--workers", "1,4", "--epochs", "2", "--trials", "2"]


def invoke(*arguments: str):
    """Run the command on one problem with few steps."""
    return CliRunner().invoke(convergence, [*SMALL, *arguments])


def test_json_has_a_row_a_method_and_an_epoch():
    """JSON is a list of rows with gap, bound and bits; every bound is kept."""
    rows = json.loads(invoke("--levels", "1,6", "--format", "json").stdout)

    assert [row["method"] for row in rows].count("QSGD") == 4
    assert [row["epoch"] for row in rows if row["method"] == "QSVRG"] == [1, 2, 1, 2]
    assert all(row["gap"] <= row["bound"] and row["verdict"] == "ok" for row in rows)


def test_csv_and_json_hold_the_same_figures():
    """CSV has the JSON's columns and, read back, its values."""
    records = json.loads(invoke("--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(invoke("--format", "csv").stdout)))

    assert [list(row) for row in rows] == [list(record) for record in records]
    assert [float(row["gap"]) for row in rows] == [record["gap"] for record in records]


def test_text_fits_eighty_columns():
    """Every table keeps within 80 columns, in blocks where it is wider."""
    text = invoke("--problem", "least-squares", "--levels", "1,32767", "--steps", "20,300").stdout

    assert max(map(len, text.splitlines())) <= 80


def test_latex_has_a_table_for_each_family():
    """SGD and QSVRG have a table each, rows as wide as the tabular."""
    text = invoke("--format", "latex").stdout

    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 2
    for table in text.split(r"\begin{tabular}{")[1:]:
        columns = table.split("}")[0]
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {row.count("&") for row in rows} == {len(columns) - 1}


@pytest.mark.parametrize("ending", ["pdf", "png", "svg"])
def test_plot_writes_the_same_figure_twice(tmp_path, ending):
    """--plot writes a file of its ending's kind, byte for byte the same each time."""
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        assert invoke("--plot", str(path)).exit_code == 0

    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_exceeded_bound_is_exit_code_one(monkeypatch):
    """A step that never moves exceeds the bound of many workers and ends the command with 1."""
    monkeypatch.setattr(checks, "convex_step", lambda *_: 0.0)
    result = invoke("--workers", "1024", "--steps", "1000", "--epochs", "0", "--levels", "6")

    assert result.exit_code == 1
    assert "EXCEED" in result.stdout


@pytest.mark.parametrize(
    "arguments", [["--problem", "lasso"], ["--workers", "0"], ["--steps", "0"], ["--trials", "1"]]
)
def test_unknown_values_are_usage_errors(arguments):
    """Click refuses them with exit code 2."""
    assert invoke(*arguments).exit_code == 2
