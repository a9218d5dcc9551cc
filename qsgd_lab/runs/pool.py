"""Worker processes seen from the scheduler: spawn one, give it a cell, hear from it, notice its death."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.events import Event
from qsgd_lab.runs.worker import Order, WorkerUnusable, serve

#: Cells are run side by side, one thread each; read by the libraries when they are first imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

QUIT_PATIENCE_S = 5.0


class WorkerProcess:
    """One spawned process, which imports the worker's function once and runs cells one after another.

    Parameters
    ----------
    worker : str
        Dotted path of the function, see `qsgd_lab.runs.worker`.
    store_path : Path
        Folder of the run store.

    Attributes
    ----------
    cell : RunConfig or None
        What it was given and has not ended.
    """

    def __init__(self, worker: str, store_path: Path) -> None:
        self.cell: RunConfig | None = None
        context = multiprocessing.get_context("spawn")
        self._channel, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, worker, store_path), daemon=True)
        with _single_threaded_child(), _interrupts_held_back():
            self._process.start()
        theirs.close()  # so that the pipe ends when the worker does

    def run(self, config: RunConfig) -> None:
        """Give the idle worker a cell."""
        self.cell = config
        self._send(config)

    def request_stop(self) -> None:
        """Ask the worker to leave its cell at the next step."""
        self._send(Order.STOP)

    def messages(self) -> Iterator[Event | WorkerUnusable]:
        """Yield what has arrived from the worker, without waiting."""
        try:
            while not self._channel.closed and self._channel.poll():
                yield self._channel.recv()
        except (EOFError, OSError):  # it ended, perhaps in the middle of a message
            self._channel.close()

    @property
    def waitables(self) -> list[Connection | int]:
        """What becomes ready when the worker has something to say or has died."""
        return [self._process.sentinel] + ([] if self._channel.closed else [self._channel])

    @property
    def has_died(self) -> bool:
        """Whether the process has ended."""
        return not self._process.is_alive()

    def cause_of_death(self) -> str:
        """Say how the process ended, in words."""
        self._process.join()
        status = self._process.exitcode or 0
        return f"worker killed by signal {-status}" if status < 0 else f"worker exited with status {status}"

    def close(self) -> None:
        """End the process: in order when it is idle, at once when it is in the middle of a cell."""
        if self.cell is None:
            self._send(Order.QUIT)
            self._process.join(QUIT_PATIENCE_S)
        self._process.kill()
        self._process.join()
        self._channel.close()

    def _send(self, order: RunConfig | Order) -> None:
        with suppress(OSError):  # it has died: its sentinel says so
            self._channel.send(order)


def wait_for_news(workers: Sequence[WorkerProcess], timeout_s: float) -> None:
    """Return when a worker has said something or died, or after `timeout_s`."""
    waitables = [waitable for worker in workers for waitable in worker.waitables]
    multiprocessing.connection.wait(waitables, timeout_s)


@contextmanager
def _single_threaded_child() -> Iterator[None]:
    """Give a child the environment of one thread; this process's own is as before afterwards."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Start a child with SIGINT blocked, so that Ctrl-C does not end it before it has come to ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows; its children have no such gap worth closing
        yield
        return
    resource_tracker.ensure_running()  # starting it unblocks SIGINT, so it comes first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
