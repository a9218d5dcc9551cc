"""The progress of a sweep: what is counted, and the time that remains."""

from __future__ import annotations

import fake_runs
import pytest

from qsgd_lab.cli.sweep import progress
from qsgd_lab.cli.sweep.progress import SweepProgress
from qsgd_lab.runs import events

CELLS = [fake_runs.config(seed=seed, epochs=10) for seed in range(4)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, in a list of one, that the progress believes in."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_no_time_is_told_before_the_first_epoch(clock: list[float]) -> None:
    """Without anything done there is no pace."""
    assert SweepProgress(CELLS).left() == "time left unknown"


def test_a_steady_pace_goes_on(clock: list[float]) -> None:
    """Five epochs of 2 s each: the 35 that remain take 70 s."""
    shown = SweepProgress(CELLS)
    for epoch in range(1, 6):
        clock[0] += 2.0
        shown.take(events.CellProgress(CELLS[0], epoch, 10, {}))
    assert (shown.done, shown.total) == (5, 40)
    assert shown.left() == "about 1 min 10 s left"


def test_a_slow_start_and_a_pause_are_left_out(clock: list[float]) -> None:
    """Half a minute of start and two minutes of compilation in between say nothing of the pace."""
    shown = SweepProgress(CELLS)
    clock[0] += 30.0
    for epoch in range(1, 11):
        clock[0] += 121.0 if epoch == 7 else 1.0
        shown.take(events.CellProgress(CELLS[0], epoch, 10, {}))
    assert shown.left() == "about 30 s left"


def test_a_finished_cell_counts_whole(clock: list[float]) -> None:
    """A diverged cell leaves its remaining epochs out, and they count as done."""
    shown = SweepProgress(CELLS)
    clock[0] += 10.0
    record = fake_runs.record(seed=0, epochs=10, status="diverged")
    shown.take(events.CellFinished(CELLS[0], record))
    assert (shown.done, shown.finished) == (10, 1)
    assert shown.left() == "about 30 s left"
