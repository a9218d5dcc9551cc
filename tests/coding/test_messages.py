"""Messages: what is encoded is decoded, by every way, and the bytes are those of the reference."""

from __future__ import annotations

import mmap
import pickle

import naive_message
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qsgd_lab as ql
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.layouts import LAYOUTS
from qsgd_lab.partition import partition

ALL_LEVELS = [1, 2, 3, 7, 8, 15, 100, 127, 128, 255, 4095, 32767]
CHOICES = [("fixed", "none")] + [
    (layout, code) for layout in LAYOUTS if layout != "fixed" for code in LENGTHS
]


def made_of(levels, num_levels, norms=None, bucket_size=512, tensor_sizes=None, shape=None):
    """Return a quantized gradient of given levels."""
    levels = np.asarray(levels)
    parts = partition(levels.size, bucket_size, tensor_sizes)
    if norms is None:
        norms = np.linspace(0.5, 2, parts.num_buckets)
    dtype = np.int8 if num_levels <= 127 else np.int16
    return ql.QuantizedGradient(
        levels.astype(dtype).reshape(-1),
        np.asarray(norms, np.float32),
        num_levels,
        "l2",
        parts,
        shape or (levels.size,),
    )


def encoded(quantized, layout, code, **options):
    """Return the message of a choice."""
    return ql.encode(quantized, "auto" if layout == "fixed" else code, layout, **options)


def assert_same(received, sent):
    """Assert that two quantized gradients are equal to the bit."""
    assert received.levels.dtype == sent.levels.dtype
    assert received.levels.tolist() == sent.levels.tolist()
    assert received.norms.tobytes() == np.asarray(sent.norms).tobytes()
    assert (received.partition, received.shape) == (sent.partition, sent.shape)
    assert (received.num_levels, received.norm) == (sent.num_levels, sent.norm)


@st.composite
def quantized_gradients(draw):
    """Draw levels of any s, sparse or dense or all at the top, in tensors and buckets of any size."""
    num_levels = draw(st.sampled_from(ALL_LEVELS))
    size = draw(st.integers(0, 700))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.0, 0.02, 0.3, 1.0, 10.0]))
    levels = np.clip(np.rint(rng.standard_normal(size) * spread * num_levels), -num_levels, num_levels)
    levels[rng.random(size) < draw(st.sampled_from([0.0, 0.5, 0.97]))] = 0
    cut = draw(st.integers(0, size))
    bucket_size = draw(st.sampled_from([1, 7, 32, 512, "tensor", "model"]))
    return made_of(levels, num_levels, None, bucket_size, (cut, 0, size - cut))


@settings(max_examples=150)
@given(quantized_gradients(), st.sampled_from(CHOICES), st.sampled_from([32, 96, 4096]))
def test_kernels_write_and_read_what_the_reference_does(quantized, choice, chunk_size):
    """Reference and kernels write the same bytes, and either reads what was sent."""
    message = encoded(quantized, *choice, chunk_size=chunk_size)

    assert message == encoded(quantized, *choice, chunk_size=chunk_size, backend="reference")
    assert_same(ql.decode(message), quantized)
    assert_same(ql.decode(message, backend="reference"), quantized)


@settings(max_examples=40)
@given(quantized_gradients(), st.sampled_from(CHOICES), st.sampled_from([32, 96]))
def test_a_decoder_made_from_the_page_reads_messages(quantized, choice, chunk_size):
    """A decoder written from docs/wire-format.md alone reads the same levels, norms and description."""
    layout, code = choice
    found = naive_message.decode(bytes(encoded(quantized, layout, code, chunk_size=chunk_size)))

    assert found["levels"] == quantized.levels.tolist()
    assert np.array(found["norms"], np.float32).tobytes() == quantized.norms.tobytes()
    assert (found["layout"], found["code"], found["s"]) == (LAYOUTS[layout], code, quantized.num_levels)
    assert (found["sizes"], found["shape"]) == (quantized.partition.tensor_sizes, quantized.shape)


@pytest.mark.parametrize(("layout", "code"), CHOICES)
@pytest.mark.parametrize("num_levels", [1, 7, 127, 255])
def test_large_messages_round_trip(num_levels, layout, code):
    """Several chunks decoded in turn, by one thread or three, are what was sent."""
    gradient = np.random.default_rng(num_levels).standard_normal(30_001).astype(np.float32)
    quantized = ql.quantize(gradient, levels=num_levels, norm="max", seed=3)

    message = encoded(quantized, layout, code)

    assert message == encoded(quantized, layout, code, threads=3)
    assert_same(ql.decode(message), quantized)
    assert_same(ql.decode(message, threads=3), quantized)


@pytest.mark.parametrize(("layout", "code"), CHOICES)
@pytest.mark.parametrize("num_levels", [1, 7, 127, 32767])
def test_levels_at_the_top_everywhere(num_levels, layout, code):
    """All levels at s, the longest codewords side by side, are coded without loss."""
    levels = np.where(np.arange(17_000) % 3, num_levels, -num_levels)
    quantized = made_of(levels, num_levels)

    assert_same(ql.decode(encoded(quantized, layout, code)), quantized)


@settings(max_examples=100)
@given(quantized_gradients(), st.sampled_from(CHOICES), st.data())
def test_a_range_is_that_part_of_the_whole(quantized, choice, data):
    """decode(message, a, b) has the levels and the values of coordinates a to b - 1."""
    size = len(quantized)
    start = data.draw(st.integers(-size - 2, size + 2))
    stop = data.draw(st.integers(-size - 2, size + 2))
    message = encoded(quantized, *choice, chunk_size=64)

    part = ql.decode(message, start, stop)

    assert part.levels.tolist() == quantized.levels[start:stop].tolist()
    assert ql.dequantize(part).tolist() == ql.dequantize(quantized)[start:stop].tolist()
    assert part.norms.size == part.partition.num_buckets


def test_a_range_reads_only_its_chunks():
    """Damage to other chunks does not keep a range from being decoded."""
    gradient = np.random.default_rng(0).standard_normal(5 * 4096).astype(np.float32)
    quantized = ql.quantize(gradient, levels=7)
    message = bytearray(ql.encode(quantized, "gamma", "dense"))
    message[-20] ^= 1

    part = ql.decode(message, 0, 4 * 4096)

    assert part.levels.tolist() == quantized.levels[: 4 * 4096].tolist()
    with pytest.raises(ql.MessageError, match="chunk 4 is damaged"):
        ql.decode(message, 4 * 4096, None)


@settings(max_examples=40)  # each is encoded in every way there is
@given(quantized_gradients(), st.sampled_from([32, 96, 4096]))
def test_sizes_are_known_without_encoding(quantized, chunk_size):
    """Exact lengths computed without coding are those of the messages, and auto takes the shortest."""
    sizes = ql.message_sizes(quantized, chunk_size=chunk_size)

    for choice in CHOICES:
        assert sizes[choice] == len(encoded(quantized, *choice, chunk_size=chunk_size))
    assert len(ql.encode(quantized, chunk_size=chunk_size)) == min(sizes.values())
    for code in LENGTHS:
        best = min(sizes["dense", code], sizes["sparse", code])
        assert len(ql.encode(quantized, code, chunk_size=chunk_size)) == best


def test_class_counts_are_what_messages_send():
    """The bits that training counts are those of the payload and the norms, but for padding to words."""
    from qsgd_lab.coding.class_counts import dense_bits
    from qsgd_lab.kernels.cpu.messages.sizes import measure_dense_chunks
    from qsgd_lab.levels import num_classes

    quantized = ql.quantize(np.random.default_rng(1).standard_normal(4096).astype(np.float32), levels=7)
    reached = np.zeros((1, num_classes(7)), np.int32)
    measure_dense_chunks(quantized.levels, 4096, 0, 1, reached)
    for code in LENGTHS:
        sizes = ql.encode(quantized, code, "dense").sizes
        assert (
            0
            <= 8 * (sizes.payload + sizes.norms)
            - dense_bits(reached[0].astype(np.int64), quantized.norms.size, code)
            < 32
        )


@settings(max_examples=60)
@given(quantized_gradients(), st.sampled_from(CHOICES))
def test_values_and_sums_are_those_of_the_levels(quantized, choice):
    """Decoding to values, or adding them to a total, is decoding, dequantizing and adding, to the bit."""
    message = encoded(quantized, *choice, chunk_size=96)
    values = ql.dequantize(quantized)
    total = np.full(len(quantized), 0.25, np.float32)

    ql.add_decoded([message, message], total, threads=2)

    assert ql.decode_values(message).tobytes() == values.tobytes()
    assert total.tobytes() == (np.float32(0.25) + values + values).tobytes()


def test_sizes_sum_to_the_length():
    """A message's parts are told apart and sum to its length."""
    message = ql.encode(ql.quantize(np.ones((4, 1025), np.float32), bits=3), "omega", "sparse")

    sizes = message.sizes

    assert sizes.total == len(message)
    assert (sizes.header, sizes.norms, sizes.directory) == (72, 4 * 9, 2 * 8)
    assert message.bits_per_coordinate == 8 * len(message) / 4100


def test_special_norms_survive():
    """Zero, NaN, the smallest and the largest norm arrive as they are; a NaN bucket decodes to NaN."""
    norms = np.float32([0, np.nan, 2.0**-149, 3.4028235e38])
    quantized = made_of([0, 0, 0, 0, 1, -1, 1, 0], 1, norms, 2)

    received = ql.decode(ql.encode(quantized))

    assert received.norms.tobytes() == norms.tobytes()
    assert np.isnan(ql.dequantize(received)).tolist() == [False] * 2 + [True] * 2 + [False] * 4


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)])
def test_shapes_survive(shape):
    """A gradient's shape comes back, whether it has no dimension, no coordinate or several."""
    gradient = np.full(shape, -0.5, np.float32)
    quantized = ql.quantize(gradient, bits=2)

    message = ql.encode(quantized)

    assert ql.dequantize(ql.decode(message)).shape == shape
    assert ql.decode_values(message).shape == shape


def test_messages_are_read_from_wherever_they_lie(tmp_path):
    """Bytes, arrays, views at odd addresses and memory maps are all decoded, without a change to them."""
    quantized = ql.quantize(np.random.default_rng(0).standard_normal(9000).astype(np.float32), levels=7)
    message = ql.encode(quantized, "omega")
    path = tmp_path / "gradient.qsgd"
    path.write_bytes(message)

    shifted = memoryview(b"x" + bytes(message))[1:]
    for data in (bytes(message), bytearray(message), np.frombuffer(message, np.uint8), shifted):
        assert_same(ql.decode(data), quantized)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        values = ql.decode_values(mapped)
    assert values.tolist() == ql.dequantize(quantized).tolist()


def test_messages_behave_like_bytes():
    """Messages cannot be changed, are equal to the same bytes and no others, and survive pickling."""
    message = ql.encode(ql.quantize(np.ones(40, np.float32), bits=2))

    assert message == bytes(message)
    assert message != bytes(message)[:-1]
    assert not (message != bytes(message))  # noqa: SIM202
    assert message != "message"
    assert bytes(message[:4]) == b"QSGD"
    assert pickle.loads(pickle.dumps(message)) == message
    assert repr(message) == f"<Message of {len(message)} bytes>"
    with pytest.raises(ValueError, match="read-only"):
        message[0] = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(message)


def test_torch_tensors_are_encoded_and_added_to():
    """Quantized torch tensors are encoded without a copy, and totals may be torch tensors."""
    torch = pytest.importorskip("torch")
    gradient = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    quantized = ql.quantize(gradient, bits=3)
    total = torch.zeros(1000)

    ql.add_decoded([ql.encode(quantized)], total)

    assert torch.equal(total, ql.dequantize(quantized))


def test_bad_arguments_are_named():
    """What cannot be encoded or decoded is refused with what would be right."""
    quantized = ql.quantize(np.ones(8, np.float32), bits=2)
    message = ql.encode(quantized)
    with pytest.raises(ValueError, match="known: auto, gamma, delta, omega"):
        ql.encode(quantized, "huffman")
    with pytest.raises(ValueError, match="known: auto, fixed"):
        ql.encode(quantized, layout="wide")
    with pytest.raises(ValueError, match="multiple of 32"):
        ql.encode(quantized, chunk_size=100)
    with pytest.raises(ValueError, match="at least 1"):
        ql.decode(message, threads=0)
    with pytest.raises(ValueError, match=r"outside -3\.\.3"):
        ql.encode(made_of([4, 0], 3), "gamma", "dense")
    with pytest.raises(ValueError, match="do not fit"):
        ql.encode(made_of([1, 0], 3, norms=np.ones(2)))
    with pytest.raises(TypeError, match="in a list"):
        ql.add_decoded(message, np.zeros(8, np.float32))
    with pytest.raises(TypeError, match="float32"):
        ql.add_decoded([message], np.zeros(8))
    with pytest.raises(ql.MessageError, match="the total 9"):
        ql.add_decoded([message], np.zeros(9, np.float32))
