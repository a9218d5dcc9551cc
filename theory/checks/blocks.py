"""A long vector in blocks that fit a processor's cache: what adds up over buckets is measured block by block.

Blocks begin at buckets and draw the random words of tensors of their own. Everything the checks need is a
sum over the blocks, so that working memory does not grow with the vector; and small arrays are several times
faster, because the allocator reuses them where it would ask the system for fresh pages.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.arguments import whole

#: So many float64 (64 KiB) stay below the size from which the C library maps fresh pages for each array.
BLOCK_COORDINATES = 2**13


def blocks_of(
    vector: NDArray[np.float32], bucket_size: int, *, multiple_of: int = 1
) -> list[NDArray[np.float32]]:
    """Cut a vector, shape (n,), into views of about `BLOCK_COORDINATES` that begin at buckets.

    Parameters
    ----------
    vector : ndarray of float32, shape (n,)
    bucket_size : int
        d; a block holds whole buckets, at least one.
    multiple_of : int
        Blocks also begin at multiples of this, such as the chunk of a message.

    Examples
    --------
    >>> [block.size for block in blocks_of(np.zeros(30_000, np.float32), 512)]
    [8192, 8192, 8192, 5424]
    """
    unit = int(np.lcm(whole("bucket_size", bucket_size), whole("multiple_of", multiple_of)))
    size = unit * max(1, BLOCK_COORDINATES // unit)
    return [vector[start : start + size] for start in range(0, vector.size, size)]
