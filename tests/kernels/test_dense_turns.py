"""Many chunks decoded in turn: eight, four, and what is left, with codewords beyond the joined tables."""

from __future__ import annotations

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.partition import partition


def gradient_of(levels, num_levels):
    """Return a quantized gradient of given levels, in one bucket of norm s."""
    parts = partition(levels.size, "model")
    norms = np.full(parts.num_buckets, num_levels, np.float32)
    return ql.QuantizedGradient(levels, norms, num_levels, "max", parts, levels.shape)


def uneven_levels(size, num_levels, seed):
    """Return levels whose chunks differ much in length: from nearly all 0 to nearly all at the top."""
    rng = np.random.default_rng(seed)
    spread = np.repeat(rng.choice([0.002, 0.1, 0.5, 3.0], -(-size // 2048)), 2048)[:size]
    return np.clip(np.rint(rng.standard_normal(size) * spread * num_levels), -num_levels, num_levels)


@pytest.mark.parametrize("layout", ["dense", "dense-signed"])
@pytest.mark.parametrize("code", LENGTHS)
@pytest.mark.parametrize("num_levels", [1, 2, 7, 8, 127])
def test_every_number_of_chunks_is_read_back(num_levels, code, layout):
    """Eight chunks in turn, then four, then single ones, the last of them short, hold what was written."""
    for chunks in (3, 4, 7, 8, 12, 21):
        levels = uneven_levels(4096 * chunks + 77, num_levels, chunks).astype(np.int8)
        message = ql.encode(gradient_of(levels, num_levels), code, layout)

        assert np.array_equal(ql.decode(message).levels, levels)
        assert np.array_equal(ql.decode(message, threads=3).levels, levels)
        assert np.array_equal(ql.decode_values(message), levels.astype(np.float32))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_short_chunks_leave_no_room_for_turns(size):
    """Chunks about as short as what a turn may write are read level by level where it would not fit."""
    levels = uneven_levels(size * 25 + 5, 7, size).astype(np.int8)
    message = ql.encode(gradient_of(levels, 7), "omega", "dense", chunk_size=size)

    assert np.array_equal(ql.decode(message).levels, levels)


@pytest.mark.parametrize("num_levels", [1, 7, 127])
@pytest.mark.parametrize("chunk", [0, 3, 7, 8, 11, 14, 20])
def test_a_malformed_chunk_among_many_is_named(chunk, num_levels):
    """A chunk whose checksum is right but whose bits are not an encoder's is found, in any position."""
    levels = uneven_levels(4096 * 21, num_levels, 0).astype(np.int8)
    message = ql.encode(gradient_of(levels, num_levels), "omega", "dense")
    frame = ql.open_message(message)
    damaged = np.array(message)
    end = damaged.size - 8 - int(frame.starts[-1] - frame.starts[chunk + 1])
    damaged[end - 4 : end] = 0xFF  # no omega codeword of so many ones is a level, and padding is 0
    corrected = fix_checksums(damaged, message, chunk, end)

    with pytest.raises(ql.MessageError, match=f"chunk {chunk} is malformed"):
        ql.decode(corrected)


def fix_checksums(damaged, message, chunk, end):
    """Return the damaged message with the checksums of a chunk, the index and the header made right."""
    from qsgd_lab.coding.header import crc32c

    frame = ql.open_message(message)
    sizes, count = frame.sizes, frame.index.directory.checksums.size
    start = end - int(frame.starts[chunk + 1] - frame.starts[chunk])
    place = 64 + 8 * (1 + 1) + sizes.norms + 4 * chunk
    checksum = np.uint32(crc32c(damaged[start:end].tobytes()))
    damaged[place : place + 4] = np.frombuffer(checksum.tobytes(), np.uint8)
    first_payload = damaged.size - 8 - int(frame.starts[-1])
    assert first_payload >= 64 + 16 + sizes.norms + 6 * count
    index = np.uint32(crc32c(damaged[64:first_payload].tobytes()))
    damaged[56:60] = np.frombuffer(index.tobytes(), np.uint8)
    header = np.uint32(crc32c(damaged[:60].tobytes()))
    damaged[60:64] = np.frombuffer(header.tobytes(), np.uint8)
    return damaged.tobytes()
