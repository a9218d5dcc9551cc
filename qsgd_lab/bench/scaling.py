"""What a second thread brings: kernels release the interpreter's lock, and chunks are independent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Barrier, Thread

import numpy as np
from numpy.typing import NDArray

import qsgd_lab as ql

BUCKET_SIZE = 512


@dataclass(frozen=True)
class Scaling:
    """How much faster several threads are than one.

    Attributes
    ----------
    operation : str
    num_levels : int
        s.
    threads : int
    processor : float
        Rates summed over threads, each by its own processor time while all run, over that of one alone: what
        the threads do to each other, other users of the machine.
    wall : float
        The same by the clock on the wall: what a user sees, on an idle machine.
    """

    operation: str
    num_levels: int
    threads: int
    processor: float
    wall: float


def measure_scaling(
    num_coordinates: int, all_levels: Sequence[int], threads: int, repeats: int, seed: int = 0
) -> Iterator[Scaling]:
    """Yield the scaling of quantizing, encoding (dense omega) and decoding, each thread on its own gradient.

    Parameters
    ----------
    num_coordinates : int
        Of each thread's gradient.
    all_levels : sequence of int
    threads, repeats : int
    """
    rng = np.random.default_rng(seed)
    gradients = [rng.standard_normal(num_coordinates, dtype=np.float32) for _ in range(threads)]
    for num_levels in all_levels:
        operations = _operations(gradients, num_levels)
        for name, operation in operations.items():
            processor, wall = compare(operation, threads, repeats)
            yield Scaling(name, num_levels, threads, processor, wall)


def _operations(
    gradients: Sequence[NDArray[np.float32]], num_levels: int
) -> dict[str, Callable[[int], object]]:
    """Return what thread i does with gradient i, by name."""
    quantized = [ql.quantize(x, levels=num_levels, bucket_size=BUCKET_SIZE) for x in gradients]
    messages = [ql.encode(q, "omega", "dense") for q in quantized]
    return {
        "quantize": lambda i: ql.quantize(gradients[i], levels=num_levels, bucket_size=BUCKET_SIZE),
        "encode": lambda i: ql.encode(quantized[i], "omega", "dense"),
        "decode": lambda i: ql.decode(messages[i]),
    }


def compare(operation: Callable[[int], object], threads: int, repeats: int) -> tuple[float, float]:
    """Return (processor, wall) of `Scaling` where thread i calls ``operation(i)``."""
    for i in range(threads):
        operation(i)  # compiles and touches what it needs
    (alone,), wall_alone = _run(operation, 1, repeats)
    together, wall_together = _run(operation, threads, repeats)
    return sum(alone / each for each in together), threads * wall_alone / wall_together


def _run(operation: Callable[[int], object], threads: int, repeats: int) -> tuple[list[float], float]:
    """Return each thread's least processor time for a call, and the least wall time in which all called."""
    spent, began, ended = np.zeros((3, threads, repeats))
    barrier = Barrier(threads)

    def work(i: int) -> None:
        for call in range(repeats):
            barrier.wait()
            began[i, call], start = time.perf_counter(), time.thread_time()
            operation(i)
            spent[i, call], ended[i, call] = time.thread_time() - start, time.perf_counter()

    workers = [Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return spent.min(axis=1).tolist(), float((ended.max(axis=0) - began.min(axis=0)).min())
