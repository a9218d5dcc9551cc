"""The frontier of accuracy and bits: all quantizers of one training, whatever their norm and buckets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qsgd_lab.report.analysis.cells import Cell, Statistic
from qsgd_lab.report.analysis.communication import exchange_of
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.analysis.statistics import half_width
from qsgd_lab.report.figures.data import FigureRuns, plain
from qsgd_lab.report.figures.panels import (
    GREY,
    PURPLE,
    Look,
    key,
    make_panels,
    panel_title,
    set_accuracy_axis,
)
from qsgd_lab.report.figures.style import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILLION
from qsgd_lab.runs.config import FULL_PRECISION_BITS

_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE)
#: Marker by rounding; methods of another kind have none of these.
_MARKS = {"stochastic": "o", "nearest": "s"}
_TICKS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


@dataclass(frozen=True)
class Point:
    """A method at one number of nodes: its quantizer's setting, what it sends, what it reaches.

    Attributes
    ----------
    setting, name : str
        Norm and buckets, and what is written beside the point: the bits, or a method's name.
    method : Method
    bits : float
        Bits a coordinate, over all its runs.
    accuracy : Statistic
        In percent.
    """

    setting: str
    name: str
    method: Method
    bits: float
    accuracy: Statistic


def draw(data: FigureRuns) -> Figure | None:
    """Return the figure, a panel for each number of nodes; None if no quantizer has anything to show.

    Bars are 95 % confidence intervals of the mean over the seeds (Student's t, each by itself). The stairs
    join the points that no other excels in both bits and mean accuracy; that is a statement about the means
    of these runs. fp32 is a line, with a band for its interval. Cells of which some seed diverged are left
    out, and counted in the key.
    """
    family = data.family or (data.group,)
    nodes = sorted({count for group in family for count in group.nodes})
    drawn = {count: points for count in nodes if (points := list(_points(family, count, data.code)))}
    if not drawn:
        return None
    settings = list(dict.fromkeys(point.setting for points in drawn.values() for point in points))
    colours = {setting: _COLOURS[i % len(_COLOURS)] for i, setting in enumerate(settings)}
    panels = make_panels(len(drawn), f"bits a coordinate{data.code_words}")
    heights: list[float] = []
    for axes, count in zip(panels.axes, drawn, strict=True):
        baseline = _baseline(family, count)
        heights += _draw_baseline(axes, baseline) if baseline else []
        for point in drawn[count]:
            heights += _draw_point(axes, point, _look(point, colours[point.setting]))
        _draw_stairs(axes, frontier([(point.bits, point.accuracy.mean) for point in drawn[count]]))
        panel_title(axes, f"N = {count}")
        axes.set_xscale("log")
        axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        axes.set_xticks([], minor=True)
        axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    bits = [point.bits for points in drawn.values() for point in points]
    panels.axes[0].set_xlim(min(bits) / 1.5, max(bits) * 1.8)
    set_accuracy_axis(panels.axes[0], heights)
    every = [point for points in drawn.values() for point in points]
    keys = list(_keys(every, colours, num_diverged(family)))
    several = any(point.accuracy.count > 1 for point in every)
    title = data.title("95 % intervals of the means" if several else "one seed")
    return panels.finish(title, "test accuracy (%)", keys)


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (bits, accuracy) that no other excels: with no more bits and a higher accuracy.

    Sorted by bits; accuracies rise strictly.
    """
    best: list[tuple[float, float]] = []
    for bits, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or accuracy > best[-1][1]:
            best.append((bits, accuracy))
    return best


def interval(accuracy: Statistic) -> float | None:
    """Return the half-width of the mean's 95 % interval; None for one seed."""
    if accuracy.deviation is None:
        return None
    return half_width(accuracy.deviation / math.sqrt(accuracy.count), accuracy.count, family=1)


def num_diverged(family: Iterable[Group]) -> int:
    """Return how many cells of quantizers have diverged runs."""
    return sum(bool(cell.num_diverged) for _, method in _methods(family) for cell in method.cells)


def _methods(family: Iterable[Group]) -> Iterator[tuple[Group, Method]]:
    for group in family:
        yield from product((group,), (m for m in group.methods if m.bits != FULL_PRECISION_BITS))


def _points(family: Sequence[Group], nodes: int, code: str | None) -> Iterator[Point]:
    named = set()
    for group, method in _methods(family):
        cell = _cell(method, nodes)
        exchange = exchange_of(cell.runs, code) if cell else None
        if cell is None or exchange is None or cell.accuracy is None or cell.num_diverged:
            continue
        is_text = method.bits is None
        if is_text and method.label in named:  # it is in every group of the family
            continue
        named.add(method.label)
        setting = "other methods" if is_text else _setting(group)
        name = method.label if is_text else str(method.bits)
        yield Point(setting, name, method, exchange.bits_per_coordinate, cell.accuracy)


def _setting(group: Group) -> str:
    norm, size = group.shared["norm"], group.shared["bucket_size"]
    buckets = {"model": "one bucket", "tensor": "per tensor"}.get(str(size), f"buckets of {size}")
    return f"{norm} norm, {buckets}"


def _cell(method: Method, nodes: int) -> Cell | None:
    return next((cell for cell in method.cells if cell.nodes == nodes and cell.seeds), None)


def _baseline(family: Sequence[Group], nodes: int) -> Statistic | None:
    for group in family:
        for method in group.methods:
            cell = _cell(method, nodes)
            if method.bits == FULL_PRECISION_BITS and cell and not cell.num_diverged:
                return cell.accuracy
    return None


def _mark(rounding: str | None) -> str:
    return _MARKS.get(rounding or "", "D")


def _look(point: Point, colour: str) -> Look:
    return Look(colour, _mark(point.method.rounding), "none", not point.method.error_feedback)


def _draw_baseline(axes: Axes, accuracy: Statistic) -> list[float]:
    width = interval(accuracy) or 0.0
    axes.axhline(accuracy.mean, color=GREY, linewidth=0.8, linestyle="--")
    if width:
        axes.axhspan(accuracy.mean - width, accuracy.mean + width, color=GREY, alpha=0.15, linewidth=0)
    return [accuracy.mean - width, accuracy.mean + width]


def _draw_point(axes: Axes, point: Point, look: Look) -> list[float]:
    width, mean = interval(point.accuracy), point.accuracy.mean
    bar = None if width is None else [width]
    axes.errorbar([point.bits], [mean], bar, elinewidth=0.8, capsize=1.5, **look.style)
    axes.annotate(
        plain(point.name),
        (point.bits, mean),
        (3, 2),
        textcoords="offset points",
        fontsize=6,
        color=look.colour,
    )
    return [mean - (width or 0.0), mean + (width or 0.0)]


def _draw_stairs(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    bits, means = zip(*points, strict=True)
    axes.step(bits, means, where="post", color=BLACK, linewidth=0.6, zorder=1)


def _keys(points: Sequence[Point], colours: dict[str, str], diverged: int) -> Iterator[Line2D]:
    for setting, colour in colours.items():
        yield key(Look(colour, "o", "none"), setting)
    looks = dict.fromkeys((point.method.rounding, point.method.error_feedback) for point in points)
    for rounding, feedback in looks:
        words = rounding or "by name"
        yield key(Look(BLACK, _mark(rounding), "none", not feedback), words + (" + EF" if feedback else ""))
    yield Line2D([], [], color=GREY, linestyle="--", linewidth=0.8, label="fp32")
    yield Line2D([], [], color=BLACK, linewidth=0.6, label="best for its bits")
    if diverged:
        yield Line2D([], [], linestyle="none", label=f"not drawn: {diverged} with diverged runs")
