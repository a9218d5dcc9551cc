"""Processes that are the ranks of a group, kept for many cases: starting them takes most of the time."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from datetime import timedelta
from importlib import import_module
from pathlib import Path

#: A rank that takes longer has hung; far beyond what the slowest machine needs.
LIMIT_S = 300


def serve(connection, rank, size, store, paths, timeout_s):
    """Join the group, and call what comes through the pipe until it is closed."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    sys.path[:0] = paths
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(store, size),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=timeout_s),
    )
    connection.send("ready")
    while True:
        try:
            module, name, arguments = connection.recv()
        except EOFError:
            return
        try:
            result = getattr(import_module(module), name)(*arguments)
            connection.send((True, result))
        except BaseException as error:
            connection.send((False, (type(error).__name__, str(error), traceback.format_exc())))


class Ranks:
    """`size` processes; `call` runs one function on all of them and returns their results by rank."""

    def __init__(self, size: int, folder: Path, timeout_s: float = 60.0) -> None:
        context = multiprocessing.get_context("spawn")
        self.size = size
        self.pipes, self.processes = [], []
        paths = [path for path in sys.path if path]
        for rank in range(size):
            here, there = context.Pipe()
            process = context.Process(
                target=serve, args=(there, rank, size, str(folder / "store"), paths, timeout_s), daemon=True
            )
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)
        for rank in range(size):
            assert self._receive(rank) == "ready"

    def start(self, function, *arguments) -> None:
        """Begin a call on all ranks; arguments of type ByRank are taken apart."""
        for rank, pipe in enumerate(self.pipes):
            own = [argument[rank] if isinstance(argument, ByRank) else argument for argument in arguments]
            pipe.send((function.__module__, function.__name__, own))

    def outcomes(self) -> list:
        """Return (True, result) or (False, (type, text, traceback)) of each rank; None of one that ended."""
        return [self._receive(rank) for rank in range(self.size)]

    def call(self, function, *arguments) -> list:
        """Run a function on all ranks, and return the results; an error of any rank is raised."""
        self.start(function, *arguments)
        outcomes = self.outcomes()
        for rank, outcome in enumerate(outcomes):
            assert outcome is not None, f"rank {rank} ended"
            assert outcome[0], f"rank {rank}: {outcome[1][2]}"
        return [result for _, result in outcomes]

    def _receive(self, rank):
        if not self.pipes[rank].poll(LIMIT_S):
            raise TimeoutError(f"rank {rank} has not answered in {LIMIT_S} s")
        try:
            return self.pipes[rank].recv()
        except (EOFError, ConnectionResetError):
            return None

    def close(self) -> None:
        """End the processes."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


class ByRank(list):
    """An argument of which each rank gets its own item."""
