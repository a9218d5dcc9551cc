"""The scheduler `run_sweep`: a record in the store for every cell of a list, even if processes die meanwhile.

The store is the only truth: a cell is done when its record is there and taken while its lock is held. Hence
two sweeps on one store share the work, and a sweep that was killed is resumed by starting it again.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from qsgd_lab.errors import LabError, RunFailedError
from qsgd_lab.runs import events
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.pool import WorkerProcess, wait_for_news
from qsgd_lab.runs.store import RunStore
from qsgd_lab.runs.worker import WorkerUnusable

#: How often the scheduler looks at cells that others run, at the clock and at `stop`.
POLL_S = 0.3

#: A cell whose worker dies is tried once more: the cause may have been another process's hunger for memory.
MAX_ATTEMPTS = 2

#: The exit code of a sweep whose time was up while work remained: the same command goes on with it.
TIME_IS_UP = 5

StopReason = Literal["interrupt", "time", "caller"]


@dataclass(frozen=True)
class SweepOutcome:
    """How a sweep ended.

    Attributes
    ----------
    finished : tuple of RunConfig
        Cells whose record this sweep or, meanwhile, another process made.
    already_done : tuple of RunConfig
        Cells that had a record at the start.
    failed : tuple of CellFailed
    remaining : tuple of RunConfig
        Cells left undone because the sweep was stopped; the same command goes on with them.
    stopped_by : {"interrupt", "time", "caller"} or None
    """

    finished: tuple[RunConfig, ...]
    already_done: tuple[RunConfig, ...]
    failed: tuple[events.CellFailed, ...]
    remaining: tuple[RunConfig, ...]
    stopped_by: StopReason | None

    @property
    def exit_code(self) -> int:
        """130 when interrupted, 1 when a cell failed, 5 when the time was up and cells remain, else 0."""
        if self.stopped_by == "interrupt":
            return 130
        if self.failed:
            return 1
        return TIME_IS_UP if self.stopped_by == "time" and self.remaining else 0


def run_sweep(
    configs: Sequence[RunConfig],
    store: RunStore,
    *,
    jobs: int,
    worker: str,
    on_event: Callable[[events.Event], None] = lambda _event: None,
    on_stop: Callable[[StopReason], None] = lambda _reason: None,
    max_time_s: float | None = None,
    stop: threading.Event | None = None,
) -> SweepOutcome:
    """Run the cells that have no record yet, in the given order, in `jobs` single-threaded processes.

    The first Ctrl-C asks the workers to save a checkpoint and leave off; the second kills them and raises
    KeyboardInterrupt. The workers are spawned, so that a script which calls this does so, as always with
    `multiprocessing`, under ``if __name__ == "__main__":``.

    Parameters
    ----------
    configs : sequence of RunConfig
        Duplicates are run once.
    store : RunStore
    jobs : int
        Worker processes; no more are made than there are cells to run.
    worker : str
        Dotted path ``package.module:function``; see `qsgd_lab.runs.worker` for the signature.
    on_event : callable
        Called in this thread with each event.
    on_stop : callable
        Called in this thread, once, with the reason, when running cells are asked to leave off.
    max_time_s : float or None
        After this many seconds the sweep stops as at the first Ctrl-C.
    stop : threading.Event or None
        Stops the sweep in the same way when it is set.

    Raises
    ------
    ValueError
        If `jobs` is less than 1.
    UsageError
        If the store cannot be written.
    IntegrityError
        If the record of one of the cells is damaged.
    RunFailedError
        If the worker's function cannot be imported.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    sweep = _Sweep(configs, store, jobs, worker, on_event, on_stop)
    if sweep.has_work:
        store.ensure_writable()
    deadline = None if max_time_s is None else time.monotonic() + max_time_s
    with _first_interrupt_calls(sweep.stop):
        try:
            while sweep.has_work:
                if stop is not None and stop.is_set():
                    sweep.stop("caller")
                if deadline is not None and time.monotonic() >= deadline:
                    sweep.stop("time")
                sweep.advance()
        finally:
            sweep.close()
    return sweep.outcome()


class _Sweep:
    """The state of a sweep. Every cell is in exactly one place: pending, with a worker, aside, or ended."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        store: RunStore,
        jobs: int,
        worker: str,
        on_event: Callable[[events.Event], None],
        on_stop: Callable[[StopReason], None],
    ) -> None:
        self._store, self._jobs, self._worker = store, jobs, worker
        self._on_event, self._on_stop = on_event, on_stop
        self._cells = list({config.key: config.canonical() for config in configs}.values())
        self._already_done: list[RunConfig] = []
        self._pending: deque[RunConfig] = deque()
        for config in self._cells:
            (self._already_done if self._is_done(config) else self._pending).append(config)
        self._aside: list[RunConfig] = []
        self._next_look = 0.0
        self._deaths: Counter[RunConfig] = Counter()
        self._finished: list[RunConfig] = []
        self._failed: list[events.CellFailed] = []
        self._workers: list[WorkerProcess] = []
        self._stopped_by: StopReason | None = None
        self._stop_passed_on = False

    @property
    def has_work(self) -> bool:
        running = any(worker.cell for worker in self._workers)
        return running or (self._stopped_by is None and bool(self._pending or self._aside))

    def stop(self, reason: StopReason) -> None:
        """Start no more cells and ask the running ones to leave off; safe to call from a signal handler."""
        self._stopped_by = self._stopped_by or reason

    def advance(self) -> None:
        """Assign cells, wait at most `POLL_S` for results, and store them."""
        if self._stopped_by is None:
            self._look_at_cells_aside()
            self._hand_out()
        elif not self._stop_passed_on:
            self._pass_on_stop(self._stopped_by)
        wait_for_news(self._workers, POLL_S)
        for worker in list(self._workers):
            died = worker.has_died  # before the messages are read, so that its last ones are among them
            for message in worker.messages():
                self._hear(worker, message)
            if died:
                self._bury(worker)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.close()

    def outcome(self) -> SweepOutcome:
        ended = {*self._finished, *self._already_done, *(failure.config for failure in self._failed)}
        return SweepOutcome(
            finished=tuple(self._finished),
            already_done=tuple(self._already_done),
            failed=tuple(self._failed),
            remaining=tuple(config for config in self._cells if config not in ended),
            stopped_by=self._stopped_by,
        )

    def _is_done(self, config: RunConfig) -> bool:
        if self._store.record(config) is None:
            return False
        self._store.discard_checkpoint(config)  # left behind by a process killed after it wrote the record
        return True

    def _hand_out(self) -> None:
        while self._pending:
            worker = next((worker for worker in self._workers if worker.cell is None), None)
            if worker is None:
                if len(self._workers) == self._jobs:
                    return
                worker = WorkerProcess(self._worker, self._store.path.resolve())
                self._workers.append(worker)
            worker.run(self._pending.popleft())

    def _look_at_cells_aside(self) -> None:
        """File the cells that another process has finished, and take over those that it let go of."""
        if not self._aside or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + POLL_S
        for config in list(self._aside):
            claimed = self._store.is_claimed(config)  # first: the record may appear in between, not vanish
            try:
                record = self._store.record(config)
            except LabError as error:
                self._end(events.CellFailed(config, str(error)))
                continue
            if record is not None:
                self._end(events.CellFinished(config, record, here=False))
            elif not claimed:
                self._aside.remove(config)
                self._pending.appendleft(config)

    def _pass_on_stop(self, reason: StopReason) -> None:
        self._stop_passed_on = True
        if any(worker.cell is not None for worker in self._workers):
            self._on_stop(reason)
        for worker in self._workers:
            if worker.cell is not None:
                worker.request_stop()

    def _hear(self, worker: WorkerProcess, message: events.Event | WorkerUnusable) -> None:
        if isinstance(message, WorkerUnusable):
            raise RunFailedError(f"the worker {self._worker} cannot be used: {message.reason}")
        if isinstance(message, events.CellStarted | events.CellCompiling | events.CellProgress):
            self._on_event(message)
            return
        worker.cell = None
        self._end(message)

    def _end(self, event: events.Event) -> None:
        """File a cell that no worker has any more, and tell of it."""
        if event.config in self._aside:
            self._aside.remove(event.config)
        if isinstance(event, events.CellFinished):
            self._finished.append(event.config)
        elif isinstance(event, events.CellFailed):
            self._failed.append(event)
        elif isinstance(event, events.CellWaiting):
            self._aside.append(event.config)
        elif isinstance(event, events.CellRetried):
            self._pending.appendleft(event.config)
        self._on_event(event)

    def _bury(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        cause = worker.cause_of_death()
        config, worker.cell = worker.cell, None
        worker.close()
        if config is None:
            return
        self._deaths[config] += 1
        if self._deaths[config] < MAX_ATTEMPTS:
            self._end(events.CellRetried(config, cause))
        else:
            self._end(events.CellFailed(config, cause))


@contextmanager
def _first_interrupt_calls(stop: Callable[[StopReason], None]) -> Iterator[None]:
    """Make the first SIGINT call `stop`, and the second raise KeyboardInterrupt as usual."""
    in_background = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # a shell's `command &`
    if in_background or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop("interrupt")

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
