"""The figures of stored runs by the name of their x axis."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.figures.data import FigureRuns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Name -> what the figure shows. Each is drawn by the module of its name, which imports matplotlib.
FIGURES: Mapping[str, str] = {
    "bits": "test accuracy against measured bits a coordinate",
    "frontier": "the best accuracy for the bits, of all norms and buckets, with 95 % intervals",
    "epochs": "validation accuracy by epoch, with bands over the seeds",
    "megabytes": "validation accuracy against the megabytes that a node has sent",
    "bandwidth": "modelled speed-up over fp32 against bandwidth, by number of nodes",
}

#: Name -> what the runs must have, to be said where they have not.
NEEDS: Mapping[str, str] = {
    "bits": "runs that measured the code's bits",
    "frontier": "runs of a quantizer, not diverged, that measured the code's bits",
    "epochs": "runs with their epochs.jsonl",
    "megabytes": "runs with their epochs.jsonl that measured the code's bits",
    "bandwidth": "timed runs of a quantizer on two nodes or more",
}

MAX_NAME_LENGTH = 100


def draw(name: str, data: FigureRuns) -> Figure | None:
    """Return a figure, made inside `figures.style.style`; None if the runs have nothing to show in it.

    Raises
    ------
    KeyError
        If `name` is not one of `FIGURES`.
    """
    if name not in FIGURES:
        raise KeyError(name)
    figure: Figure | None = import_module(f"qsgd_lab.report.figures.{name}").draw(data)
    return figure


def group_names(groups: Sequence[Group]) -> list[str]:
    """Return a file name, without ending, for each group: safe, and no two the same.

    Preset, data set and model, then the fields that tell apart groups that share those, then a number.
    """
    taken: dict[str, int] = {}
    names = []
    for group in groups:
        name = _safe(_words(group, groups))
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name}-{taken[name]}")
    return names


def _words(group: Group, groups: Iterable[Group]) -> Iterator[str]:
    own = ("preset", "dataset", "model")
    yield from (str(group.shared[name]) for name in own)
    alike = [other for other in groups if all(other.shared[name] == group.shared[name] for name in own)]
    apart = [
        name for name, value in group.shared.items() if any(other.shared[name] != value for other in alike)
    ]
    yield from (f"{name}-{group.shared[name]}" for name in apart)
    if not group.is_current:
        yield "stale"


def _safe(words: Iterable[str]) -> str:
    """Return words joined by hyphens, without what a path or a shell would take for something else."""
    joined = "-".join(words)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", joined).lstrip(".-")[:MAX_NAME_LENGTH] or "runs"
