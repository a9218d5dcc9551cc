"""What a flawed protocol does to the accuracy it reports: differences from the corrected one, seed by seed.

A flawed run and the corrected one share seed, first weights and data: what differs is the flaw's doing.
Runs of one flaw are compared with the corrected protocol only; all tests of a table share Holm's adjustment.
A diverged run is a result, but no sample of an accuracy: a difference that rests on one is in no test.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

from qsgd_lab.report.analysis.grouping import accuracy_step
from qsgd_lab.report.analysis.statistics import SIGNIFICANCE_LEVEL, Comparison, compare, half_width, holm

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

#: The name of the protocol without flaws, and of the one with all.
CORRECTED, ALL = "corrected", "all together"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The runs of one network, method and protocol.

    Attributes
    ----------
    model, method, protocol : str
        `protocol` is `CORRECTED`, the name of a flaw, or `ALL`.
    records : mapping of int to RunRecord
        By seed; those that are there.
    applies : bool
        False where the flaw is void: its runs are the corrected ones.
    """

    model: str
    method: str
    protocol: str
    records: Mapping[int, RunRecord]
    applies: bool = True


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One cell beside the corrected protocol; accuracies and differences in percentage points.

    Attributes
    ----------
    cell : Cell
    accuracies : mapping of int to float
        By seed.
    num_diverged : int
        Runs that diverged: results too, and among the accuracies.
    comparison : Comparison or None
        With the corrected protocol; None for the corrected one itself and where the flaw is void.
    half_width : float or None
        Of the 95 % confidence interval of the mean difference over the seeds, by itself; None where nothing
        was tested.
    p_holm : float or None
        Two-sided, adjusted over the table.
    """

    cell: Cell
    accuracies: Mapping[int, float]
    num_diverged: int
    comparison: Comparison | None
    half_width: float | None
    p_holm: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean accuracy; None without runs."""
        return statistics.fmean(self.accuracies.values()) if self.accuracies else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the accuracy; None below two seeds."""
        return statistics.stdev(self.accuracies.values()) if len(self.accuracies) > 1 else None

    @property
    def epochs_to_target(self) -> list[int]:
        """Epochs to the target, as the protocol measures them, of the runs that reached it, by seed."""
        found = (record.result["epochs_to_target"] for _, record in sorted(self.cell.records.items()))
        return [epochs for epochs in found if epochs is not None]

    @property
    def is_significant(self) -> bool:
        """Whether the difference is, after Holm's adjustment."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANCE_LEVEL

    @property
    def is_identical(self) -> bool:
        """Whether every seed reports the very accuracy of the corrected protocol."""
        return _is_identical(self.comparison)

    @property
    def _test(self) -> str | None:
        """The test that was made, or why none was."""
        if self.comparison is None:
            return None
        untested = self.comparison.test == "paired" and self.comparison.p_different is None
        return "diverged" if untested else self.comparison.test

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        difference = self.comparison.difference if self.comparison else None
        interval = None
        if difference is not None and self.half_width is not None:
            interval = [difference - self.half_width, difference + self.half_width]
        return {
            "model": self.cell.model,
            "method": self.cell.method,
            "protocol": self.cell.protocol,
            "applies": self.cell.applies,
            "accuracy": self.mean,
            "deviation": self.deviation,
            "accuracies": {str(seed): value for seed, value in sorted(self.accuracies.items())},
            "diverged": self.num_diverged,
            "epochs_to_target": self.epochs_to_target,
            "difference": difference,
            "interval_95": interval,
            "test": self._test,
            "p": self.comparison.p_different if self.comparison else None,
            "p_holm": self.p_holm,
            "run_keys": sorted(record.key for record in self.cell.records.values()),
        }


def effects(cells: Sequence[Cell]) -> list[Effect]:
    """Compare every cell with the corrected one of its network and method.

    Parameters
    ----------
    cells : sequence of Cell
        In the order of the table.

    Raises
    ------
    ValueError
        If a network and method have no corrected cell.
    """
    corrected = {(cell.model, cell.method): cell for cell in cells if cell.protocol == CORRECTED}
    if lacking := [cell for cell in cells if (cell.model, cell.method) not in corrected]:
        raise ValueError(f"{lacking[0].model}, {lacking[0].method} has no runs of the corrected protocol")
    found = [_effect(cell, corrected[cell.model, cell.method]) for cell in cells]
    tested = [index for index, effect in enumerate(found) if _p(effect) is not None]
    adjusted = holm([_p(found[index]) or 0.0 for index in tested])
    for index, p_holm in zip(tested, adjusted, strict=True):
        found[index] = replace(found[index], p_holm=p_holm)
    return found


def _effect(cell: Cell, reference: Cell) -> Effect:
    own, other = _accuracies(cell), _accuracies(reference)
    is_compared = cell.applies and cell.protocol != CORRECTED
    step = accuracy_step((*cell.records.values(), *reference.records.values()))
    comparison = compare(own, other, step=step) if is_compared else None
    if comparison is not None and _num_diverged(cell) + _num_diverged(reference):
        comparison = _without_test(comparison)
    elif comparison is not None and _is_identical(comparison):
        comparison = replace(_without_test(comparison), test="no variance")
    width = None
    if comparison is not None and comparison.error is not None:
        width = half_width(comparison.error, comparison.num_pairs, family=1)
    return Effect(
        cell=cell,
        accuracies=own,
        num_diverged=_num_diverged(cell),
        comparison=comparison,
        half_width=width,
    )


def _without_test(comparison: Comparison) -> Comparison:
    """Return what is left of a comparison that is not tested after all."""
    return Comparison(*astuple(comparison)[:5])


def _is_identical(comparison: Comparison | None) -> bool:
    """Whether the two have the same accuracy in every seed, and at least two seeds."""
    if comparison is None or comparison.num_pairs < 2:
        return False
    return comparison.num_below == comparison.num_above == 0


def _num_diverged(cell: Cell) -> int:
    return sum(record.status == "diverged" for record in cell.records.values())


def _accuracies(cell: Cell) -> dict[int, float]:
    return {seed: 100 * record.result["test_accuracy"] for seed, record in cell.records.items()}


def _p(effect: Effect) -> float | None:
    return effect.comparison.p_different if effect.comparison else None
