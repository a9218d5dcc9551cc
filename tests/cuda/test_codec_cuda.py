"""The CUDA codec, in the simulator, against the CPU's: the same messages, and the same out of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cuda_examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

import qsgd_lab as ql
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.layouts import LAYOUTS
from qsgd_lab.kernels.cuda.device import to_host
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.partition import partition

CHOICES = [("fixed", "auto")] + [
    (layout, code) for layout in LAYOUTS if layout != "fixed" for code in LENGTHS
]
level_counts = st.one_of(st.integers(1, 255), st.sampled_from([1, 7, 127, 128, 4095, 32767]))
shapes = st.tuples(st.integers(1, 2), st.integers(1, 3))


@pytest.fixture(autouse=True, scope="module")
def small_launches():
    """Launch one warp a block, where a test does not say otherwise: every thread is a Python thread."""
    with launch_shape(warps=1, max_blocks=2):
        yield


def levels_of(kind, size, num_levels, rng):
    """Return levels of one manner."""
    if kind == "zero":
        return np.zeros(size)
    if kind == "one-hot":
        return (np.arange(size) == rng.integers(max(size, 1))) * -num_levels
    if kind == "top":
        return np.where(rng.random(size) < 0.5, num_levels, -num_levels)
    spread = {"sparse": 0.05, "dense": 1.0, "wide": num_levels / 2}[kind]
    levels = np.rint(rng.standard_normal(size) * spread * 3)
    return np.clip(levels * (rng.random(size) < (0.2 if kind == "sparse" else 1)), -num_levels, num_levels)


@st.composite
def quantized_gradients(draw, most=150):
    """Draw levels of any s, size and manner, in tensors and buckets of any size."""
    num_levels, size = draw(level_counts), draw(st.integers(0, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["zero", "one-hot", "top", "sparse", "dense", "wide"]))
    cut = draw(st.integers(0, size))
    bucket_size = draw(st.sampled_from([1, 7, 64, "tensor", "model"]))
    parts = partition(size, bucket_size, (cut, 0, size - cut))
    return ql.QuantizedGradient(
        levels_of(kind, size, num_levels, rng).astype(np.int8 if num_levels <= 127 else np.int16),
        rng.random(parts.num_buckets, dtype=np.float32),
        num_levels,
        draw(st.sampled_from(["l2", "max"])),
        parts,
        (size,),
    )


def on_device(quantized):
    """Return the same with its arrays on the device."""
    return replace(quantized, levels=cuda.to_device(quantized.levels), norms=cuda.to_device(quantized.norms))


def assert_same(received, sent):
    """Assert that what was decoded on the device is what was sent, to the bit."""
    assert to_host(received.levels).dtype == sent.levels.dtype
    assert to_host(received.levels).tobytes() == sent.levels.tobytes()
    assert to_host(received.norms).tobytes() == sent.norms.tobytes()
    assert (received.partition, received.shape) == (sent.partition, sent.shape)
    assert (received.num_levels, received.norm) == (sent.num_levels, sent.norm)


@settings(max_examples=examples(50))
@given(quantized_gradients(most=120), st.sampled_from(CHOICES), st.sampled_from([32, 64, 4096]), shapes)
def test_messages_are_those_of_the_cpu(quantized, choice, chunk_size, shape):
    """Every layout and code gives the CPU's bytes, whatever the launch, and decodes to what was sent."""
    layout, code = choice
    expected = ql.encode(quantized, code, layout, chunk_size=chunk_size)
    with launch_shape(*shape):
        message = ql.encode(on_device(quantized), code, layout, chunk_size=chunk_size)

        assert len(message) == len(expected)
        assert to_host(message).tobytes() == bytes(expected)
        assert_same(ql.decode(message), quantized)


@settings(max_examples=examples(15))
@given(quantized_gradients(most=100), st.sampled_from(CHOICES), st.data())
def test_a_range_is_that_part_of_the_whole(quantized, choice, data):
    """A range of coordinates decodes to the levels and values that it has on the CPU."""
    layout, code = choice
    message = ql.encode(quantized, code, layout, chunk_size=32)
    start, stop = (data.draw(st.none() | st.integers(-160, 160)) for _ in range(2))
    expected = ql.decode(message, start, stop)

    received = ql.decode(cuda.to_device(np.array(message)), start, stop)

    assert_same(received, expected)
    assert to_host(ql.dequantize(received)).tobytes() == ql.dequantize(expected).tobytes()


@settings(max_examples=examples(20))
@given(quantized_gradients(), st.sampled_from([32, 96, 4096]), shapes)
def test_sizes_and_the_shortest_are_known_without_coding(quantized, chunk_size, shape):
    """Exact sizes are the CPU's, and "auto" makes the same message."""
    device = on_device(quantized)
    with launch_shape(*shape):
        sizes = ql.message_sizes(device, chunk_size=chunk_size)
        message = ql.encode(device, chunk_size=chunk_size)

    assert sizes == ql.message_sizes(quantized, chunk_size=chunk_size)
    assert to_host(message).tobytes() == bytes(ql.encode(quantized, chunk_size=chunk_size))


@settings(max_examples=examples(8))
@given(st.data())
def test_values_and_sums_are_those_of_the_cpu(data):
    """Values of a message, and the sum of several added one after another, have the CPU's bits."""
    size = data.draw(st.integers(0, 80))
    messages = []
    for _ in range(data.draw(st.integers(1, 3))):
        gradient = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(size)
        sizes = (size // 3, size - size // 3)
        quantized = ql.quantize(
            gradient.astype(np.float32),
            levels=data.draw(level_counts),
            bucket_size=data.draw(st.sampled_from([1, 5, 64, "tensor", "model"])),
            tensor_sizes=sizes,
        )
        layout, code = data.draw(st.sampled_from(CHOICES))
        messages.append(ql.encode(quantized, code, layout, chunk_size=data.draw(st.sampled_from([32, 96]))))
    sent = [cuda.to_device(np.array(message)) for message in messages]
    expected = np.linspace(-1, 1, size, dtype=np.float32)
    total = cuda.to_device(expected.copy())

    ql.add_decoded(messages, expected)
    ql.add_decoded(iter(sent), total)

    assert to_host(total).tobytes() == expected.tobytes()
    assert to_host(ql.decode_values(sent[0])).tobytes() == ql.decode_values(messages[0]).tobytes()


@pytest.mark.parametrize(("layout", "code"), [("fixed", "auto"), ("dense", "gamma"), ("sparse", "gamma")])
def test_the_longest_chunk(layout, code):
    """A chunk of 4096 levels at the top, as many words as a chunk can have, is coded without loss."""
    levels = np.where(np.arange(4100) % 3, 32767, -32767).astype(np.int16)
    norms = np.ones(1, np.float32)
    quantized = ql.QuantizedGradient(levels, norms, 32767, "max", partition(4100, "model"), (4100,))

    message = ql.encode(on_device(quantized), code, layout)

    assert to_host(message).tobytes() == bytes(ql.encode(quantized, code, layout))
    assert_same(ql.decode(message), quantized)


def test_a_message_of_many_pieces():
    """An index of several thousand words, whose checksum many warps share, is sealed as on the CPU."""
    gradient = np.random.default_rng(0).standard_normal(2600).astype(np.float32)
    quantized = ql.quantize(gradient, levels=3, bucket_size=1)
    with launch_shape(warps=2, max_blocks=1):
        message = ql.encode(on_device(quantized), "gamma", "dense")

    assert to_host(message).tobytes() == bytes(ql.encode(quantized, "gamma", "dense"))


def test_a_message_may_begin_anywhere():
    """A message that does not begin at a multiple of four bytes in memory is decoded all the same."""
    quantized = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=7)
    message = ql.encode(quantized, "delta", "sparse", chunk_size=32)
    padded = cuda.to_device(np.concatenate([np.zeros(3, np.uint8), message]))

    assert_same(ql.decode(padded[3:]), quantized)


def test_torch_tensors_give_torch_tensors():
    """Levels in a tensor give a message in a tensor of bytes, which decodes to tensors and to a Message."""
    torch = pytest.importorskip("torch")
    quantized = ql.quantize(torch.linspace(-1, 1, 100), levels=7, bucket_size=30)
    expected = ql.encode(quantized, "omega", "dense")

    message = ql.encode(quantized, "omega", "dense", backend="cuda")
    received = ql.decode(message, backend="cuda")

    assert (type(message), message.dtype) == (torch.Tensor, torch.uint8)
    assert expected == message.numpy()
    assert torch.equal(received.levels, quantized.levels)
    assert torch.equal(received.norms, quantized.norms)


def test_a_device_message_becomes_a_message():
    """`to_host_message` gives a `Message` of the same bytes, which says what is in it."""
    quantized = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=7)

    message = ql.to_host_message(ql.encode(on_device(quantized), "omega", "dense"))

    assert isinstance(message, ql.Message)
    assert message == ql.encode(quantized, "omega", "dense")
    assert message.header.num_coordinates == 90
    assert not message.flags.writeable


@settings(max_examples=examples(8))
@given(st.data())
def test_a_gradient_becomes_its_message(data):
    """Quantized and encoded in one call, a gradient on the device gives the message that the CPU makes."""
    size = data.draw(st.integers(0, 600))
    gradient = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(size, np.float32)
    layout, code = data.draw(st.sampled_from([*CHOICES[:5], *[("fixed", "auto")] * 3]))
    scheme = {
        "levels": data.draw(level_counts),
        "bucket_size": data.draw(st.sampled_from([5, 512, "model"])),
        "norm": data.draw(st.sampled_from(["l2", "max"])),
        "tensor_sizes": (size // 3, 0, size - size // 3),
        "seed": 5,
        "chunk_size": data.draw(st.sampled_from([224, 4096])),
    }

    message = ql.quantize_and_encode(cuda.to_device(gradient), None, code, layout, **scheme)

    assert to_host(message).tobytes() == bytes(ql.quantize_and_encode(gradient, None, code, layout, **scheme))
