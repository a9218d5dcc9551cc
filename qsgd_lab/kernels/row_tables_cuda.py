"""The tables of rows in device memory, kept from call to call: a gradient's partition rarely changes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from qsgd_lab.kernels.device_arrays_cuda import Home
from qsgd_lab.kernels.rows import rows_of
from qsgd_lab.partition import Partition

KEPT = 16


class RowTables(NamedTuple):
    """What kernels take of `Rows`, as Numba device arrays.

    Rows are aligned if each begins at a multiple of 32 coordinates, so that none shares a packed word.
    ``rows`` is (offsets, tensor, group, bucket, left, inverse size), as `Rows` describes them.
    """

    rows: tuple[Any, ...]
    block_levels: tuple[Any, ...]
    is_bucket_a_row: bool
    are_rows_aligned: bool
    num_rows: int
    num_buckets: int


_tables: OrderedDict[tuple[Partition, str, int | None], RowTables] = OrderedDict()


def row_tables(parts: Partition, home: Home) -> RowTables:
    """Return the tables of a partition on a device, copying them there at first."""
    key = (parts, home.package, home.device)
    if key not in _tables:
        rows = rows_of(parts)
        arrays = (rows.offsets, rows.tensor, rows.group, rows.bucket, rows.left)
        _tables[key] = RowTables(
            (*(home.to_device(array) for array in arrays), np.float32(rows.inverse_size)),
            tuple(home.to_device(level) for level in rows.block_levels),
            rows.is_bucket_a_row,
            bool((rows.offsets[:-1] % 32 == 0).all()),
            rows.offsets.size - 1,
            parts.num_buckets,
        )
        cuda.synchronize()  # once a partition: the next call may be on another stream
        while len(_tables) > KEPT:
            _tables.popitem(last=False)
    _tables.move_to_end(key)
    return _tables[key]
