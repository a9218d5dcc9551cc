"""Whole dense chunks of few levels, coded by a warp each, against the CPU's messages, values and verdicts."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from cuda_examples import IS_COMPILED, examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

import qsgd_lab as ql
from qsgd_lab.gpu_check.codec_checks import _damaged, _outcome
from qsgd_lab.kernels.cuda.device import to_host
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.partition import partition

MUTANTS = 400 if IS_COMPILED else 3  # tests/ptx/compare.py --long tries more


def quantized_levels(rng, kind, size, s, tensor_sizes=None):
    """Return a quantized gradient with levels of one manner, some buckets of which are all zero."""
    spread = {"few": s / 22, "normal": s / 3, "top": 0, "uniform": 0}[kind]
    levels = np.rint(rng.standard_normal(size) * spread)
    if kind == "uniform":
        levels = rng.integers(-s, s + 1, size)
    if kind == "top":
        levels = np.where(rng.random(size) < 0.5, s, -s)
    parts = partition(size, 512, tensor_sizes)
    norms = rng.random(parts.num_buckets, dtype=np.float32)
    if parts.num_buckets > 1:
        levels[:512], norms[0] = 0, 0
    levels = np.clip(levels, -s, s).astype(np.int8)
    return ql.QuantizedGradient(levels, norms, s, "l2", parts, (size,))


def on_device(quantized):
    """Return the same with its arrays on the device."""
    return replace(quantized, levels=cuda.to_device(quantized.levels), norms=cuda.to_device(quantized.norms))


def assert_as_the_cpu(quantized, code, blocks):
    """Assert that message, values and sum have the CPU's bytes; in the simulator, values only in the sum."""
    size = quantized.levels.size
    expected = ql.encode(quantized, code, "dense")
    total = np.linspace(-1, 1, size, dtype=np.float32)
    with launch_shape(1, blocks):
        message = ql.encode(on_device(quantized), code, "dense")
        values = ql.decode_values(message) if IS_COMPILED else None
        device_total = cuda.to_device(total.copy())
        ql.add_decoded([message], device_total)
    ql.add_decoded([expected], total)

    assert to_host(message).tobytes() == bytes(expected)
    if IS_COMPILED:
        assert to_host(values).tobytes() == ql.decode_values(expected).tobytes()
    assert to_host(device_total).tobytes() == total.tobytes()


@pytest.mark.parametrize("tensors", [(4096,), (100, 600)], ids=["a whole chunk", "a part"])
def test_levels_of_every_manner(tensors):
    """The CPU's bytes where eight codewords fit a word or not, and where a bucket is all zero."""
    rng, s, size = np.random.default_rng(1), 7, sum(tensors)
    quantized = quantized_levels(rng, "few", size, s, tensors)
    # The longest eight codewords of a row of these have a few bits more than a word.
    normal = np.rint(rng.standard_normal(size // 4) * 1.3).clip(-s, s)
    quantized.levels[size // 4 : size // 4 + normal.size] = normal
    quantized.levels[size // 2 :] = np.where(rng.random(size - size // 2) < 0.5, s, -s)
    quantized.levels[3 * size // 4 :] = rng.integers(-s, s + 1, size - 3 * size // 4)

    assert_as_the_cpu(quantized, "omega", 1)


@pytest.mark.skipif(not IS_COMPILED, reason="a chunk takes the simulator seconds: it runs one, above")
@settings(max_examples=examples(12))
@given(st.data())
def test_whole_chunks_are_those_of_the_cpu(data):
    """Messages, values and sums of any number of whole chunks and a part have the CPU's bytes."""
    chunks, rest = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([0, 1, 700]))
    s, code = data.draw(st.integers(1, 7)), data.draw(st.sampled_from(["omega", "gamma", "delta"]))
    kind = data.draw(st.sampled_from(["few", "normal", "top", "uniform"]))
    size = 4096 * chunks + rest
    tensors = data.draw(st.sampled_from([None, (512, size - 512), (100, size - 100)]))
    quantized = quantized_levels(np.random.default_rng(data.draw(st.integers(0, 99))), kind, size, s, tensors)
    assert_as_the_cpu(quantized, code, data.draw(st.integers(1, 2)))


@pytest.mark.skipif(not IS_COMPILED, reason="4096 levels are too many for the simulator; see tests/ptx")
def test_an_illegal_level_is_refused():
    """A level beyond s in a whole chunk is an error, as on the CPU."""
    quantized = quantized_levels(np.random.default_rng(0), "normal", 8192, 5)
    quantized.levels[5000] = 6

    with pytest.raises(ValueError, match="level"):
        ql.encode(on_device(quantized), "omega", "dense")


@pytest.mark.skipif(not IS_COMPILED, reason="4096 levels are too many for the simulator; see tests/ptx")
@pytest.mark.parametrize("code", ["omega", "gamma"])
def test_damaged_chunks_have_the_verdict_of_the_cpu(code):
    """Changed payloads under right checksums are refused, or read, as on the CPU: values, too."""
    random_ = random.Random(1)
    quantized = quantized_levels(np.random.default_rng(3), "normal", 8192, 7)
    message = ql.encode(quantized, code, "dense")
    unlike = []
    for number in range(MUTANTS // 2):
        damaged = _damaged(message, random_)
        found, expected = (verdict(ql.decode_values, one) for one in (cuda.to_device(damaged), damaged))
        if found != expected:
            unlike.append(number)

    assert unlike == []


def verdict(decode, message):
    """Return the bytes of a message's values, or that it is refused."""
    try:
        values = decode(message)
    except ql.MessageError:
        return "refused"
    return np.asarray(to_host(values) if hasattr(values, "copy_to_host") else values).tobytes()


def test_the_verdict_of_a_sound_message_is_its_values():
    """The comparison above can tell: what is sound is not refused."""
    quantized = quantized_levels(np.random.default_rng(3), "normal", 600, 7)
    message = ql.encode(quantized, "omega", "dense")

    assert verdict(ql.decode_values, message) != "refused"
    assert _outcome(np.array(message), "cpu") != 0
