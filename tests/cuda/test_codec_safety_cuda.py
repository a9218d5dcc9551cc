"""Bad messages and bad arguments on a device, in the simulator: what is right or one clear error."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import fuzz_messages
import numpy as np
import pytest
from cuda_examples import IS_COMPILED
from numba import cuda

import qsgd_lab as ql
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES, Header, crc32c
from qsgd_lab.coding.index import Directory, Index
from qsgd_lab.coding.layouts import LAYOUTS
from qsgd_lab.coding.message import seal
from qsgd_lab.kernels.cuda import device as device_cuda
from qsgd_lab.kernels.cuda.device import to_host
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.partition import partition


@pytest.fixture(autouse=True, scope="module")
def small_launches():
    """Launch one warp a block, where a test does not say otherwise: every thread is a Python thread."""
    with launch_shape(warps=1, max_blocks=2):
        yield


def small_messages():
    """Return messages of every layout and code, of one chunk and of several."""
    rng = np.random.default_rng(0)
    messages = []
    for num_levels in (1, 7, 300):
        for size, chunk_size in ((0, 32), (40, 32), (70, 64)):
            quantized = ql.quantize(
                rng.standard_normal(size).astype(np.float32), levels=num_levels, bucket_size=32
            )
            for layout in LAYOUTS:
                for code in ["auto"] if layout == "fixed" else LENGTHS:
                    messages.append(bytes(ql.encode(quantized, code, layout, chunk_size=chunk_size)))
    return messages


def outcome(decode, message):
    """Return what a decoder makes of a message: levels and norms, or that it refuses it."""
    try:
        received = decode(message)
    except ql.MessageError:
        return "refused"
    levels, norms = received.levels, received.norms
    if not isinstance(levels, np.ndarray):
        levels, norms = to_host(levels), to_host(norms)
    return levels.tobytes(), norms.tobytes(), received.partition, received.shape


def test_mutants_are_refused_or_right():
    """Mutated messages, most with corrected checksums, have the same outcome on device and CPU.

    Half of them have bytes of their payload changed, so that the checks after the checksums are reached.
    """
    random_, messages = random.Random(3), small_messages()
    count = int(os.environ.get("QSGD_LAB_MUTANTS", 300 if IS_COMPILED else 200))  # 2,000: make test-cuda
    refused = 0
    with launch_shape(warps=1, max_blocks=3):
        for i in range(count):
            data = bytearray(random_.choice(messages))
            if i % 2:
                data = bytearray(fuzz_messages.mutate(random_, bytes(data), messages))
            else:
                end = len(data) - 8
                for _ in range(random_.choice([1, 1, 3])):
                    at = end - 1 - random_.randrange(min(24, end - 72)) if end > 73 else 0
                    data[at] ^= 1 << random_.randrange(8)
            message = bytes(data) if i % 8 == 0 else fuzz_messages.fix_checksums(bytes(data))
            expected = outcome(ql.decode, message)
            found = outcome(ql.decode, cuda.to_device(np.frombuffer(message, np.uint8)))
            assert found == expected, message.hex()
            refused += expected == "refused"

    assert count / 2 < refused < count * 0.975


def test_distances_that_overflow_are_refused():
    """A chunk of 65535 words of the longest distances, whose sum passes 2^32, is refused, not followed."""
    symbol = "0" * 15 + "1" * 16 + "0" + "1"  # gamma of 65535, a sign, gamma of 1
    stream = np.array([*(symbol * (65535 * 32 // 33 + 1))][: 65535 * 32], np.uint8)
    payload = np.packbits(stream, bitorder="little")
    directory = Directory(
        np.array([crc32c(payload)], np.uint32), np.array([65535], np.uint16), np.array([40], np.uint16)
    )
    index = Index(partition(64, "model"), (64,), np.ones(1, np.float32), directory).pack()
    size = HEADER_BYTES + len(index) + payload.size + TAIL_BYTES
    header = Header("sparse", "gamma", "l2", 1, 64, size, 64, "model", 1, 1, crc32c(index))
    stream = np.zeros(size, np.uint8)
    stream[HEADER_BYTES + len(index) : size - TAIL_BYTES] = payload
    message = seal(header.pack(), index, stream)

    for data in (message, cuda.to_device(np.array(message))):
        with pytest.raises(ql.MessageError, match="chunk 0 is malformed"):
            ql.decode(data)


def device_message(levels=7, layout="dense", code="omega"):
    """Return a message on the device."""
    quantized = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=levels)
    return np.array(ql.encode(quantized, code, layout, chunk_size=32))


def test_the_first_bad_chunk_is_named():
    """A damaged chunk is named as the CPU names it, and nothing is added from it."""
    message = device_message()
    frame = ql.open_message(message)
    at = len(message) - frame.payload.size
    message[at + int(frame.starts[1])] ^= 1
    total = cuda.to_device(np.zeros(90, np.float32))
    for call in (
        lambda data: ql.decode(data),
        lambda data: ql.decode_values(data),
        lambda data: ql.add_decoded([data], total),
    ):
        with pytest.raises(ql.MessageError, match="chunk 1 is damaged: its checksum does not match"):
            call(cuda.to_device(message))
    assert not to_host(total)[32:64].any()
    assert to_host(total)[:32].any()
    assert to_host(total)[64:].any()


def test_limits_are_kept():
    """More coordinates than allowed, other numbers than the total's and cut messages are refused."""
    message = cuda.to_device(device_message())
    with pytest.raises(ql.MessageError, match="at most 89 were allowed"):
        ql.decode(message, max_coordinates=89)
    with pytest.raises(ql.MessageError, match="at most 89 were allowed"):
        ql.decode_values(message, max_coordinates=89)
    with pytest.raises(ql.MessageError, match="has 90 coordinates, the total 80"):
        ql.add_decoded([message], cuda.to_device(np.zeros(80, np.float32)))
    with pytest.raises(ql.MessageError, match="at least 64 bytes; this has 0"):
        ql.decode(message[:0])
    with pytest.raises(ql.MessageError, match="should have"):
        ql.decode(message[:-4])


def test_levels_beyond_s_are_not_coded():
    """A level outside -s..s is refused by the coder and by the one who only measures."""
    quantized = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=7, norm="max")
    device = replace(
        quantized,
        num_levels=6,
        levels=cuda.to_device(quantized.levels),
        norms=cuda.to_device(quantized.norms),
    )
    for layout in LAYOUTS:
        with pytest.raises(ValueError, match=r"a level is outside -6\.\.6"):
            ql.encode(device, "omega" if layout != "fixed" else "auto", layout)
    with pytest.raises(ValueError, match=r"a level is outside -6\.\.6"):
        ql.message_sizes(device)
    with pytest.raises(ValueError, match="chunk size is 100"):
        ql.message_sizes(device, chunk_size=100)


def test_arrays_that_are_not_what_they_should_be():
    """Host arrays, other dtypes, other sizes and gaps in memory are one clear error each."""
    quantized = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=7)
    levels, norms = cuda.to_device(quantized.levels), cuda.to_device(quantized.norms)
    message = cuda.to_device(device_message())
    with pytest.raises(TypeError, match="levels is a numpy array in host memory"):
        ql.encode(quantized, backend="cuda")
    with pytest.raises(TypeError, match="norms is a numpy array in host memory"):
        ql.encode(replace(quantized, levels=levels))
    with pytest.raises(ValueError, match="backend 'cpu' works in host memory"):
        ql.encode(replace(quantized, levels=levels, norms=norms), backend="cpu")
    with pytest.raises(TypeError, match="levels is int8; it must be int16"):
        ql.encode(replace(quantized, levels=levels, norms=norms, num_levels=300))
    with pytest.raises(ValueError, match="45 levels and 1 norms do not fit"):
        ql.encode(replace(quantized, levels=levels[:45], norms=norms))
    with pytest.raises(ValueError, match="levels is not contiguous"):
        ql.encode(replace(quantized, levels=cuda.to_device(np.zeros(180, np.int8))[::2], norms=norms))
    with pytest.raises(TypeError, match="message is float32; it must be uint8"):
        ql.decode(cuda.to_device(np.zeros(100, np.float32)))
    with pytest.raises(ValueError, match="message is not contiguous"):
        ql.decode(cuda.to_device(np.zeros(200, np.uint8))[::2])
    with pytest.raises(ValueError, match="backend 'reference' works in host memory"):
        ql.decode(message, backend="reference")
    with pytest.raises(TypeError, match="message is a qsgd_lab array in host memory"):
        ql.decode(ql.encode(quantized), backend="cuda")
    with pytest.raises(TypeError, match="put a single one in a list"):
        ql.add_decoded(message, cuda.to_device(np.zeros(90, np.float32)))
    with pytest.raises(TypeError, match="the message lives on a CUDA device"):
        ql.add_decoded([message], np.zeros(90, np.float32))
    with pytest.raises(TypeError, match="total is float64; it must be float32"):
        ql.add_decoded([message], cuda.to_device(np.zeros(90)))


def test_too_little_memory_is_one_error(monkeypatch):
    """Where a library says in its own way that memory is out, the caller reads how much was wanted."""
    message = cuda.to_device(device_message())

    class OutOfMemoryError(RuntimeError):
        """As torch and CuPy call it."""

    def full(self, shape, dtype):
        raise OutOfMemoryError

    monkeypatch.setattr(device_cuda.DeviceContext, "empty", full)
    with pytest.raises(MemoryError, match="decoding takes 90 bytes of device memory"):
        ql.decode(message)
    with pytest.raises(MemoryError, match="decoding takes 360 bytes of device memory"):
        ql.decode_values(message)


def dead_bucket_message(norm):
    """Return a message whose second bucket has a norm of 0 or NaN, and levels."""
    quantized = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=7, bucket_size=30)
    message = bytearray(ql.encode(quantized, "omega", "dense", chunk_size=32))
    message[HEADER_BYTES + 16 + 4 : HEADER_BYTES + 16 + 8] = np.float32(norm).tobytes()
    return np.frombuffer(fuzz_messages.fix_checksums(bytes(message)), np.uint8)


@pytest.mark.parametrize("norm", [0.0, np.nan])
def test_levels_in_dead_buckets_are_refused(norm):
    """Levels other than 0 in a bucket of norm 0 or NaN are neither read nor written on a device."""
    message = cuda.to_device(dead_bucket_message(norm))
    total = cuda.to_device(np.zeros(90, np.float32))
    for call in (ql.decode, ql.decode_values, lambda data: ql.add_decoded([data], total)):
        with pytest.raises(ql.MessageError, match="levels other than 0") as refused:
            call(message)
        assert refused.value.reason == "canonical"
    assert to_host(ql.decode(message, 60, 90).levels).any()
    quantized = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=7, bucket_size=30)
    norms = quantized.norms.copy()
    norms[1] = norm
    bad = replace(quantized, levels=cuda.to_device(quantized.levels), norms=cuda.to_device(norms))
    with pytest.raises(ValueError, match="levels other than 0"):
        ql.encode(bad, "omega", "dense")


@pytest.mark.parametrize("norm", [-1.0, -0.0, np.inf])
def test_norms_that_a_decoder_refuses_are_not_written(norm):
    """A norm that is negative, -0 or infinite is a ValueError on a device too."""
    quantized = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=7, bucket_size=30)
    norms = np.array([norm, 1, 1], np.float32)
    bad = replace(quantized, levels=cuda.to_device(quantized.levels), norms=cuda.to_device(norms))
    with pytest.raises(ValueError, match="norm 0 is"):
        ql.encode(bad, "omega", "dense")


def test_version_2_goes_through_a_device():
    """Messages of version 2 on a device are those of the CPU, and come back there, alone and in sums."""
    host = ql.quantize(np.linspace(-1, 1, 90, dtype=np.float32), levels=7, bucket_size=30)
    device = replace(host, levels=cuda.to_device(host.levels), norms=cuda.to_device(host.norms))
    message = ql.encode(device, version=2)
    old = cuda.to_device(device_message())

    assert to_host(message).tobytes() == bytes(ql.encode(host, version=2))
    received = ql.decode(message)
    assert to_host(received.levels).tobytes() == host.levels.tobytes()
    assert to_host(received.norms).tobytes() == host.norms.tobytes()
    assert to_host(ql.decode(message, 3, 40).levels).tobytes() == host.levels[3:40].tobytes()
    values = ql.dequantize(host)
    assert to_host(ql.decode_values(message)).tobytes() == values.tobytes()
    total, expected = cuda.to_device(np.ones(90, np.float32)), np.ones(90, np.float32)
    ql.add_decoded([message, old, message], total)
    ql.add_decoded([to_host(message), to_host(old), to_host(message)], expected)
    assert to_host(total).tobytes() == expected.tobytes()
    with pytest.raises(ql.MessageError, match="kind levels was not allowed"):
        ql.decode(message, kinds=["raw"])


@pytest.mark.parametrize("bits", [0x7FC12345, 0xFFC00000, 0x7F800001])
def test_every_nan_norm_is_written_as_one(bits):
    """A device writes the bytes that the CPU does for a norm that is any NaN."""
    norms = np.array([0x3F800000, bits], np.uint32).view(np.float32)
    quantized = ql.QuantizedGradient(np.zeros(6, np.int8), norms, 3, "l2", partition(6, 4), (6,))
    moved = replace(quantized, levels=cuda.to_device(quantized.levels), norms=cuda.to_device(norms))

    assert to_host(ql.encode(moved)).tobytes() == bytes(ql.encode(quantized))


def test_kinds_may_be_an_iterator_on_a_device():
    """An iterator of kinds holds for all messages of a sum; an unknown name is refused without a message."""
    message = ql.encode(ql.quantize(np.ones(2, np.float32), bits=2, norm="max"), version=2)
    total = cuda.to_device(np.zeros(2, np.float32))
    ql.add_decoded([cuda.to_device(np.asarray(message))] * 2, total, kinds=iter(["levels"]))

    assert to_host(total).tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="unknown kind 'nix'"):
        ql.add_decoded([], total, kinds=["nix"])
