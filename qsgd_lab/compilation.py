"""Whether kernels are compiled, and the notice before: the user waits some seconds, once on a machine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

COMPILING = "Compiling kernels, once: 10 s to 2 minutes (see qsgd-lab warm-up)."


def _log() -> None:
    """Log a warning, which a program that has not set up logging shows on stderr; one process a machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":  # torchrun's
        logging.getLogger("qsgd_lab").warning(COMPILING)


_tell: list[Callable[[], None]] = [_log]
_listeners: list[object] = []
_runs_plain = False


def run_kernels_plain() -> None:
    """Have the kernels of this process run as plain Python: the same bits, for a few examples.

    A few thousand coordinates take less time so than compiling. It is for a process that ends soon, and is
    called before any kernel is loaded: later it changes nothing.
    """
    global _runs_plain
    _runs_plain = True


def kernels_run_plain() -> bool:
    """Return whether `run_kernels_plain` was called."""
    return _runs_plain


def before_first_compilation(tell: Callable[[], None]) -> None:
    """Have `tell` called before the first kernel that this process compiles, and does not find in the cache.

    It is called at most once; a function given later takes the place of one that was not called yet. Without
    one, the logger ``qsgd_lab`` gets a warning. Numba is not loaded for this: where it is not loaded yet,
    `listen` is called as the kernels are imported.

    Parameters
    ----------
    tell : callable
        Without arguments.
    """
    _tell[:] = [tell]
    if "numba" in sys.modules:
        listen()


def listen() -> None:
    """Have Numba say when it compiles, if a function waits for it."""
    if not _tell or _listeners:
        return
    from numba.core import event

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, started: Any) -> None:
            function = started.data["dispatcher"].py_func
            if _tell and function.__module__.startswith("qsgd_lab."):
                _tell.pop()()

        def on_end(self, _ended: Any) -> None:
            """Do nothing: only the beginning is told."""

    _listeners.append(Listener())
    event.register("numba:compile", _listeners[0])  # type: ignore[no-untyped-call]
