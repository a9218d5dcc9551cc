"""Figures of runs: what is drawn equals the numbers, and the same runs give the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import statistics
import subprocess
import sys
from pathlib import Path

import checkout
import matplotlib as mpl
import pytest
from fake_figures import DEMO, TIMING, accuracies, data_of, epochs_of, figure_of
from fake_runs import demo_records, record
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from qsgd_lab.report.analysis.communication import Exchange, Link, NodeWork, pays_between, speed_up
from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.figures import bandwidth
from qsgd_lab.report.figures.data import FigureRuns
from qsgd_lab.report.figures.panels import CROSS
from qsgd_lab.report.figures.registry import FIGURES
from qsgd_lab.report.figures.style import SUFFIXES, figure_bytes, style
from qsgd_lab.runs.record import RunRecord


def panel(figure: Figure, title: str) -> Axes:
    """Return the panel of a title."""
    (found,) = [axes for axes in figure.axes if axes.get_title() == title]
    return found


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """Return the points of the line with a label."""
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return list(found.get_xdata()), list(found.get_ydata())


def crosses(axes: Axes) -> list[tuple[float, float]]:
    """Return where crosses are drawn."""
    return [
        (float(one.get_xdata()[0]), float(one.get_ydata()[0]))
        for one in axes.lines
        if one.get_marker() == CROSS["marker"]
    ]


def runs_of(label: str, nodes: int) -> list[RunRecord]:
    """Return the demo's runs of one cell."""
    return [run for run in demo_records() if (run.config.method, run.config.nodes) == (label, nodes)]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [*((name, ".pdf") for name in FIGURES), *(("bits", suffix) for suffix in SUFFIXES if suffix != ".pdf")],
)
def test_the_same_runs_give_the_same_bytes(name: str, suffix: str) -> None:
    """Drawn twice, from the records in another order, a figure is the same file, without a date in it."""
    with style():
        files = [
            figure_bytes(figure_of(name, data_of(runs)), suffix)
            for runs in (demo_records(), demo_records()[::-1])
        ]

    assert files[0] == files[1]
    assert b"CreationDate" not in files[0]
    assert b"<dc:date>" not in files[0]


def test_bits_and_accuracies_are_those_of_the_runs() -> None:
    """Each point is at the shortest measured code and the mean accuracy, its bar at one deviation."""
    axes = panel(figure_of("bits"), "N = 2")
    bars = {bar.get_label(): bar for bar in axes.containers if isinstance(bar, ErrorbarContainer)}

    assert set(bars) == {run.config.method for run in demo_records()}
    for label, bar in bars.items():
        runs = runs_of(label, 2)
        accuracies = [100 * run.result["test_accuracy"] for run in runs]
        bits = min(runs[0].result["bits_per_coordinate"].values())
        points, _, (whisker,) = bar.lines
        ((low, high),) = whisker.get_segments()
        spread = statistics.stdev(accuracies)
        assert list(points.get_xdata()) == pytest.approx([bits])
        assert list(points.get_ydata()) == pytest.approx([statistics.mean(accuracies)])
        assert (low[1], high[1]) == pytest.approx(
            (statistics.mean(accuracies) - spread, statistics.mean(accuracies) + spread)
        )


def test_the_code_can_be_chosen() -> None:
    """With a code, its bits count for all methods but fp32, and the axis names it."""
    axes = panel(figure_of("bits", dataclasses.replace(DEMO, code="fixed")), "N = 4")
    bars = [bar for bar in axes.containers if isinstance(bar, ErrorbarContainer)]

    assert sorted({float(bar.lines[0].get_xdata()[0]) for bar in bars}) == [3.0, 5.0, 9.0, 32.0]
    assert axes.get_xlabel() == "bits a coordinate, fixed"


def test_diverged_cells_bear_a_cross() -> None:
    """A cross is on every cell of which some seed diverged, at its mean, and nowhere else."""
    figure = figure_of("bits")
    found = {axes.get_title(): crosses(axes) for axes in figure.axes if axes.get_title()}

    assert {title: len(places) for title, places in found.items()} == {
        "N = 1": 1,
        "N = 2": 1,
        "N = 4": 0,
        "N = 8": 0,
    }
    assert found["N = 1"][0][1] == pytest.approx(12.5)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1] == "some seed diverged"


def test_curves_are_means_with_bands() -> None:
    """A line is the mean over the seeds at each epoch; its band one deviation up and down."""
    axes = panel(figure_of("epochs"), "4 bit, stochastic + EF")
    runs = runs_of("4 bit, stochastic + EF", 8)
    by_epoch = accuracies([epochs_of(run) for run in runs])
    epochs, means = line(axes, "N = 8")

    assert epochs == list(range(1, 9))
    assert means == pytest.approx([statistics.mean(values) for values in by_epoch])
    bands = [band for band in axes.collections if isinstance(band, PolyCollection)]
    assert len(bands) == 4
    edges = bands[-1].get_paths()[0].vertices
    for epoch, values in zip(epochs, by_epoch, strict=True):
        here = edges[edges[:, 0] == epoch, 1]
        assert here.min() == pytest.approx(statistics.mean(values) - statistics.stdev(values))
        assert here.max() == pytest.approx(statistics.mean(values) + statistics.stdev(values))


def test_a_curve_ends_where_the_first_seed_ends() -> None:
    """A mean over fewer seeds than before is not drawn; a cross marks the end of a diverged cell."""
    runs = [record(seed=seed, status="diverged" if seed == 1 else "done") for seed in (0, 1)]
    data = data_of(runs)
    data = dataclasses.replace(data, epochs={**data.epochs, runs[1].key: epochs_of(runs[1], 3)})
    axes = figure_of("epochs", data).axes[0]

    assert line(axes, "N = 1")[0] == [1, 2, 3]
    assert crosses(axes)[0][0] == 3


def test_megabytes_are_steps_times_a_message() -> None:
    """A mark is at the steps so far times the mean message; its height is the mean accuracy."""
    axes = panel(figure_of("megabytes"), "N = 4")
    sent, means = line(axes, "8 bit, stochastic + EF")
    bits = 0.5 * 8 + 1.25  # omega, the shortest of the invented bits

    assert sent == pytest.approx([39 * k * bits * 159_578 / 8 / 1e6 for k in range(1, 9)])
    assert means == line(panel(figure_of("epochs"), "8 bit, stochastic + EF"), "N = 4")[1]


def test_speed_ups_are_the_models() -> None:
    """Each line is the model's speed-up; rings are at the closed form's break-even, on 1."""
    data = dataclasses.replace(DEMO, latency=5e-5)
    axes = panel(figure_of("bandwidth", data), "2 bit, nearest")
    bandwidths, speeds = line(axes, "N = 4")
    exchange = Exchange(4, 159_578, "gamma", 1.5)
    work = NodeWork(2.0 / 312 / 4, 0.5 / 312)

    assert (bandwidths[0], bandwidths[-1]) == pytest.approx((1e6, 1e11))
    assert speeds == pytest.approx([speed_up(exchange, work, Link(w / 8, 5e-5)) for w in bandwidths])
    rings = [float(one.get_xdata()[0]) for one in axes.lines if one.get_markerfacecolor() == "none"]
    _, edge = pays_between(exchange, work, 5e-5) or (0, 0)
    assert len(rings) == 3
    assert any(ring == pytest.approx(8 * edge) for ring in rings)


def test_compute_and_quantize_can_be_given() -> None:
    """Given seconds take the place of the measured ones, for every cell, and the title says so."""
    data = dataclasses.replace(DEMO, compute=0.08, quantize=0.002)
    works = {work for lines in bandwidth.modelled_cells(data).values() for _, work in lines}

    assert works == {NodeWork(0.08, 0.002)}
    title = figure_of("bandwidth", data).get_suptitle()
    assert "compute 80 ms, quantize 2 ms, latency 0 s" in title


def test_compute_is_common_to_the_methods() -> None:
    """At one N every method computes the same: the median over all runs there."""
    slow = [
        dataclasses.replace(run, timing={**TIMING, "compute_s": 2.0 + 0.1 * run.config.bits})
        for run in demo_records()
    ]
    (group,) = group_records(slow)
    cells = bandwidth.modelled_cells(FigureRuns(group, {}))
    computes = {(exchange.nodes, work.compute) for lines in cells.values() for exchange, work in lines}

    assert len(computes) == 3
    assert {nodes for nodes, _ in computes} == {2, 4, 8}


def test_claims_stand_beside_their_points() -> None:
    """What the tests over the seeds allow to claim is marked at the point, and the key says it."""
    runs = [
        record(seed=seed, accuracy=base + 0.001 * ((seed * step) % 5), **method)
        for seed in range(8)
        for method, base, step in (
            ({"bits": 32}, 0.90, 1),
            ({"bits": 8}, 0.90, 2),
            ({"bits": 2}, 0.80, 3),
        )
    ]
    figure = figure_of("bits", data_of(runs))
    beside = {(text.get_text(), round(text.xy[1])) for text in figure.axes[0].texts}

    assert beside == {("≈", 90), ("↓", 80)}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-2:] == ["worse than fp32", "shown to be within 0.5 points of fp32"]


_DRAW = """
import sys
from qsgd_lab.report.figures.style import load_matplotlib
load_matplotlib()
from fake_figures import data_of, figure_of
from test_figures import drawn_by_a_process
sys.stdout.write(drawn_by_a_process())
"""


def drawn_by_a_process() -> str:
    """Return the digest of one figure in every format."""
    with style():
        figures = b"".join(
            figure_bytes(figure_of("bits", data_of([record(seed=0), record(seed=1)])), suffix)
            for suffix in SUFFIXES
        )
    return hashlib.sha256(figures).hexdigest()


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "tkagg", "no such backend"])
def test_the_users_configuration_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """A matplotlibrc, in the folder or named, and any MPLBACKEND leave every byte of the figures as it is."""
    rc = "axes.grid: True\nfont.family: monospace\nsavefig.bbox: tight\ntext.usetex: True\nfigure.dpi: 33\n"
    rc += "axes.formatter.use_locale: True\n"
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")  # which is not installed
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "no number")
    for name in ("matplotlibrc", "another"):
        (tmp_path / name).write_text(rc)
    monkeypatch.setenv("MPLBACKEND", backend)
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "another"))
    folders = [Path(__file__).parent, *(checkout.ROOT / "tests" / name for name in ("oracles", "support"))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))
    process = subprocess.run(
        [sys.executable, "-c", _DRAW], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert process.stdout == drawn_by_a_process()


def test_what_the_program_has_set_changes_nothing() -> None:
    """Parameters that the calling program has set do not reach the figures, and are as before afterwards."""
    expected = drawn_by_a_process()
    with mpl.rc_context({"axes.grid": True, "savefig.bbox": "tight", "lines.linewidth": 9}):
        assert drawn_by_a_process() == expected
        assert mpl.rcParams["lines.linewidth"] == 9


def test_a_matplotlibrc_that_is_no_text_is_named(tmp_path: Path) -> None:
    """A file of that name in the current folder, which matplotlib reads before all others, is named."""
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    command = [sys.executable, "-m", "qsgd_lab", "tradeoff", "--plot", "a.svg"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.splitlines()[-1].startswith("Error: matplotlib cannot read ./matplotlibrc")
