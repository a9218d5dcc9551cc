"""Tables of rows and blocks: how a partition's coordinates are divided among warps.

They are made on the host and kept in device memory from call to call: a gradient's partition rarely changes.

A row is up to 512 coordinates of one tensor that draw their words from one group of Philox blocks; rows tile
the gradient. A block is up to 512 coordinates of one bucket, whose squares one warp sums; blocks tile it too,
and where a bucket has several, their sums are summed by the same rule, level after level. Where every bucket
is a row, one read of the gradient does for norms and levels.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.cuda.device import DeviceContext
from qsgd_lab.partition import Partition

ROW = 512
LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a partition; R rows, K blocks, B buckets.

    Attributes
    ----------
    offsets : int64, shape (R + 1,)
        Boundaries of the rows, from 0 to n.
    tensor, group : int32, shape (R,)
        The tensor of a row, and its place among the rows of that tensor.
    bucket : int32, shape (R,)
        The bucket of a row's first coordinate.
    left : int32, shape (R,)
        How many coordinates from the row's start belong to that bucket, at most 512.
    inverse_size : float
        1 / bucket size, which finds the buckets of the coordinates after those; 0 where no row has any.
    block_levels : tuple of int64 arrays
        Boundaries of blocks: of coordinates, then of the sums of the level before, until each bucket has one.
    """

    offsets: NDArray[np.int64]
    tensor: NDArray[np.int32]
    group: NDArray[np.int32]
    bucket: NDArray[np.int32]
    left: NDArray[np.int32]
    inverse_size: float
    block_levels: tuple[NDArray[np.int64], ...]

    @property
    def is_bucket_a_row(self) -> bool:
        """Whether every row is a bucket."""
        return len(self.block_levels) == 1 and np.array_equal(self.block_levels[0], self.offsets)


def _cut(offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut runs into pieces of at most 512: return the pieces' boundaries, and each run's first piece."""
    pieces = -(-np.diff(offsets) // ROW)  # an empty run has none
    first = np.concatenate([[0], np.cumsum(pieces)]).astype(np.int64)
    places = np.arange(first[-1]) - np.repeat(first[:-1], pieces)
    return np.append(np.repeat(offsets[:-1], pieces) + ROW * places, offsets[-1]).astype(np.int64), first


@lru_cache(maxsize=16)
def rows_of(parts: Partition) -> Rows:
    """Return the rows of a partition.

    Raises
    ------
    ValueError
        If there are 2^31 buckets or rows, or more.
    """
    offsets, first_row = _cut(parts.tensor_offsets)
    count = offsets.size - 1
    if max(count, parts.num_buckets) > LARGEST_INT32:
        raise ValueError(f"backend 'cuda' takes at most {LARGEST_INT32} buckets, got {parts.num_buckets}")
    rows_of_tensor = np.diff(first_row)
    tensor = np.repeat(np.arange(rows_of_tensor.size), rows_of_tensor)
    bucket = np.searchsorted(parts.bucket_offsets, offsets[:-1], side="right") - 1
    left = parts.bucket_offsets[bucket + 1] - offsets[:-1]
    levels = []
    boundaries = parts.bucket_offsets
    while True:
        blocks, boundaries = _cut(boundaries)
        levels.append(blocks)
        if blocks.size == boundaries.size:  # a block a bucket
            break
    size = parts.bucket_size
    return Rows(
        offsets,
        tensor.astype(np.int32),
        (np.arange(count) - np.repeat(first_row[:-1], rows_of_tensor)).astype(np.int32),
        bucket.astype(np.int32),
        np.minimum(left, ROW).astype(np.int32),
        1.0 / size if isinstance(size, int) else 0.0,
        tuple(levels),
    )


KEPT = 16


class RowTables(NamedTuple):
    """What kernels take of `Rows`, as Numba device arrays.

    Rows are aligned if each begins at a multiple of 32 coordinates, so that none shares a packed word.
    ``rows`` is (offsets, tensor, group, bucket, left, inverse size), as `Rows` describes them.

    ``whole`` is (begin, tensor, group, bucket), four int32 each, of the rows of 512 coordinates, and
    ``whole_left`` their ``left``; ``rest`` are the numbers of all other rows (int32). ``full`` is (begin / 4,
    tensor, group, bucket) of the whole rows that begin at a multiple of four and have no bucket's boundary
    but at multiples of four, and ``full_left`` their ``left``; ``others`` are the numbers of all other rows.
    The first ``num_single`` full rows have one bucket each; ``not_single`` are the numbers of all but those.
    """

    rows: tuple[Any, ...]
    block_levels: tuple[Any, ...]
    is_bucket_a_row: bool
    are_rows_aligned: bool
    num_rows: int
    num_buckets: int
    num_single: int
    whole: Any
    whole_left: Any
    rest: Any
    full: Any
    full_left: Any
    others: Any
    not_single: Any
    all_rows: Any


def _divided(rows: Rows, bucket_size: int | str) -> tuple[NDArray[np.int32], ...]:
    """Return the last eight arrays of `RowTables`."""
    begins, numbers = rows.offsets[:-1], np.arange(rows.offsets.size - 1, dtype=np.int32)
    is_whole = (np.diff(rows.offsets) == ROW) & (begins < 2**32)
    is_single = is_whole & (begins % 4 == 0) & (rows.left == ROW)
    in_fours = isinstance(bucket_size, int) and bucket_size % 4 == 0
    is_full = is_single | (is_whole & (begins % 4 == 0) & (rows.left % 4 == 0) & in_fours)
    full = np.concatenate([numbers[is_single], numbers[is_full & ~is_single]])

    def table(places: NDArray[np.int64], chosen: NDArray[np.int32]) -> NDArray[np.int32]:
        parts = (places.astype(np.uint32).view(np.int32), rows.tensor, rows.group, rows.bucket)
        return np.stack([part[chosen] for part in parts], axis=1).reshape(-1)

    whole = numbers[is_whole]
    return (
        *(table(begins, whole), rows.left[whole], numbers[~is_whole]),
        *(table(begins // 4, full), rows.left[full], numbers[~is_full], numbers[~is_single]),
        numbers,
    )


_tables: OrderedDict[tuple[Partition, str, int | None], RowTables] = OrderedDict()


def row_tables(parts: Partition, context: DeviceContext) -> RowTables:
    """Return the tables of a partition on a device, copying them there at first."""
    key = (parts, context.package, context.device)
    if key not in _tables:
        context.require_no_capture()
        rows = rows_of(parts)
        arrays = (rows.offsets, rows.tensor, rows.group, rows.bucket, rows.left)
        divided = _divided(rows, parts.bucket_size)
        _tables[key] = RowTables(
            (*(context.to_device(array) for array in arrays), np.float32(rows.inverse_size)),
            tuple(context.to_device(level) for level in rows.block_levels),
            rows.is_bucket_a_row,
            bool((rows.offsets[:-1] % 32 == 0).all()),
            rows.offsets.size - 1,
            parts.num_buckets,
            rows.offsets.size - 1 - divided[6].size,
            *(context.to_device(array) for array in divided),
        )
        # Once a partition: the next call may be on another stream, and one may still read what is dropped.
        context.wait()
        while len(_tables) > KEPT:
            _tables.popitem(last=False)
    _tables.move_to_end(key)
    return _tables[key]
