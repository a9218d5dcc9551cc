"""Processes that are the ranks of a group, kept for many cases: starting them takes most of the time."""

from __future__ import annotations

import os
import sys
import traceback
from datetime import timedelta
from importlib import import_module
from pathlib import Path

from forked import ForkedContext

#: A rank that takes longer has hung; far beyond what the slowest machine needs.
LIMIT_S = 300


def serve(connection, paths):
    """Call what comes through the pipe until it is closed."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    sys.path[:0] = paths
    import torch

    torch.set_num_threads(1)
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


def join_group(rank, size, store, timeout_s):
    """Leave the group of this process, if any, and join another."""
    import rank_cases
    import torch.distributed as dist

    rank_cases.close_lane()
    if dist.is_initialized():
        dist.destroy_process_group()
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(store, size),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=timeout_s),
    )


class Processes:
    """As many processes as the largest group needs; one group at a time has the first of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.group, self.count = folder, None, 0
        self.pipes, self.processes = [], []

    def grow(self, size: int) -> None:
        """Start processes until there are `size`."""
        paths = [path for path in sys.path if path]
        first = len(self.processes)
        while len(self.processes) < size:
            here, there = ForkedContext.Pipe()
            process = ForkedContext.Process(target=serve, args=(there, paths), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)
        for pipe in self.pipes[first:]:  # a group waits for its ranks a limited time, and imports are slow
            assert pipe.poll(LIMIT_S) and pipe.recv() == "ready"

    def close(self) -> None:
        """End the processes."""
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


class Ranks:
    """`size` processes of a pool; `call` runs one function on all and returns their results by rank."""

    def __init__(self, size: int, pool: Processes, timeout_s: float = 60.0) -> None:
        self.size, self.pool, self.timeout_s = size, pool, timeout_s
        pool.grow(size)

    @property
    def pipes(self) -> list:
        """The pipes to the processes of the group."""
        return self.pool.pipes[: self.size]

    def _gather_group(self) -> None:
        """Make the processes this group, if they are another one."""
        if self.pool.group is self:
            return
        self.pool.group, self.pool.count = self, self.pool.count + 1
        store = str(self.pool.folder / f"store{self.pool.count}")
        for rank, pipe in enumerate(self.pipes):
            pipe.send(("ranks", "join_group", [rank, self.size, store, self.timeout_s]))
        assert self.outcomes() == [(True, None)] * self.size

    def start(self, function, *arguments) -> None:
        """Begin a call on all ranks; arguments of type ByRank are taken apart."""
        self._gather_group()
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


class ByRank(list):
    """An argument of which each rank gets its own item."""
