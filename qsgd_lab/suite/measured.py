"""A task as the benchmark sees it, whether its runs are repetitions on a problem or trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from qsgd_lab.problems.comparison import ComparedMethod


@dataclass(frozen=True)
class Measured:
    """What a method came to on some seeds at one rate.

    Attributes
    ----------
    metric : tuple of float
        Of each seed; infinite where it diverged.
    sent, received : float
        Bits of a node in a run, in whole messages, means over the seeds; a last averaging is not in them.
    rounds : int
        Steps in which anything was exchanged.
    seconds : float
        What the runs took: processor time on problems, the clock's on networks.
    keys : tuple of str
        Of the stored runs.
    """

    metric: tuple[float, ...]
    sent: float
    received: float
    rounds: int
    seconds: float
    keys: tuple[str, ...]


class TaskComparison(Protocol):
    """Methods on one task. What is not stored is run, and a killed command goes on where it was."""

    def tried(self, method: ComparedMethod) -> dict[float, float]:
        """Return the mean loss on tuning seeds at every factor of the rate that the search tried."""

    def tuning(self, method: ComparedMethod, scale: float) -> Measured:
        """Return the tuning seeds at a factor of the rate; the metric is what the search compares."""

    def run(self, method: ComparedMethod, scale: float, repeats: range) -> Measured:
        """Return the seeds of these numbers at a factor of the rate; number 0 is the first test seed."""
