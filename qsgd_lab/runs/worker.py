"""The inside of a worker process: claim a cell, run it, write its record, ask for the next.

A worker's function is named by a dotted path, ``package.module:function``, and has the signature::

    function(config: RunConfig, *, checkpoint: Path, should_stop: Callable[[], bool],
             progress: Callable[[int, int, dict[str, float]], None]) -> RunOutcome

It may keep what it needs to resume in the file `checkpoint`, calls ``progress(epoch, epochs, metrics)`` after
each epoch, and once ``should_stop()`` is true saves what is worth saving and raises `Interrupted`.
"""

from __future__ import annotations

import enum
import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from qsgd_lab.compilation import before_first_compilation
from qsgd_lab.errors import LabError, UsageError
from qsgd_lab.runs import events
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.environment import collect_environment
from qsgd_lab.runs.record import Interrupted, RunOutcome
from qsgd_lab.runs.store import RunStore

WorkerFunction = Callable[..., RunOutcome]

MAX_REASON_LENGTH = 300


class Order(enum.Enum):
    """What the scheduler tells a worker, besides the configuration to run next."""

    STOP = enum.auto()
    QUIT = enum.auto()


@dataclass(frozen=True)
class WorkerUnusable:
    """The worker's function cannot be imported, so that no cell can be run."""

    reason: str


def serve(channel: Connection, worker: str, store_path: Path) -> None:
    """Run the cells that come through `channel` until told to quit; the target of a spawned process."""
    _die_with_parent()
    _leave_interrupts_to_parent()
    os.dup2(2, 1)  # stdout is the product: what a library prints in a worker belongs to stderr
    try:
        function = import_function(worker)
    except Exception as error:
        channel.send(WorkerUnusable(_one_line(error)))
        return
    store = RunStore(store_path)
    while (order := channel.recv()) is not Order.QUIT:
        if isinstance(order, RunConfig):
            channel.send(_run_cell(order, store, function, channel))


def import_function(path: str) -> WorkerFunction:
    """Return the function that a dotted path ``package.module:function`` names.

    Raises
    ------
    UsageError
        If the path has another form or names no function. Errors of the module's import pass through.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise UsageError(f"a worker is named package.module:function, not {path!r}")
    function = getattr(importlib.import_module(module), name, None)
    if not callable(function):
        raise UsageError(f"{module} has no function {name}")
    return function  # type: ignore[no-any-return]


def _run_cell(
    config: RunConfig, store: RunStore, function: WorkerFunction, channel: Connection
) -> events.Event:
    """Run one cell if nobody else does or has done; return how it ended."""
    try:
        claim = store.claim(config)
        if claim is None:
            return events.CellWaiting(config)
        with claim:
            # Looked up again under the claim: another process may have finished the cell a moment ago.
            if (record := store.record(config)) is not None:
                return events.CellFinished(config, record, here=False)
            channel.send(events.CellStarted(config))
            before_first_compilation(lambda: channel.send(events.CellCompiling(config)))
            outcome = _call(function, config, store, channel)
            environment = collect_environment(outcome.device, outcome.data_sha256) | outcome.device_facts
            record = store.write(config, outcome, environment)
        return events.CellFinished(config, record)
    except Interrupted:
        return events.CellInterrupted(config)
    except Exception as error:
        _log_traceback(store.error_log_path(config))
        return events.CellFailed(config, _one_line(error))


def _call(function: WorkerFunction, config: RunConfig, store: RunStore, channel: Connection) -> RunOutcome:
    stopped = False

    def should_stop() -> bool:
        nonlocal stopped
        while channel.poll():
            stopped = channel.recv() in (Order.STOP, Order.QUIT) or stopped
        return stopped

    def progress(epoch: int, epochs: int, metrics: dict[str, Any]) -> None:
        channel.send(events.CellProgress(config, epoch, epochs, dict(metrics)))

    checkpoint = store.checkpoint_path(config)
    return function(config.canonical(), checkpoint=checkpoint, should_stop=should_stop, progress=progress)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:MAX_REASON_LENGTH]
    return text if isinstance(error, LabError) else f"{type(error).__name__}: {text}"


def _log_traceback(path: Path) -> None:
    # On a full disk the log cannot be written either; the one line to the scheduler must still go out.
    with suppress(OSError), path.open("a", encoding="utf-8") as log:
        log.write(traceback.format_exc() + "\n")


def _die_with_parent() -> None:
    """End this process at once when the scheduler has gone, however it went, so that the claim comes free."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is a child process"

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _leave_interrupts_to_parent() -> None:
    """Ignore Ctrl-C, which the terminal sends to every process of the sweep; the scheduler passes it on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows, where nothing was blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while the process was made
