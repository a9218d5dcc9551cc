"""Tables that the coders look up, in device memory, kept from call to call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.elias import lengths_side_by_side
from qsgd_lab.coding.layouts import MAX_CHUNK_SIZE
from qsgd_lab.coding.tables import encode_tables
from qsgd_lab.partition import Partition

KEPT = 64

Arrays = tuple[Any, ...]
_tables: OrderedDict[tuple[Any, ...], Arrays] = OrderedDict()


def _kept(context: Any, key: tuple[Any, ...], make: Callable[[], tuple[NDArray[Any], ...]]) -> Arrays:
    """Return arrays on the device, made and copied there at first."""
    place = (context.package, context.device, *key)
    if place not in _tables:
        context.require_no_capture()
        _tables[place] = tuple(context.to_device(array) for array in make())
        # Once a table: the next call may be on another stream, and one may still read what is dropped.
        context.wait()
        while len(_tables) > KEPT:  # the least recently used go first
            _tables.popitem(last=False)
    _tables.move_to_end(place)
    return _tables[place]


def kept_lead(context: Any, lead: bytes) -> Any:
    """Return header and lists of a message on the device, uint32."""
    return _kept(context, ("lead", lead), lambda: (np.frombuffer(lead, np.uint32),))[0]


def codeword_entries(context: Any, layout: str, code: str, num_levels: int) -> Arrays:
    """Return (entries by level + s, entries by distance), uint64, as `EncodeTables` describes them."""

    def make() -> tuple[NDArray[Any], ...]:
        tables = encode_tables(layout, code, num_levels)
        return tables.single, tables.gaps

    return _kept(context, ("codewords", layout, code, num_levels), make)


def dense_entries(context: Any, code: str, num_levels: int) -> Arrays:
    """Return the tables of ``cuda.dense_encode`` and of ``cuda.dense_decode``, for s of at most 7."""

    def make() -> tuple[NDArray[Any], ...]:
        from qsgd_lab.kernels.cuda.messages.dense_decode import lookup_table
        from qsgd_lab.kernels.cuda.messages.dense_encode import length_table

        single = encode_tables("dense", code, num_levels).single
        return length_table(single, num_levels), lookup_table(single, num_levels)

    return _kept(context, ("dense", code, num_levels), make)


def codeword_lengths(context: Any, num_levels: int) -> Arrays:
    """Return lengths under the three codes, 21 bits each: of |level| + 1, of a distance, of sign and |level|.

    uint64, by |level|, distance and |level|.
    """

    def make() -> tuple[NDArray[Any], ...]:
        successors = lengths_side_by_side(num_levels + 1, 0)[1:]
        return (
            np.ascontiguousarray(successors),
            lengths_side_by_side(MAX_CHUNK_SIZE, 0),
            lengths_side_by_side(num_levels, 1),
        )

    return _kept(context, ("lengths", num_levels), make)


def word_checksum_tables(context: Any) -> Arrays:
    """Return the `ShiftTables` of words."""
    from qsgd_lab.kernels.crc32c import word_tables

    return _kept(context, ("words",), lambda: tuple(word_tables()))


def piece_checksum_tables(context: Any) -> Arrays:
    """Return the `ShiftTables` of pieces."""
    from qsgd_lab.kernels.crc32c import piece_tables
    from qsgd_lab.kernels.cuda.messages.checksum import PIECE

    return _kept(context, ("pieces",), lambda: tuple(piece_tables(PIECE)))


def bucket_offsets(context: Any, parts: Partition) -> Any:
    """Return the boundaries of a partition's buckets, int64[B + 1]."""
    return _kept(context, ("buckets", parts), lambda: (parts.bucket_offsets,))[0]
