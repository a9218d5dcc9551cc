"""Figures of stores with holes, odd names and absurd numbers: drawn honestly, or not at all."""

from __future__ import annotations

import dataclasses
import statistics

import numpy as np
import pytest
from fake_figures import DEMO, TIMING, accuracies, data_of, epochs_of, figure_of
from fake_runs import config, demo_records, record, sweeps
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.figures import bandwidth, bits, megabytes
from qsgd_lab.report.figures import epochs as figure_epochs
from qsgd_lab.report.figures.data import FigureRuns, mean_curve, remarks
from qsgd_lab.report.figures.panels import set_accuracy_axis
from qsgd_lab.report.figures.registry import FIGURES, draw, group_names
from qsgd_lab.report.figures.style import figure_bytes, style
from qsgd_lab.runs.epochs import EpochRecord
from qsgd_lab.runs.record import RunRecord


@pytest.mark.parametrize("name", FIGURES)
def test_one_seed_has_no_spread(name: str) -> None:
    """With one seed there is neither bar nor band, and the title says that it is one."""
    figure = figure_of(name, data_of(demo_records(seeds=(0,))))

    assert not [band for axes in figure.axes for band in axes.collections if isinstance(band, PolyCollection)]
    assert all(
        not bar.has_yerr
        for axes in figure.axes
        for bar in axes.containers
        if isinstance(bar, ErrorbarContainer)
    )
    if name != "bandwidth":
        assert figure.get_suptitle().endswith("one seed")


@pytest.mark.parametrize("name", FIGURES)
def test_one_cell(name: str) -> None:
    """A store of one cell of a quantizer makes every figure, of one panel each."""
    figure = figure_of(name, data_of([record(nodes=2)]))

    assert len([axes for axes in figure.axes if axes.get_title()]) == 1


def test_nothing_to_draw_is_none() -> None:
    """Without epochs, times or bits the figures that need them are not made up."""
    (group,) = group_records([record(bits_per_coordinate={})])
    bare = FigureRuns(group, {})

    assert [module.draw(bare) for module in (bits, figure_epochs, megabytes)] == [None] * 3
    assert bandwidth.draw(data_of([record(nodes=1)])) is None
    with pytest.raises(KeyError):
        draw("pie", bare)


def test_holes_are_said() -> None:
    """Diverged, missing and absent cells, single seeds and missing epochs are named, place by place."""
    said = remarks(dataclasses.replace(DEMO, epochs={}))

    assert said[0] == "3 seeds: nothing is tested"
    assert said[1].startswith("diverged, drawn with a cross: 2 bit, stochastic, N=1 (3/3); ")
    assert said[2] == "fewer than 3 seeds: 2 bit, nearest, N=4 (2)"
    assert said[3] == "not run: 8 bit, stochastic + EF, N=8"
    assert said[4] == "80 runs have no epochs.jsonl and no curve"
    assert remarks(data_of([record()])) == ["one seed: no deviation is drawn, nothing is tested"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
@settings(max_examples=50)
def test_the_accuracy_axis_holds_all_values(values: list[float]) -> None:
    """Every value is inside the axis, higher is better, and ticks are where their labels say."""
    axes = Figure().subplots()
    set_accuracy_axis(axes, values)
    low, high = axes.get_ylim()

    assert low < min(values)
    assert max(values) < high
    scale = axes.yaxis.get_transform()
    places = scale.transform(np.linspace(0, 100, 200))
    assert (np.diff(places) > 0).all()
    assert scale.inverted().transform(places) == pytest.approx(np.linspace(0, 100, 200), abs=1e-6)
    if axes.get_yscale() == "function":
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == [f"{tick:g}" for tick in axes.get_yticks()]


def test_groups_get_safe_names_of_their_own() -> None:
    """File names tell groups apart and lead nowhere else, whatever a record calls its preset."""
    runs = [
        record(),
        record(norm="l2"),
        record(preset="../../etc"),
        record(preset="a/b"),
        record(preset="a_b"),
        record(preset=".hidden" * 60),
    ]
    names = group_names(group_records(runs))

    assert len(set(names)) == len(names) == 6
    assert {"demo-digits-alexnet-norm-max", "demo-digits-alexnet-norm-l2"} <= set(names)
    assert {"a_b-digits-alexnet", "a_b-digits-alexnet-2"} <= set(names)
    assert all(len(name) < 120 and "/" not in name and not name.startswith(".") for name in names)


@given(sweeps(), st.sampled_from(list(FIGURES)))
@settings(max_examples=12)
def test_any_sweep_can_be_drawn(runs: list[RunRecord], name: str) -> None:
    """Whatever records a store may hold, a figure is drawn, or there is nothing to draw."""
    for group in group_records([dataclasses.replace(run, timing=TIMING) for run in runs]):
        epochs = {key: epochs_of(run, 2) for run in runs if (key := run.key)}
        with style():
            figure = draw(name, FigureRuns(group, epochs))
            if figure is not None:
                assert figure_bytes(figure, ".svg")


def test_names_are_not_mathematics() -> None:
    """Dollar signs, long names and letters that the font lacks reach the page as they are, or cut."""
    for preset in ("$x", r"\frac$_$", "漢字" + "a" * 300):
        with style():
            assert figure_bytes(figure_of("bits", data_of([record(preset=preset)])), ".svg")


def test_a_damaged_timing_draws_a_figure() -> None:
    """Absurd but finite times give a figure with a sane axis."""
    for seconds in (0.0, 1e308):
        run = dataclasses.replace(record(nodes=2), timing={"compute_s": seconds, "quantize_s": seconds})
        (group,) = group_records([run])
        with style():
            figure = bandwidth.draw(FigureRuns(group, {}))
            assert figure is not None
            assert figure_bytes(figure, ".svg")


def test_mean_curve_of_nothing() -> None:
    """No runs, or one without a finished epoch, have no curve."""
    run = config()
    assert mean_curve([]) is None
    assert mean_curve([[], epochs_of(record(seed=run.seed))]) is None


@given(st.lists(st.lists(st.floats(0, 1), max_size=6), min_size=1, max_size=5))
def test_curves_by_definition(shares: list[list[float]]) -> None:
    """Means and deviations are those of `statistics`, as far as the shortest run goes."""
    runs = [[EpochRecord(k + 1, k + 1, None, share) for k, share in enumerate(run)] for run in shares]
    curve = mean_curve(runs)
    expected = accuracies(runs)

    assert (curve is None) == (not expected)
    if curve is not None:
        assert curve.means == pytest.approx([statistics.fmean(column) for column in expected])
        if len(runs) > 1:
            assert curve.deviations == pytest.approx([statistics.stdev(column) for column in expected])
        else:
            assert curve.deviations is None


def test_no_two_methods_look_the_same() -> None:
    """Methods differ in their mark or filling, nodes in mark and line, so that grey is enough."""
    for name, count in (("megabytes", 7), ("epochs", 4)):
        keys = figure_of(name).legends or [figure_of(name).axes[-1].get_legend()]
        looks = {
            (one.get_marker(), one.get_linestyle(), one.get_markerfacecolor() == "white")
            for one in keys[0].legend_handles[:count]
        }
        assert len(looks) == count
