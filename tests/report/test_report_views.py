"""The views of a table: the same numbers whatever the columns are, and names that tell columns apart."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from fake_runs import demo_records, record, sweeps
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_report import KNOWN_MACROS, macros, tabulars, unbalanced, without_comments

from qsgd_lab.report import render
from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.tables.layout import lay_out
from qsgd_lab.report.tables.options import ORDERS, SHOWS, STYLES, VIEWS, TableOptions
from qsgd_lab.report.tables.sheets import column_names, sheets
from qsgd_lab.runs.record import RunRecord

#: Any options: each is a way to print the same records.
any_options = st.builds(
    TableOptions,
    show=st.lists(st.sampled_from(list(SHOWS)), min_size=1, unique=True).map(tuple),
    by=st.sampled_from(list(VIEWS)),
    sort=st.sampled_from(list(ORDERS)),
    style=st.sampled_from(STYLES),
    published=st.booleans(),
)


def _numbers(records: list[RunRecord], options: TableOptions) -> Counter[str]:
    """Return how often each printed accuracy occurs in the whole output."""
    tables = lay_out(group_records(records), options)
    return Counter(
        entry.number + entry.marks
        for table in tables
        for panel in table.panels
        for row in panel.rows
        for entry in row.entries
        if entry.deviation
    )


@given(sweeps(), st.sampled_from(["method", "model", "setting", "task"]))
def test_views_show_the_same_accuracies(records: list[RunRecord], view: str) -> None:
    """Whatever the columns are, the same means, deviations and marks are printed equally often."""
    by_nodes = TableOptions(show=("accuracy",))
    other = TableOptions(show=("accuracy",), by=view)  # type: ignore[arg-type]

    assert _numbers(records, other) == _numbers(records, by_nodes)


@given(sweeps(), st.sampled_from(list(VIEWS)))
def test_every_cell_stands_in_one_place(records: list[RunRecord], view: str) -> None:
    """A view has each cell of each group once, in a row and column that name it."""
    groups = group_records(records)
    found = [
        (id(cell[0]), cell[1].label, cell[2].nodes)
        for sheet in sheets(groups, view)  # type: ignore[arg-type]
        for column in sheet.columns
        for cell in column.cells
        if cell is not None
    ]
    there = [
        (id(g), method.label, cell.nodes) for g in groups for method in g.methods for cell in method.cells
    ]

    assert sorted(found) == sorted(there)


@given(sweeps())
def test_names_tell_columns_apart(records: list[RunRecord]) -> None:
    """Groups side by side have different names."""
    groups = group_records(records)
    for first in ("model", "setting", "task"):
        names = column_names(groups, first)

        assert len(set(names)) == len(groups)


@settings(max_examples=60)
@given(sweeps(), any_options)
def test_any_options_give_sound_latex(records: list[RunRecord], options: TableOptions) -> None:
    """Whatever is shown in whatever view and style, rows fill their columns and what is opened is closed."""
    source = without_comments(render(records, "latex", options))

    assert source.isascii()
    assert unbalanced(source) == []
    assert macros(source) <= KNOWN_MACROS
    assert tabulars(source)
    for num_columns, rows in tabulars(source):
        assert set(rows) == {num_columns}
    labels = re.findall(r"\\label\{(.*)\}", source)
    assert len(set(labels)) == len(labels) > 0


@settings(max_examples=25)
@given(sweeps(), any_options)
def test_any_options_give_text_and_markdown(records: list[RunRecord], options: TableOptions) -> None:
    """The other formats for people take every option too, and end in one newline."""
    for format_name in ("text", "markdown"):
        written = render(records, format_name, options)

        assert written.endswith("\n")
        assert not written.endswith("\n\n")


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("by", VIEWS)
@pytest.mark.parametrize("show", ["accuracy", "bits", "codes", "traffic", "network"])
def test_text_fits_a_terminal(by: str, show: str, width: int) -> None:
    """Each view of the demo beside two norms keeps within the terminal's columns."""
    other = [record(preset="l2", norm="l2", nodes=n, seed=s) for n in (1, 2) for s in range(3)]
    text = render([*demo_records(), *other], "text", TableOptions(by=by, show=(show,), width=width))  # type: ignore[arg-type]

    assert max(map(len, text.splitlines())) <= width


def test_models_stand_side_by_side() -> None:
    """Models of one preset share a table though their learning rates differ; other quantizers do not."""
    records = [
        record(model="alexnet"),
        record(model="resnet20", learning_rate=0.5),
        record(model="resnet20", norm="l2"),
    ]
    found = sheets(group_records(records), "model")

    assert sorted(sheet.names for sheet in found) == [("",), ("alexnet", "resnet20")]


def test_theory_stands_beside_practice() -> None:
    """The l2 norm and the max norm of one preset share a table, and the legend says which is which."""
    records = [record(norm="l2", bucket_size="model"), record(norm="max", bucket_size=512)]
    text = render(records, "text", TableOptions(by="setting"))

    assert "l2   max" in re.sub(r" {3,}", "   ", text)
    assert "The l2 norm is that of QSGD's theory" in text
    assert "one bucket for the whole model" in text
    assert "buckets of 512" in text


def test_two_presets_of_one_model() -> None:
    """A protocol with flaws is beside the corrected one, under the presets' names; the flaws are told."""
    records = [record(preset="report"), record(preset="report-2023", flaws=("biased-levels",))]
    text = " ".join(render(records, "text", TableOptions(by="setting", show=("accuracy",))).split())

    assert "report report-2023" in text
    assert "with the published flaws biased-levels" in text


def test_a_hole_is_a_missing_entry() -> None:
    """A method that one setting lacks, and a number of nodes that the other lacks, are marked as not run."""
    records = [
        record(norm="l2", bits=8),
        record(norm="max", bits=2, nodes=2),
    ]
    (table,) = lay_out(group_records(records), TableOptions(by="setting", show=("accuracy",)))
    (panel,) = table.panels

    assert [[entry.number for entry in row.entries] for row in panel.rows] == [
        ["50.0", "--", "--", "--"],
        ["--", "--", "--", "50.0"],
    ]
    assert any("not run" in note for note in table.notes)
