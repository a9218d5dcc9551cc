"""Processes forked from one that has imported what they need: a start takes no time instead of seconds.

For tests whose subject is what runs in the processes, not how they are started. Linux alone forks processes
that have imported torch without harm; elsewhere they are started as ever.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from typing import Any

IS_POSSIBLE = sys.platform == "linux"
IMPORTED = [
    "torch.distributed.fsdp",
    "torch.nn.parallel",
    "qsgd_lab.algorithms.registry",
    "qsgd_lab.distributed.exchange",
    "qsgd_lab.distributed.fsdp",
    "qsgd_lab.distributed.hook",
    "qsgd_lab.distributed.two_phase",
    "qsgd_lab.training.ranks",
    "qsgd_lab.training.run",
]
#: Read by libraries when they are imported: each process has one thread, as ranks and workers have.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

_spawn_or_fork = multiprocessing.get_context("forkserver" if IS_POSSIBLE else "spawn")


def in_environment(
    environment: dict[str, str], target: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    """Call a function in a forked process under the environment of the process that asked for it."""
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


class ForkedContext:
    """What a context of `multiprocessing` gives, with forks of one process."""

    Pipe = staticmethod(_spawn_or_fork.Pipe)

    @staticmethod
    def Process(target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> Any:  # noqa: N802
        """Return a process, not started, whose environment is this process's now."""
        _start()
        given = (dict(os.environ), target, args)
        return _spawn_or_fork.Process(target=in_environment, args=given, daemon=daemon)


def _start() -> None:
    if not IS_POSSIBLE:
        return
    before = dict(os.environ)
    os.environ.update(ONE_THREAD)
    try:
        multiprocessing.set_forkserver_preload(IMPORTED)
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
