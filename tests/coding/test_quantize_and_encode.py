"""Gradient to message in one pass: the bytes are those of quantizing and then encoding."""

from __future__ import annotations

import gradient_strategies as gradients
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qsgd_lab as ql
from qsgd_lab.kernels.cpu.messages.quantize_encode import CHUNKS_AT_A_TIME

CHOICES = [("auto", "fixed"), ("gamma", "dense"), ("omega", "dense-signed"), ("delta", "sparse")]
OPEN_CHOICES = [("auto", "auto"), ("omega", "auto"), ("auto", "sparse")]


@settings(max_examples=200)
@given(
    st.data(),
    gradients.gradients(),
    gradients.bucket_sizes,
    gradients.norms,
    gradients.roundings,
    st.sampled_from([1, 2, 7, 15, 127, 128, 4095, 32767]),
    st.sampled_from(CHOICES),
    st.sampled_from([32, 96, 4096]),
)
def test_the_bytes_are_those_of_two_steps(x_data, x, bucket_size, norm, rounding, levels, choice, chunk_size):
    """Wherever tensors, buckets, groups and chunks end, and on however many threads, nothing changes."""
    scheme = {
        "levels": levels,
        "bucket_size": bucket_size,
        "norm": norm,
        "rounding": rounding,
        "seed": 3,
        "node": 2,
        "step": 5,
        "tensor": 7,
        "tensor_sizes": x_data.draw(gradients.tensor_sizes(x.size)),
        "stream_version": x_data.draw(gradients.stream_versions),
    }
    code, layout = choice
    threads = x_data.draw(st.sampled_from([1, 3]))
    message = ql.quantize_and_encode(
        x, code=code, layout=layout, chunk_size=chunk_size, threads=threads, **scheme
    )

    assert message == ql.encode(ql.quantize(x, **scheme), code, layout, chunk_size=chunk_size)
    quantized = ql.quantize(x, backend="reference", **scheme)
    assert message == ql.encode(quantized, code, layout, chunk_size=chunk_size, backend="reference")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("bucket_size", [100, 512, 10_000, "tensor", "model"])
def test_many_chunks_and_threads_write_the_same(bucket_size, threads):
    """More chunks than are quantized at a time, with tensors and buckets that end anywhere between."""
    size = 4096 * (2 * CHUNKS_AT_A_TIME + 3) + 77
    x = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    scheme = {"bits": 3, "bucket_size": bucket_size, "tensor_sizes": (5000, 0, size - 5001, 1), "seed": 1}

    message = ql.quantize_and_encode(x, code="omega", layout="dense", threads=threads, **scheme)

    assert message == ql.encode(ql.quantize(x, **scheme), "omega", "dense")


@pytest.mark.parametrize(("code", "layout"), OPEN_CHOICES)
def test_what_is_left_open_is_chosen_as_by_encode(code, layout):
    """With "auto" in either place the shortest message is sent, as by two steps."""
    x = np.random.default_rng(0).standard_normal((20, 500), dtype=np.float32)

    message = ql.quantize_and_encode(x, 2, code, layout, bucket_size=100, seed=4)

    assert message == ql.encode(ql.quantize(x, 2, bucket_size=100, seed=4), code, layout)


def test_half_precision_and_shape_are_kept():
    """A float16 matrix is sent as what it is: its shape arrives, its values are those of float32."""
    x = np.random.default_rng(0).standard_normal((30, 70)).astype(np.float16)

    message = ql.quantize_and_encode(x, 4, "gamma", "dense")

    assert ql.decode(message).shape == (30, 70)
    assert message == ql.quantize_and_encode(x.astype(np.float32), 4, "gamma", "dense")


def test_a_torch_tensor_is_not_copied_first():
    """A bfloat16 or float32 tensor gives the message of its values."""
    torch = pytest.importorskip("torch")
    x = torch.linspace(-1, 1, 5000)

    message = ql.quantize_and_encode(x, 3, "omega", "dense")

    assert message == ql.quantize_and_encode(x.numpy(), 3, "omega", "dense")
    half = x.to(torch.bfloat16)
    assert ql.quantize_and_encode(half, 3, layout="fixed") == ql.quantize_and_encode(
        half.float().numpy(), 3, layout="fixed"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "give either bits or levels"),
        ({"bits": 3, "levels": 7}, "give either bits or levels"),
        ({"bits": 3, "code": "huffman"}, "unknown code 'huffman'"),
        ({"bits": 3, "layout": "woven"}, "unknown layout 'woven'"),
        ({"bits": 3, "layout": "fixed", "chunk_size": 33}, "chunk"),
        ({"levels": 0, "layout": "fixed"}, "levels is 0"),
        ({"bits": 3, "layout": "fixed", "norm": "l1"}, "unknown norm 'l1'"),
        ({"bits": 3, "layout": "fixed", "seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, said):
    """Each is refused with a line that says what is wrong, on either path."""
    with pytest.raises(ValueError, match=said):
        ql.quantize_and_encode(np.ones(5, np.float32), **{"layout": "dense", "code": "omega"} | arguments)
