"""A cell of a table, from its runs: means, deviations, the seeds in them, and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsgd_lab.report.analysis.verdict import NOT_JUDGED, Verdict

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

ELIAS_CODES = ("gamma", "delta", "omega")
FULL_PRECISION_CODE = "fp32"


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
    runs : tuple of RunRecord
        The runs, in the order of their seeds.
    verdict : Verdict
        How the accuracy compares with that of other methods at the same N; empty until the table is judged.
    """

    nodes: int
    seeds: tuple[int, ...]
    missing_seeds: tuple[int, ...]
    num_diverged: int
    accuracy: Statistic | None
    epochs: Statistic | None
    runs: tuple[RunRecord, ...]
    verdict: Verdict = NOT_JUDGED

    @property
    def run_keys(self) -> tuple[str, ...]:
        """Sorted keys of the runs."""
        return tuple(sorted(run.key for run in self.runs))

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy in percent by seed."""
        return {run.config.seed: 100 * run.result["test_accuracy"] for run in self.runs}

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
        runs=tuple(runs),
    )
