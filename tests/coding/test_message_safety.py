"""Messages from anywhere: the right answer or a MessageError, and no memory beyond a stated multiple."""

from __future__ import annotations

import dataclasses
import math
import struct
import tracemalloc

import fuzz_messages
import naive_message
import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES, Header, crc32c
from qsgd_lab.coding.index import Directory, Index
from qsgd_lab.coding.message import seal
from qsgd_lab.partition import partition


def small_message(layout="dense", code="omega"):
    """Return a message of 300 coordinates in ten chunks."""
    gradient = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    return ql.encode(ql.quantize(gradient, levels=7, bucket_size=100), code, layout, chunk_size=32)


def test_mutants_are_refused_or_right():
    """Mutated messages, half of them with corrected checksums, are refused or are what an encoder writes."""
    done, accepted = fuzz_messages.fuzz(seed=1, count=2500, seconds=float("inf"))

    assert done == 2500
    assert 0 < accepted < done / 4


@pytest.mark.parametrize("layout", ["fixed", "dense", "dense-signed", "sparse"])
def test_every_flipped_bit_is_found(layout):
    """A message with any one bit changed is refused: checksums and zeros cover all of it."""
    message = small_message(layout)
    for bit in range(8 * len(message)):
        damaged = bytearray(message)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ql.MessageError):
            ql.decode(damaged)


def test_every_truncation_is_found():
    """A message that is cut off anywhere, or goes on, is refused."""
    message = small_message()
    for size in range(len(message)):
        with pytest.raises(ql.MessageError):
            ql.decode(message[:size])
    with pytest.raises(ql.MessageError, match="should have"):
        ql.decode(bytes(message) + b"\0")


def hostile(**claims):
    """Return the header of a small message with other claims, and the rest of the message as it was."""
    message = small_message()
    fields = vars(message.header) | {"message_bytes": len(message)} | claims
    return Header(**fields).pack() + bytes(message)[HEADER_BYTES:]


@pytest.mark.parametrize(
    "claims",
    [
        {"num_coordinates": 2**59},
        {"num_coordinates": 2**34, "chunk_size": 4096},
        {"num_tensors": 2**32 - 1},
        {"num_dimensions": 32},
        {"bucket_size": 1},
        {"num_tensors": 0},
        {"chunk_size": 4096},
        {"layout": "sparse"},
    ],
)
def test_hostile_claims_allocate_nothing(claims):
    """A header of false claims under a right checksum is refused before anything is allocated for them."""
    message = hostile(**claims)
    tracemalloc.start()
    try:
        with pytest.raises(ql.MessageError):
            ql.decode(message)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 100_000


def test_no_message_describes_more_than_512_coordinates_a_byte():
    """An all-zero sparse gradient in one bucket, the most a message can claim, is below the stated bound."""
    zero = ql.quantize(np.zeros(2**22, np.float32), bits=1, bucket_size="model")

    message = ql.encode(zero, layout="sparse")

    assert 480 < 2**22 / len(message) < 512


def test_decoding_allocates_levels_and_little_else():
    """Decoding allocates its result and a small part of the message; values need no levels."""
    gradient = np.random.default_rng(0).standard_normal(2**20).astype(np.float32)
    message = ql.encode(ql.quantize(gradient, levels=7), "omega", "dense")
    total = np.zeros(2**20, np.float32)
    for call, output in (
        (lambda: ql.decode(message), 2**20),
        (lambda: ql.decode_values(message), 2**22),
        (lambda: ql.add_decoded([message] * 3, total), 0),
    ):
        call()  # compiled before it is measured
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < output + len(message) / 4 + 50_000


def test_a_limit_on_coordinates_is_kept():
    """A message of more coordinates than the caller allows is refused."""
    message = small_message()
    assert len(ql.decode(message, max_coordinates=300)) == 300
    with pytest.raises(ql.MessageError, match="at most 299 were allowed"):
        ql.decode(message, max_coordinates=299)
    with pytest.raises(ql.MessageError, match="at most 299"):
        ql.decode_values(message, max_coordinates=299)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("bound", [math.nan, -1, 300.0, "300", True])
def test_a_bound_that_is_no_number_of_coordinates_is_refused(version, bound):
    """NaN would allow any message."""
    message = ql.encode(ql.quantize(np.ones(300, np.float32), 2), version=version)
    with pytest.raises(ValueError, match="it must be a whole number of at least 0"):
        ql.decode(message, max_coordinates=bound)


def test_an_array_of_numbers_is_not_a_message():
    """Only bytes are: the bytes behind other numbers depend on the machine."""
    numbers = np.frombuffer(bytes(small_message())[:40], np.float32)
    with pytest.raises(TypeError, match="this is ndarray of float32"):
        ql.decode(numbers)


def test_offsets_beyond_32_bits(tmp_path):
    """In a message of 2^33 bits, memory-mapped and never read whole, the last chunk is found and decoded."""
    width, size, chunk_size = 16, 2**29, 4096
    chunks = size // chunk_size
    words = chunk_size * width // 32
    last = np.arange(chunk_size, dtype="<i2")
    checksums = np.full(chunks, crc32c(bytes(4 * words)), np.uint32)
    checksums[-1] = crc32c(last.tobytes())
    directory = Directory(checksums, np.full(chunks, words, np.uint16), np.zeros(0, np.uint16))
    index = Index(partition(size, "model"), (size,), np.ones(1, np.float32), directory).pack()
    total = HEADER_BYTES + len(index) + 4 * words * chunks + TAIL_BYTES
    header = Header("fixed", "none", "l2", 32767, chunk_size, total, size, "model", 1, 1, crc32c(index))
    path = tmp_path / "huge.qsgd"
    with path.open("wb") as file:
        file.write(header.pack() + index)
        file.seek(total - TAIL_BYTES - last.nbytes)
        file.write(last.tobytes() + bytes(TAIL_BYTES))

    received = ql.decode(np.memmap(path, np.uint8, "r"), size - 4100, size)

    assert received.levels.tolist() == [0] * 4 + list(range(4096))


def test_levels_beyond_s_are_refused():
    """Codewords of levels above s are refused, in every layout, though the checksums are right."""
    for layout in ("fixed", "dense", "dense-signed", "sparse"):
        honest = ql.quantize(np.float32([1, -1] * 30), levels=7, norm="max", bucket_size="model")
        message = ql.encode(honest, "gamma" if layout != "fixed" else "auto", layout)
        frame = ql.open_message(message)
        header = Header(**(vars(frame.header) | {"num_levels": 6}))
        forged = seal(header.pack(), message[HEADER_BYTES : -frame.payload.size].tobytes(), np.array(message))
        with pytest.raises(ql.MessageError, match="chunk 0 is malformed"):
            ql.decode(forged)


@pytest.mark.parametrize("norm", [-1.0, np.inf, -0.0])
def test_impossible_norms_are_refused(norm):
    """Negative and infinite norms are refused: no quantizer makes them."""
    quantized = ql.quantize(np.ones(4, np.float32), bits=2)
    message = bytearray(ql.encode(quantized))
    at = HEADER_BYTES + 16
    message[at : at + 4] = struct.pack("<f", norm)
    with pytest.raises(ql.MessageError, match="norm"):
        ql.decode(fuzz_messages.fix_checksums(bytes(message)))


def test_crc32c_is_the_known_one():
    """The checksum has its known check values, and is the one computed bit by bit at every length."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    data = np.random.default_rng(0).bytes(64)
    for size in range(64):
        assert crc32c(data[:size]) == naive_message.crc32c(data[:size])


def test_crc32c_does_not_depend_on_the_processor():
    """The tables, for processors without the instruction, step as it does."""
    from numba import njit

    from qsgd_lab.kernels import crc32c as kernel

    @njit
    def both(state, word):
        return kernel._step8(state, word), kernel._step8_tables(state, word)

    words = np.random.default_rng(0).integers(0, 2**64, (50, 2), dtype=np.uint64)
    for state, word in words:
        by_choice, by_tables = both(state >> np.uint64(32), word)
        assert by_choice == by_tables


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint64])
def test_numbers_of_levels_are_numbers(kind):
    """NumPy's integers are taken as Python's, and leave no table behind that later messages use."""
    quantized = ql.quantize(np.linspace(-1, 1, 300, dtype=np.float32), levels=7)
    message = ql.encode(quantized, code="omega")
    for code in ("omega", "delta", "gamma"):
        again = ql.encode(dataclasses.replace(quantized, num_levels=kind(7)), code=code)
        assert again == ql.encode(quantized, code=code)
    assert message == ql.encode(quantized, code="omega")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"shape": (-4, -1)}, "-4 in the shape"),
        ({"shape": (4, 1.0)}, "1.0 in"),
        ({"norm": "L2"}, "norm is 'L2'"),
    ],
)
def test_what_is_no_shape_or_norm_is_a_value_error(fields, words):
    """The encoder says so; the decoder would not read it."""
    quantized = dataclasses.replace(ql.quantize(np.ones(4, np.float32), 2), **fields)
    with pytest.raises(ValueError, match=words):
        ql.encode(quantized)
