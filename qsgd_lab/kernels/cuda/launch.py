"""How many threads a CUDA kernel is given. Results never depend on it; tests and checks vary it.

Kernels work in rows of 512 coordinates, one warp of 32 threads each, and walk on by the size of the grid
until all rows are done, so that any number of blocks of any number of warps gives the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

WARP = 32
HEAVY = 16  # warps a block, for kernels of more than 64 registers a thread


@dataclass(frozen=True)
class LaunchShape:
    """Warps a block, and the most blocks a grid may have.

    Attributes
    ----------
    warps : int
        1 to 32.
    max_blocks : int
        Work beyond it is reached by walking on.
    """

    warps: int = 4
    max_blocks: int = 65535

    def __post_init__(self) -> None:
        if not 1 <= self.warps <= 32 or not 1 <= self.max_blocks < 2**31:
            raise ValueError(f"invalid launch shape {self}: warps must be 1 to 32, blocks 1 to 2^31 - 1")

    def grid(self, warps_of_work: int, most_warps: int = 32) -> tuple[int, int]:
        """Return (blocks, threads a block) for so many warps of work, a block having at most `most_warps`.

        A multiprocessor has 65,536 registers, so a block of 32 warps has 64 a thread; a kernel of up to
        128, or more than 1.5 KiB of shared memory a warp, says ``HEAVY``.
        """
        warps = min(self.warps, most_warps)
        blocks = -(-warps_of_work // warps)
        return max(1, min(blocks, self.max_blocks)), WARP * warps


_current: ContextVar[LaunchShape] = ContextVar("launch_shape", default=LaunchShape())  # noqa: B039


def current_launch_shape() -> LaunchShape:
    """Return the shape in force."""
    return _current.get()


def block_per_item(items: int) -> tuple[int, int]:
    """Return (blocks, threads a block) of the shape in force where each item is one block's.

    A block then has at most 16 warps, so that its threads may have 128 registers each.
    """
    shape = current_launch_shape()
    return shape.grid(items * min(shape.warps, HEAVY), HEAVY)


@contextmanager
def launch_shape(warps: int = 4, max_blocks: int = 65535) -> Iterator[None]:
    """Launch kernels with this shape inside a ``with``."""
    token = _current.set(LaunchShape(warps, max_blocks))
    try:
        yield
    finally:
        _current.reset(token)
