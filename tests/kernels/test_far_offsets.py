"""Chunks far into a payload: positions beyond 2^31 bits, 2^31 bytes and 2^32 words are what they should be.

A payload that long is not written. An anonymous mapping of that length takes no memory where nothing touches
it, so that a chunk can be written and read at its far end.
"""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from qsgd_lab.coding.index import Directory
from qsgd_lab.coding.layouts import chunk_format
from qsgd_lab.coding.tables import decode_tables, encode_tables
from qsgd_lab.kernels.arguments import ChunkDirectory, ChunkRange, ReadDirectory
from qsgd_lab.kernels.constants import DAMAGED, GOOD
from qsgd_lab.kernels.cpu.messages.decode import decode_chunks, decode_to_values
from qsgd_lab.kernels.cpu.messages.encode import encode_chunk, enter_chunk
from qsgd_lab.kernels.crc32c import crc32c

CHUNK = 256
FORMS = [("fixed", "gamma"), ("dense", "omega"), ("dense-signed", "delta"), ("sparse", "gamma")]
#: Bytes: just below and beyond 2^31 bits, 2^32 bits, 2^31 bytes and 2^32 bytes.
OFFSETS = [2**28 - 4, 2**28 + 4, 2**29 + 8, 2**31 - 512, 2**31 + 12, 2**32 + 16]


@pytest.fixture(scope="module")
def far_stream():
    """Return bytes beyond the farthest offset, none of which takes memory before it is written."""
    return np.frombuffer(mmap.mmap(-1, OFFSETS[-1] + 2**20), np.uint8)


def write_five_chunks(levels, num_levels, layout, code, stream, start):
    """Write five chunks from a byte on; return where they begin and end, and the directory's lists."""
    tables, form = encode_tables(layout, code, num_levels), chunk_format(layout, code, num_levels)
    directory = ChunkDirectory(np.zeros(5, np.uint16), np.zeros(5, np.uint32), np.zeros(5, np.uint16))
    positions, edges, starts = np.empty(CHUNK, np.int32), np.zeros(6, np.int64), [start]
    for chunk in range(5):
        part = levels[chunk * CHUNK : (chunk + 1) * CHUNK]
        end, count = encode_chunk(part, form, tables, positions, stream, starts[-1])
        enter_chunk(chunk, starts[-1], end, count, stream, edges, chunk == 4, directory)
        starts.append(end)
    return np.array(starts, np.int64), directory


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("num_levels", [1, 127, 255])
@pytest.mark.parametrize(
    ("layout", "code"),
    [("fixed", "gamma"), ("dense", "omega"), ("dense-signed", "delta"), ("sparse", "gamma")],
)
def test_chunks_are_written_and_read_far_into_a_payload(far_stream, layout, code, num_levels, offset):
    """What is written far away is what is written at 0, and is read back: four in turn, and one alone."""
    rng = np.random.default_rng(num_levels)
    dtype = np.int8 if num_levels <= 127 else np.int16
    levels = np.clip(rng.standard_normal(5 * CHUNK) * num_levels, -num_levels, num_levels).astype(dtype)
    near = np.zeros(2**16, np.uint8)
    near_starts, near_directory = write_five_chunks(levels, num_levels, layout, code, near, 0)
    starts, directory = write_five_chunks(levels, num_levels, layout, code, far_stream, offset)
    assert (starts - offset).tolist() == near_starts.tolist()
    assert far_stream[offset : starts[-1]].tolist() == near[: near_starts[-1]].tolist()
    assert all(np.array_equal(*pair) for pair in zip(directory, near_directory, strict=True))

    far_stream[starts[-1] : starts[-1] + 8] = 0
    payload = far_stream.view()
    payload.flags.writeable = False
    counts = directory.num_nonzeros if layout == "sparse" else np.empty(0, np.uint16)
    listed = ReadDirectory(starts, directory.checksums, counts)
    form = chunk_format(layout, code, num_levels)
    tables = decode_tables(layout, code, num_levels)
    chunks = ChunkRange(levels.size, CHUNK, 0, 5)
    received = np.full(levels.size, 99, dtype)
    plain = [tuple(part) for part in (listed, chunks, form, tables)]  # as callers do: no further compilation
    assert decode_chunks(payload, *plain, received) == (GOOD, 5)
    assert received.tolist() == levels.tolist()

    values, scratch = np.zeros(levels.size, np.float32), np.empty(8 * CHUNK, dtype)
    norms, buckets = np.full(1, num_levels, np.float32), np.array([0, levels.size])
    outcome = decode_to_values(payload, listed, chunks, form, tables, norms, buckets, scratch, True, values)
    assert outcome == (GOOD, 5)
    assert values.tolist() == levels.tolist()

    far_stream[starts[3]] ^= 1
    assert decode_chunks(payload, *plain, received) == (DAMAGED, 3)


def test_checksums_are_of_the_bytes_where_they_lie(far_stream):
    """The checksum of nine known digits is the known one at every offset."""
    for offset in OFFSETS:
        far_stream[offset : offset + 9] = np.frombuffer(b"123456789", np.uint8)
        assert crc32c(far_stream, offset, offset + 9) == 0xE3069283


def test_a_directory_adds_up_beyond_32_bits():
    """Chunks of 4096 words each, 2^20 + 3 of them: the last begins beyond 2^32 words, at the exact byte."""
    chunks = 2**20 + 3
    directory = Directory(
        np.zeros(chunks, np.uint32), np.full(chunks, 4096, np.uint16), np.zeros(0, np.uint16)
    )
    starts = directory.starts

    assert starts.dtype == np.int64
    assert starts[[0, 1, -2, -1]].tolist() == [0, 16384, 16384 * (chunks - 1), 16384 * chunks]
