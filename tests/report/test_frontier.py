"""The frontier of accuracy and bits, tables sorted by bits, and tasks side by side."""

from __future__ import annotations

import statistics

import pytest
from fake_figures import data_of
from fake_runs import demo_records, record
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from scipy import stats

from qsgd_lab.report import render
from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.figures.data import FigureRuns, families
from qsgd_lab.report.figures.frontier import frontier
from qsgd_lab.report.figures.registry import draw
from qsgd_lab.report.figures.style import style
from qsgd_lab.report.tables.layout import lay_out
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.runs.record import RunRecord

points = st.tuples(st.sampled_from([0.1, 0.5, 1.0, 2.0, 4.0]), st.sampled_from([80.0, 85.0, 90.0, 91.0]))


@given(st.lists(points, min_size=1, max_size=12))
def test_no_point_of_the_frontier_is_excelled(drawn: list[tuple[float, float]]) -> None:
    """A point is on it exactly if no other has no more bits and more accuracy, or fewer bits and no less."""
    naive = {
        (bits, accuracy)
        for bits, accuracy in drawn
        if not any((b <= bits and a > accuracy) or (b < bits and a >= accuracy) for b, a in drawn)
    }

    assert frontier(drawn) == sorted(naive)


def _figure(runs: list[RunRecord]) -> tuple[Figure, list[ErrorbarContainer]]:
    groups = group_records(runs)
    with style():
        figure = draw("frontier", FigureRuns(groups[0], {}, family=families(groups)[0]))
    assert figure is not None
    return figure, [
        bar for axes in figure.axes for bar in axes.containers if isinstance(bar, ErrorbarContainer)
    ]


def test_norms_and_buckets_share_a_frontier() -> None:
    """Runs that differ in norm and buckets are in one figure, each with Student's interval of its mean."""
    values = [0.80, 0.82, 0.87]
    runs = [
        record(norm=norm, bucket_size=size, bits=bits, seed=seed, accuracy=accuracy, nodes=8)
        for norm, size, bits in (("max", "model", 2), ("max", 512, 2), ("l2", "model", 4))
        for seed, accuracy in enumerate(values)
    ]
    _, bars = _figure(runs)

    assert len(bars) == 3
    low, high = stats.t.interval(0.95, 2, statistics.mean(values), statistics.stdev(values) / 3**0.5)
    for bar in bars:
        ((start, end),) = bar.lines[2][0].get_segments()
        assert (start[1], end[1]) == pytest.approx((100 * low, 100 * high))


def test_diverged_cells_are_counted_not_drawn() -> None:
    """A cell with a diverged run has no point; the key says how many there are."""
    runs = [record(bits=2, seed=s, nodes=8) for s in range(2)]
    runs += [record(bits=4, seed=s, nodes=8, status="diverged" if s else "done") for s in range(2)]
    figure, bars = _figure(runs)

    assert len(bars) == 1
    assert "not drawn: 1 with diverged runs" in [t.get_text() for t in figure.legends[0].get_texts()]


def test_only_the_first_of_a_family_leads_it() -> None:
    """Groups of another split or epochs are other families; each has one group that draws the figure."""
    groups = group_records([record(), record(norm="l2"), record(epochs=2), record(split="shards:2", nodes=2)])
    leads = [
        FigureRuns(group, {}, family=family).leads_family
        for group, family in zip(groups, families(groups), strict=True)
    ]

    assert sorted(map(len, families(groups))) == [1, 1, 2, 2]
    assert leads.count(True) == 3


def test_without_a_family_a_group_is_its_own() -> None:
    """The figure of a group alone shows the group."""
    with style():
        assert draw("frontier", data_of(demo_records())) is not None


def _labels(options: TableOptions, runs: list[RunRecord]) -> list[str]:
    (table,) = lay_out(group_records(runs), options)
    return [row.label for row in table.panels[0].rows]


@pytest.mark.parametrize("by", ["nodes", "task"])
def test_rows_are_sorted_by_the_bits_sent(by: str) -> None:
    """With ``sort="bits"`` the method that sends most is first, whatever its width."""
    sent = {8: 1.0, 4: 3.0, 2: 2.0}
    runs = [
        record(bits=bits, dataset=dataset, bits_per_coordinate={"gamma": most, "message": most})
        for bits, most in sent.items()
        for dataset in (("digits", "brackets") if by == "task" else ("digits",))
    ]
    options = TableOptions(show=("accuracy",), by=by, sort="bits")  # type: ignore[arg-type]

    assert _labels(options, runs) == [f"{bits} bit, stochastic + EF" for bits in (4, 2, 8)]


def test_tasks_stand_side_by_side() -> None:
    """Data sets, and splits of one, are columns of one table under their names; its caption says so."""
    runs = [
        record(preset="fashion", dataset="fashion-mnist", nodes=8),
        record(preset="fashion", dataset="fashion-mnist", nodes=8, split="dirichlet:0.1"),
        record(preset="brackets", dataset="brackets", model="lstm-128", nodes=8),
    ]
    text = " ".join(render(runs, "text", TableOptions(by="task", show=("accuracy",))).split())

    assert "3 tasks side by side" in text
    for name in ("brackets", "fashion-mnist, iid", "fashion-mnist, dirichlet:0.1"):
        assert name in text
