"""Version 1: what an encoder writes and what a decoder takes is one rule."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from fuzz_messages import fix_checksums

import qsgd_lab as ql
from qsgd_lab.coding.header import HEADER_BYTES
from qsgd_lab.partition import Partition, partition

LAYOUT_CODES = [("fixed", "auto"), ("dense", "omega"), ("dense-signed", "gamma"), ("sparse", "delta")]
NAN = np.uint32(0x7FC00000).view(np.float32)


def gradient(levels, norms, shape=None, bucket_size=4, sizes=None):
    """Return a quantized gradient of s = 3."""
    levels = np.array(levels, np.int8)
    sizes = (levels.size,) if sizes is None else sizes
    parts = Partition(sizes, bucket_size)
    return ql.QuantizedGradient(levels, np.array(norms, np.float32), 3, "l2", parts, shape or levels.shape)


@pytest.mark.parametrize(("layout", "code"), LAYOUT_CODES)
@pytest.mark.parametrize("norm", [-1.0, -0.0, np.inf, -np.inf, -np.float32(1e-40)])
def test_norms_that_a_decoder_refuses_are_not_written(layout, code, norm):
    """A norm that is negative, -0 or infinite is a ValueError when writing, a MessageError when reading."""
    with pytest.raises(ValueError, match="norm 1 is"):
        ql.encode(gradient([1, 0, 2, 0, 0, 1], [1, norm]), code, layout)

    message = bytearray(ql.encode(gradient([1, 0, 2, 0, 0, 1], [1, 1]), code, layout))
    message[HEADER_BYTES + 16 + 4 : HEADER_BYTES + 16 + 8] = struct.pack("<f", norm)
    with pytest.raises(ql.MessageError, match="norm 1 is") as refused:
        ql.decode(fix_checksums(bytes(message)))
    assert refused.value.reason == "canonical"


@pytest.mark.parametrize(("layout", "code"), LAYOUT_CODES)
@pytest.mark.parametrize("norm", [0.0, NAN])
def test_buckets_of_norm_0_or_nan_have_no_levels(layout, code, norm):
    """Levels other than 0 in a bucket of norm 0 or NaN are neither written nor read, by any decoder."""
    with pytest.raises(ValueError, match="bucket 1 has norm"):
        ql.encode(gradient([1, 0, 2, 0, 0, 1], [1, norm]), code, layout)

    message = bytearray(ql.encode(gradient([1, 0, 2, 0, 0, 1], [1, 1]), code, layout))
    message[HEADER_BYTES + 16 + 4 : HEADER_BYTES + 16 + 8] = np.float32(norm).tobytes()
    message = fix_checksums(bytes(message))
    for read in (ql.decode, ql.decode_values, lambda m: ql.add_decoded([m], np.zeros(6, np.float32))):
        with pytest.raises(ql.MessageError, match="levels other than 0") as refused:
            read(message)
        assert refused.value.reason == "canonical"
    assert ql.decode(message, 0, 4).levels.tolist() == [1, 0, 2, 0]
    with pytest.raises(ql.MessageError, match="levels other than 0"):
        ql.decode(message, 5, 6)


def test_one_nan_is_written_and_read():
    """Every NaN norm is written as 7fc00000; a message with another pattern is refused."""
    other = np.array([0x7FC12345, 0xFFC00000], np.uint32).view(np.float32)
    message = bytearray(ql.encode(gradient([0] * 6, other), "omega", "dense"))
    assert ql.decode(message).norms.view(np.uint32).tolist() == [0x7FC00000] * 2
    at = HEADER_BYTES + 16
    for pattern in other.tobytes()[:4], other.tobytes()[4:], struct.pack("<I", 0x7F800001):
        message[at : at + 4] = pattern
        with pytest.raises(ql.MessageError, match="norm 0 is nan"):
            ql.decode(fix_checksums(bytes(message)))


@pytest.mark.parametrize("dimensions", [33, 40, 64])
def test_more_than_32_dimensions_need_version_2(dimensions):
    """Version 1 refuses to write 33 dimensions and says that version 2 has 64."""
    quantized = gradient([1], [1], shape=(1,) * dimensions)
    with pytest.raises(
        ValueError, match=f"{dimensions} dimensions; version 1 has at most 32: take version 2"
    ):
        ql.encode(quantized, "omega", "dense")
    assert ql.decode(ql.encode(quantized, version=2)).shape == (1,) * dimensions


@pytest.mark.parametrize("size", [2**60 + 1, 2**62, 2**63, 2**64 - 1, 2**64, 2**70])
def test_bucket_sizes_that_messages_cannot_say_are_refused(size):
    """A bucket size above 2^60 is a ValueError where a partition is made and where one is written."""
    with pytest.raises(ValueError, match=r"2\*\*60 is the most"):
        partition(6, size)
    with pytest.raises(ValueError, match="is the most"):
        ql.encode(gradient([0] * 6, [1], bucket_size=size), "omega", "dense")
    assert ql.decode(ql.encode(gradient([0] * 6, [1], bucket_size=2**60))).partition.bucket_size == 2**60


def test_shapes_that_do_not_fit_are_not_written():
    """A shape of another number of coordinates is a ValueError."""
    with pytest.raises(ValueError, match="the shape does not hold the 6 coordinates"):
        ql.encode(gradient([0] * 6, [0, 0], shape=(2, 2)), "omega", "dense")


@pytest.mark.parametrize("empty", [(0,), (0, 3), (2, 0, 2**40), (2**30, 2**30, 0)])
def test_shapes_with_a_zero_and_no_tensors_come_back(empty):
    """Empty gradients keep their shapes, and may have no tensor at all."""
    for sizes in ((0,), (), (0, 0)):
        received = ql.decode(ql.encode(gradient([], [], shape=empty, sizes=sizes)))
        assert (received.shape, received.partition.tensor_sizes) == (empty, sizes)


@pytest.mark.parametrize(
    ("layout", "number", "entry"), [("fixed", 0, 6), ("dense", 1, 6), ("dense-signed", 2, 6)]
)
def test_empty_chunks_describe_nothing(layout, number, entry):
    """Chunks that claim no length are refused before their coordinates are allocated."""
    chunks = 10_000
    coordinates = 4096 * chunks
    code = 0 if layout == "fixed" else 3
    index = struct.pack("<QQf", coordinates, coordinates, 1.0) + bytes(entry * chunks)
    index += bytes(-len(index) % 4)
    size = 64 + len(index) + 8
    bucket = 2**64 - 1
    head = struct.pack(
        "<4sBBBBIIQQQIIQ", b"QSGD", 1, number, code, 0, 1, 4096, size, coordinates, bucket, 1, 1, 0
    )
    message = fix_checksums(head + bytes(8) + index + bytes(8))
    with pytest.raises(ql.MessageError):
        ql.decode(message)
    tracemalloc.start()
    with pytest.raises(ql.MessageError, match="chunk 0 is too short for its coordinates") as refused:
        ql.decode_values(message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert refused.value.reason == "length"
    assert peak < 8 * len(message)


def test_levels_of_a_wider_type_are_not_wrapped():
    """A level that only fits after wrapping round is a ValueError."""
    quantized = gradient([0] * 6, [1, 1])
    wide = ql.QuantizedGradient(np.array([257] * 6), quantized.norms, 3, "l2", quantized.partition, (6,))
    with pytest.raises(ValueError, match=r"a level is outside -3\.\.3"):
        ql.encode(wide, "omega", "dense")
