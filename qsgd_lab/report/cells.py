"""What the runs of one table cell, and of one method, come to: means, deviations, measured bits."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

ELIAS_CODES = ("gamma", "delta", "omega")
FULL_PRECISION_CODE = "fp32"
BITS_OF_FLOAT = 32


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation of a few values.

    Attributes
    ----------
    mean : float
    deviation : float or None
        Square root of the unbiased variance (ddof = 1); None for a single value.
    count : int
        Number of values, at least 1.
    """

    mean: float
    deviation: float | None
    count: int


def summarize(values: Sequence[float]) -> Statistic | None:
    """Return mean and sample standard deviation, or None where there are no values.

    The sums are exact (`statistics` works in fractions), so the order of the values cannot show.
    """
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Statistic(float(statistics.mean(values)), deviation, len(values))


@dataclass(frozen=True)
class Cell:
    """The runs of one method at one number of nodes.

    Attributes
    ----------
    nodes : int
        N, the number of nodes.
    seeds, missing_seeds : tuple of int
        Seeds with a run, and seeds that other cells of the table have but this one lacks.
    num_diverged : int
        Runs, among those of ``seeds``, that diverged.
    accuracy : Statistic or None
        Test accuracy in percent over all seeds, diverged or not; None without runs.
    epochs : Statistic or None
        Epochs to the target over the seeds that reached it; None where none did.
    run_keys : tuple of str
        Sorted keys of the runs.
    """

    nodes: int
    seeds: tuple[int, ...]
    missing_seeds: tuple[int, ...]
    num_diverged: int
    accuracy: Statistic | None
    epochs: Statistic | None
    run_keys: tuple[str, ...]

    @property
    def num_seeds(self) -> int:
        """Number of runs in the cell."""
        return len(self.seeds)

    @property
    def num_reached(self) -> int:
        """Number of runs that reached the target accuracy."""
        return self.epochs.count if self.epochs else 0

    @property
    def all_diverged(self) -> bool:
        """Whether there are runs and every one diverged."""
        return 0 < self.num_seeds == self.num_diverged


def cell_of(nodes: int, records: Iterable[RunRecord], seeds: Iterable[int]) -> Cell:
    """Return the cell of ``records``, which differ in their seed alone; ``seeds`` are the whole table's."""
    runs = sorted(records, key=lambda record: record.config.seed)
    own_seeds = tuple(run.config.seed for run in runs)
    reached = [run.result["epochs_to_target"] for run in runs if run.result["epochs_to_target"] is not None]
    return Cell(
        nodes=nodes,
        seeds=own_seeds,
        missing_seeds=tuple(sorted(set(seeds) - set(own_seeds))),
        num_diverged=sum(run.status == "diverged" for run in runs),
        accuracy=summarize([100 * run.result["test_accuracy"] for run in runs]),
        epochs=summarize(reached),
        run_keys=tuple(sorted(run.key for run in runs)),
    )


@dataclass(frozen=True)
class Traffic:
    """Bits that a method sends for each coordinate, norms included, as measured.

    Attributes
    ----------
    fixed : float or None
        With fixed-width indices (32 for fp32); None where it was not measured.
    elias : float or None
        With the Elias code that is shortest on average; None where none was measured.
    elias_code : str or None
        Its name: ``gamma``, ``delta`` or ``omega``.
    """

    fixed: float | None
    elias: float | None
    elias_code: str | None

    @property
    def ratio(self) -> float | None:
        """How many times fewer bits than fp32 the shorter of the two forms sends."""
        measured = [bits for bits in (self.fixed, self.elias) if bits]
        return BITS_OF_FLOAT / min(measured) if measured else None


def traffic_of(records: Iterable[RunRecord]) -> Traffic:
    """Return the mean bits per coordinate over the runs of a method, at all its numbers of nodes.

    Diverged runs are left out wherever others exist: a gradient that is no longer finite quantizes to
    zeros, whose short codes would flatter the method.
    """
    runs = list(records)
    finished = [run for run in runs if run.status != "diverged"] or runs
    measured = [run.result["bits_per_coordinate"] for run in finished]

    def mean_bits(code: str) -> float | None:
        lengths = [bits[code] for bits in measured if code in bits]
        return statistics.mean(lengths) if lengths and len(lengths) == len(measured) else None

    elias = {code: bits for code in ELIAS_CODES if (bits := mean_bits(code)) is not None}
    shortest = min(elias, key=elias.__getitem__, default=None)
    fixed = mean_bits("fixed")
    return Traffic(
        fixed=mean_bits(FULL_PRECISION_CODE) if fixed is None else fixed,
        elias=None if shortest is None else elias[shortest],
        elias_code=shortest,
    )
