"""The contents of a page: its runs, the reasons for skipped ones, and the data that its script draws."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from qsgd_lab.report.analysis.communication import sent_code
from qsgd_lab.report.analysis.grouping import Group, distinct_labels, group_records, method_order
from qsgd_lab.report.tables.sheets import column_names

if TYPE_CHECKING:
    from qsgd_lab.runs.epochs import EpochRecord
    from qsgd_lab.runs.record import RunRecord

#: Points of a curve; longer ones are thinned, and the page says so.
MAX_POINTS = 60


class Unfinished(NamedTuple):
    """A run without a result: its key, ``failed`` or ``not finished``, and the last line of its log."""

    key: str
    state: str
    reason: str = ""


class Progress(NamedTuple):
    """How far a sweep is whose page is rewritten as its runs finish; `refresh_s` is 0 when it has ended."""

    done: int
    total: int
    refresh_s: int = 0


@dataclass(frozen=True)
class PageContents:
    """All that a page is made from.

    Attributes
    ----------
    runs : sequence of RunRecord
        In any order; the page has its own.
    epochs : mapping of str to sequence of EpochRecord
        By the key of a run.
    unfinished : sequence of Unfinished
    left_out : sequence of RunRecord
        Runs made with other versions of the lab, which are listed but in no table.
    warning : str or None
        What was skipped as damaged.
    commands : sequence of str
        That make the runs again.
    title : str or None
        Instead of the page's own question.
    progress : Progress or None
        Of a sweep.
    margins : mapping of str to float
        See `qsgd_lab.report.analysis.grouping.group_records`.
    """

    runs: Sequence[RunRecord]
    epochs: Mapping[str, Sequence[EpochRecord]] = field(default_factory=dict)
    unfinished: Sequence[Unfinished] = ()
    left_out: Sequence[RunRecord] = ()
    warning: str | None = None
    commands: Sequence[str] = ()
    title: str | None = None
    progress: Progress | None = None
    margins: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The runs, sorted into tables."""
        return group_records(self.runs, self.margins)

    @cached_property
    def group_titles(self) -> tuple[str, ...]:
        """What tells the groups apart; one empty title for a single group."""
        return column_names(self.groups, "setting") if len(self.groups) > 1 else ("",)

    @cached_property
    def methods(self) -> list[str]:
        """The methods' labels, each once, in the order of the tables."""
        return list(dict.fromkeys(method.label for group in self.groups for method in group.methods))

    @cached_property
    def ordered(self) -> list[RunRecord]:
        """The runs by method, nodes and seed."""
        rank = {label: i for i, label in enumerate(self.methods)}

        def place(run: RunRecord) -> tuple[int, int, int, str]:
            return rank[self.label(run)], run.config.nodes, run.config.seed, run.key

        return sorted(self.runs, key=place)

    def label(self, run: RunRecord) -> str:
        """Return the name of a run's method, as the tables have it."""
        return self._labels[method_order(run.config)]

    @cached_property
    def _labels(self) -> dict[tuple[Any, ...], str]:
        return distinct_labels(run.config for run in self.runs)


def sent_bits(run: RunRecord) -> float | None:
    """Return the bits a coordinate that a run's messages took."""
    bits = run.result["bits_per_coordinate"]
    code = sent_code(bits)
    return None if code is None else bits[code]


def script_data(contents: PageContents) -> dict[str, Any]:
    """Return what the script draws from, JSON-ready: what all runs share once, and of each what differs.

    A run is ``k`` key, ``g`` numbers of its groups, ``m`` number of its method, ``c`` settings, ``r`` result,
    ``b`` bits, ``t`` seconds, ``e`` number of its environment, ``s`` status, and its curves: ``x`` epochs,
    ``v`` validation accuracy in percent, ``l`` training loss.
    """
    configs = [run.config.to_dict() for run in contents.ordered]
    shared = {
        name: value
        for name, value in (configs[0] if configs else {}).items()
        if all(name in config and config[name] == value for config in configs)
    }
    groups_of: dict[str, list[int]] = {}  # an fp32 run is the baseline of several settings
    for number, group in enumerate(contents.groups):
        for key in group.run_keys:
            groups_of.setdefault(key, []).append(number)
    environments: dict[str, int] = {}
    runs = []
    for run, config in zip(contents.ordered, configs, strict=True):
        environment = json.dumps(run.environment, sort_keys=True)
        curve = contents.epochs.get(run.key, ())
        kept = [curve[i] for i in _thinned(len(curve))]
        runs.append(
            {
                "k": run.key,
                "g": groups_of[run.key],
                "m": contents.methods.index(contents.label(run)),
                "c": {name: value for name, value in config.items() if name not in shared},
                "r": _rounded({n: v for n, v in run.result.items() if n != "bits_per_coordinate"}, 6),
                "b": _rounded(run.result["bits_per_coordinate"], 4),
                "t": _rounded(run.timing, 6),
                "e": environments.setdefault(environment, len(environments)),
                "s": run.status,
                "x": [epoch.epoch for epoch in kept],
                "v": [_percent(epoch.validation_accuracy) for epoch in kept],
                "l": [None if epoch.train_loss is None else round(epoch.train_loss, 4) for epoch in kept],
            }
        )
    return {
        "methods": contents.methods,
        "groups": list(contents.group_titles),
        "shared": shared,
        "environments": [json.loads(text) for text in environments],
        "thinned": any(len(curve) > MAX_POINTS for curve in contents.epochs.values()),
        "runs": runs,
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _rounded(values: Mapping[str, Any], decimals: int) -> dict[str, Any]:
    return {n: round(v, decimals) if isinstance(v, float) else v for n, v in sorted(values.items())}


def _thinned(length: int) -> list[int]:
    """Return the indices kept of a curve: evenly spread, with the first and the last."""
    if length <= MAX_POINTS:
        return list(range(length))
    return sorted({round(i * (length - 1) / (MAX_POINTS - 1)) for i in range(MAX_POINTS)})
