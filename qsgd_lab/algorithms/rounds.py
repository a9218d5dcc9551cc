"""Schedules of local methods: the end of each round, as a function of the step and the learning rate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from qsgd_lab.registry import Option
from qsgd_lab.theory.local_sgd import constant_schedule, growing_schedule, square_root_interval

SCHEDULES = ("constant", "growing", "growing-ceil", "square-root", "one-shot")

#: What the spec of a local method takes.
OPTIONS = (
    Option("schedule", str, "constant", "how the intervals between exchanges go", SCHEDULES),
    Option("rounds", int, 0, "exchanges in the whole run; 0: by interval"),
    Option("interval", int, 0, "steps between exchanges; least one of square-root; 0: 8, or by rounds"),
    Option("coefficient", float, 0.0, "alpha of square-root: max(interval, floor((alpha / rate)^2)) steps"),
    Option("local_from", float, 0.0, "share of the steps, with an exchange each, before (post-local SGD)"),
)
DEFAULT_INTERVAL = 8


class Rounds:
    """The schedule of a local method: the last exchange is always at the end of the run.

    Parameters
    ----------
    schedule : {"constant", "growing", "growing-ceil", "square-root", "one-shot"}
        growing: intervals a, 2a, 3a, ... by the authors' real-valued rule, exactly `rounds` of them;
        growing-ceil: with a rounded up, as in the theorem; square-root: longer as the learning rate falls.
    rounds : int
        R; 0 where `interval` says how long a round is.
    interval : int
        H; 0 where `rounds` says how many there are.
    coefficient : float
        alpha of square-root, in units of the learning rate.
    local_from : float
        In [0, 1): this share of the steps comes first, with an exchange each.

    Raises
    ------
    ValueError
        If the options do not go together.
    """

    def __init__(
        self,
        schedule: str = "constant",
        rounds: int = 0,
        interval: int = 0,
        coefficient: float = 0.0,
        local_from: float = 0.0,
    ) -> None:
        if min(rounds, interval) < 0 or not 0 <= local_from < 1:
            raise ValueError("rounds and interval must be at least 0, and local_from in [0, 1)")
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule is {schedule!r}; it must be one of: {', '.join(SCHEDULES)}")
        _check_pair(schedule, rounds, interval, coefficient)
        self.schedule, self.rounds, self.interval = schedule, rounds, interval
        self.coefficient, self.local_from = coefficient, local_from
        self._times: Sequence[int] = ()

    def begin(self, num_steps: int) -> None:
        """Plan the rounds of a run of T steps.

        Raises
        ------
        ValueError
            If there are more rounds than steps.
        """
        self.num_steps = num_steps
        self.first_local = int(self.local_from * num_steps)
        left = num_steps - self.first_local
        if self.rounds > left:
            raise ValueError(f"{self.rounds} rounds do not fit into {left} local steps; ask for fewer")
        if left:
            self._times = [self.first_local + time for time in self._local_times(left)]

    def end(self, step: int, rate: float) -> int:
        """Return how many steps will have been taken at the end of the round that begins with `step`.

        Parameters
        ----------
        step : int
            Counts from 0.
        rate : float
            The learning rate of that step.
        """
        if step < self.first_local:
            return step + 1
        if self.schedule == "square-root":
            least = self.interval or DEFAULT_INTERVAL
            length = square_root_interval(rate, coefficient=self.coefficient, least=least)
            return min(step + length, self.num_steps)
        return self._times[bisect_right(self._times, step)]

    def _local_times(self, steps: int) -> list[int]:
        if self.schedule == "one-shot":
            return [steps]
        if self.schedule.startswith("growing"):
            unit = "ceil" if self.schedule.endswith("ceil") else "real"
            return growing_schedule(steps, self.rounds, unit=unit)
        if self.rounds:
            return constant_schedule(steps, self.rounds)
        interval = self.interval or DEFAULT_INTERVAL
        return [*range(interval, steps, interval), steps]

    def __str__(self) -> str:
        """Return the schedule in words, for a row of a table."""
        first = f"{100 * self.local_from:.6g} % synchronous, then " if self.local_from else ""
        length = f"{self.rounds} rounds" if self.rounds else f"H = {self.interval or DEFAULT_INTERVAL}"
        words = {
            "one-shot": "one-shot",
            "square-root": f"square-root rule {self.coefficient:.6g}, {length}",
            "constant": length,
        }
        return first + words.get(self.schedule, f"{self.schedule}, {length}")


def _check_pair(schedule: str, rounds: int, interval: int, coefficient: float) -> None:
    """Refuse options that the schedule does not read, or lacks."""
    if schedule == "one-shot" and (rounds or interval):
        raise ValueError("one-shot has one round; leave out rounds and interval")
    if schedule.startswith("growing") and (interval or not rounds):
        raise ValueError(f"{schedule} needs rounds, such as rounds=16, and no interval")
    if schedule == "square-root" and (rounds or not 0 < coefficient < float("inf")):
        raise ValueError("square-root needs a coefficient above 0, such as coefficient=0.2, and no rounds")
    if schedule != "square-root" and coefficient:
        raise ValueError(f"coefficient belongs to schedule=square-root, not to {schedule}")
    if rounds and interval:
        raise ValueError("rounds and interval both say how long a round is; leave out one of them")
