"""A sweep over the tasks of a cluster: each runs its share of the cells, and all write to one store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from qsgd_lab.errors import DataMissingError, RunFailedError, UsageError

T = TypeVar("T")

#: Exit codes of a share that ended as it should: done, and time up with cells left.
_ENDED = (0, 5)


def share_of(cells: Sequence[T], share: tuple[int, int] | None) -> list[T]:
    """Return the cells i, i + k, ... of a plan, for a share (i, k) with 0 <= i < k; all for None."""
    index, count = share or (0, 1)
    return list(cells[index::count])


class Share:
    """One task: ``qsgd-lab reproduce`` of a share of the cells.

    What is pickled for the task is text alone: arguments and a folder. Where the run is, the store knows.
    """

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.arguments, self.folder = list(arguments), str(folder)

    def __call__(self, index: int, count: int) -> int:
        """Run the share; return its exit code, 0 or 5.

        Raises
        ------
        RunFailedError
            If the command failed.
        """
        command = [sys.executable, "-m", "qsgd_lab", "reproduce", *self.arguments]
        command += ["--share", f"{index}/{count}"]
        code = subprocess.run(command, cwd=self.folder, check=False).returncode
        if code not in _ENDED:
            raise RunFailedError(f"share {index} of {count} ended with exit code {code}")
        return code

    def checkpoint(self, index: int, count: int) -> Any:
        """Go on after a preemption, as submitit asks: the same command resumes."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, index, count)


class Request(NamedTuple):
    """What is asked of the cluster.

    Attributes
    ----------
    tasks : int
    executor : {"auto", "slurm", "local"}
        Auto is SLURM where it is there.
    minutes : int
        Of a task.
    processors, devices : int
        Of a task; devices are GPUs.
    partition : str or None
    logs : Path
        Where submitit keeps its files.
    """

    tasks: int
    executor: str
    minutes: int
    processors: int
    devices: int
    partition: str | None
    logs: Path


def submit(arguments: Sequence[str], request: Request) -> list[Any]:
    """Submit the tasks of a sweep as one array; return submitit's jobs.

    Raises
    ------
    DataMissingError
        If submitit is not installed.
    UsageError
        If the cluster is not there.
    """
    try:
        import submitit
    except ImportError:
        raise DataMissingError("submit needs submitit; install it: pip install 'qsgd-lab[cluster]'") from None
    cluster = None if request.executor == "auto" else request.executor
    try:
        executor = submitit.AutoExecutor(str(request.logs), cluster=cluster)
    except RuntimeError as error:
        raise UsageError(f"{' '.join(str(error).split())}; give --executor local") from None
    executor.update_parameters(
        name="qsgd-lab",
        timeout_min=request.minutes,
        cpus_per_task=request.processors,
        gpus_per_node=request.devices,
        **({"slurm_partition": request.partition} if request.partition else {}),
    )
    share = Share(arguments, Path.cwd())
    indices = range(request.tasks)
    jobs: list[Any] = executor.map_array(share, indices, [request.tasks] * request.tasks)
    return jobs
