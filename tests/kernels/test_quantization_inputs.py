"""What may be quantized, what is refused and in which words."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from qsgd_lab import dequantize, num_levels, quantize
from qsgd_lab.arrays import flat_float32
from qsgd_lab.levels import CONVENTIONS, magnitude_bits
from qsgd_lab.partition import MAX_TENSOR_SIZE, partition

X = np.random.default_rng(0).normal(size=(6, 50)).astype(np.float32)

REFUSED = [
    ({}, "give either bits or levels"),
    ({"bits": 3, "levels": 7}, "give either bits or levels"),
    ({"bits": 0}, "bits is 0; it must be an integer from 1 to 15"),
    ({"bits": 16}, "bits is 16; it must be an integer from 1 to 15"),
    ({"bits": 32}, "bits is 32; .*32 means fp32: do not quantize"),
    ({"bits": 3.0}, "bits is 3.0; it must be an integer"),
    ({"bits": True}, "bits is True; it must be an integer"),
    ({"bits": 3, "convention": "mine"}, "unknown convention 'mine'; known: magnitude, "),
    ({"bits": 1, "convention": "sign-inside"}, "1 bits under 'sign-inside' give 0 levels"),
    ({"bits": 15, "convention": "power-of-two"}, "15 bits under 'power-of-two' give 32768 levels"),
    ({"levels": 0}, "levels is 0; it must be an integer from 1 to 32767"),
    ({"levels": 32768}, "levels is 32768; it must be an integer from 1 to 32767"),
    ({"levels": 7.0}, "levels is 7.0; it must be an integer"),
    ({"levels": True}, "levels is True; it must be an integer"),
    ({"bits": 3, "norm": "l1"}, "unknown norm 'l1'; known: l2, max"),
    ({"bits": 3, "rounding": "up"}, "unknown rounding 'up'; known: stochastic, nearest"),
    ({"bits": 3, "backend": "gpu"}, "unknown backend 'gpu'; known: auto, cpu, reference"),
    ({"bits": 3, "bucket_size": 0}, "bucket_size is 0; it must be a positive integer, 'tensor' or 'model'"),
    ({"bits": 3, "bucket_size": True}, "bucket_size is True; it must be a positive integer"),
    ({"bits": 3, "bucket_size": 2.5}, "bucket_size is 2.5; it must be a positive integer"),
    ({"bits": 3, "bucket_size": "layer"}, "bucket_size is 'layer'; it must be a positive integer"),
    ({"bits": 3, "tensor_sizes": (100, 100)}, "tensor_sizes sum to 200, but the gradient has 300"),
    ({"bits": 3, "tensor_sizes": (301, -1)}, "tensor sizes must be from 0 to 17179869184"),
    ({"bits": 3, "seed": -1}, "seed is -1; it must be an integer from 0 to 18446744073709551615"),
    ({"bits": 3, "seed": 2**64}, "seed is 18446744073709551616; it must be"),
    ({"bits": 3, "seed": 1.0}, "seed is 1.0; it must be an integer"),
    ({"bits": 3, "node": 2**32}, "node is 4294967296; it must be an integer from 0 to 4294967295"),
    ({"bits": 3, "step": -1}, "step is -1; it must be"),
    ({"bits": 3, "tensor": True}, "tensor is True; it must be"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_bad_argument_is_refused_by_name(arguments, message):
    """Each argument out of its range raises a ValueError that says which and what would be right."""
    with pytest.raises(ValueError, match=message):
        quantize(X, **arguments)


def test_an_unknown_backend_is_refused_when_decoding():
    """Dequantize names the backends there are."""
    with pytest.raises(ValueError, match="unknown backend 'gpu'; known: auto, cpu, reference"):
        dequantize(quantize(X, bits=3), backend="gpu")


def test_a_tensor_may_not_have_more_coordinates_than_a_stream_has_words():
    """Beyond 2^34 coordinates words would repeat, so that is refused, not done."""
    with pytest.raises(ValueError, match="tensor sizes must be from 0 to 17179869184"):
        partition(MAX_TENSOR_SIZE + 1)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, ">f4"])
def test_other_dtypes_of_numpy_are_refused(dtype):
    """Anything but float32 and float16 raises a TypeError that says how to convert."""
    with pytest.raises(TypeError, match=re.escape(".astype(np.float32)")):
        quantize(X.astype(dtype), bits=3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8])
def test_other_dtypes_of_torch_are_refused(dtype):
    """Anything but float32, float16 and bfloat16 raises a TypeError that says how to convert."""
    with pytest.raises(TypeError, match=re.escape("convert it with .float()")):
        quantize(torch.zeros(3, dtype=dtype), bits=3)


@pytest.mark.parametrize("gradient", [X.astype(np.complex64), torch.zeros(3, dtype=torch.complex64)])
def test_complex_gradients_are_refused(gradient):
    """A TypeError says to give real and imaginary part apart."""
    with pytest.raises(TypeError, match="give real and imaginary part apart"):
        quantize(gradient, bits=3)


def test_tensors_elsewhere_are_refused():
    """A tensor without data raises a TypeError that says so."""
    with pytest.raises(TypeError, match="is a meta tensor, which has a shape and no data"):
        quantize(torch.zeros(3, device="meta"), bits=3)


@pytest.mark.parametrize("field", ["seed", "node", "step", "tensor", "bits", "levels", "bucket_size"])
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint64])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_numpy_integers_are_integers(field, dtype, backend):
    """A NumPy integer of any width does what the Python integer does."""
    arguments = {} if field in ("bits", "levels") else {"bits": 3}
    expected = quantize(X, backend=backend, **arguments, **{field: 7})
    q = quantize(X, backend=backend, **arguments, **{field: dtype(7)})

    assert (q.levels == expected.levels).all()
    assert (q.norms == expected.norms).all()


def test_contiguous_float32_is_not_copied():
    """Kernels read the caller's memory: a view for NumPy and torch, whatever the shape."""
    tensor = torch.from_numpy(X).requires_grad_()

    assert np.shares_memory(flat_float32(X), X)
    assert np.shares_memory(flat_float32(X[2:4]), X)
    assert np.shares_memory(flat_float32(tensor), X)


@pytest.mark.parametrize(
    "view", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[::-1] if x is X else x.flip(0)]
)
def test_strided_views_are_read_in_their_own_order(view):
    """A transposed, skipping or reversed view is quantized as its contiguous copy is."""
    expected = quantize(np.ascontiguousarray(view(X)), bits=3)
    for x in (view(X), view(torch.from_numpy(X))):
        assert (np.asarray(quantize(x, bits=3).levels) == expected.levels).all()


def test_quantizing_leaves_the_gradient_alone():
    """The gradient is not written to."""
    before = X.tobytes()
    quantize(X, bits=3)
    quantize(torch.from_numpy(X), bits=3, norm="max")

    assert X.tobytes() == before


@pytest.mark.parametrize("bits", [3, 9])
def test_torch_in_torch_out(bits):
    """A tensor gives tensors with the levels, norms and values of the array."""
    expected = quantize(X, bits=bits)
    q = quantize(torch.from_numpy(X), bits=bits)

    assert isinstance(q.levels, torch.Tensor)
    assert isinstance(q.norms, torch.Tensor)
    assert q.levels.dtype == (torch.int8 if bits <= 7 else torch.int16)
    assert (q.levels.numpy() == expected.levels).all()
    assert (q.norms.numpy() == expected.norms).all()
    assert dequantize(q).dtype == torch.float32
    assert (dequantize(q).numpy() == dequantize(expected)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(dtype):
    """A half-precision gradient is quantized as its float32 copy is, and decodes to float32."""
    half = torch.from_numpy(X).to(dtype)
    expected = quantize(half.float(), bits=3)
    q = quantize(half, bits=3)

    assert torch.equal(q.levels, expected.levels)
    assert torch.equal(q.norms, expected.norms)
    assert dequantize(q).dtype == torch.float32
    if dtype == torch.float16:
        assert (quantize(half.numpy(), bits=3).levels == expected.levels.numpy()).all()


@pytest.mark.parametrize("shape", [(), (1,), (0,), (300,), (2, 3, 50), (300, 1, 1)])
def test_shapes_survive(shape):
    """Levels are flat, the decoded gradient has the gradient's shape, and so for torch."""
    x = X.reshape(-1)[: int(np.prod(shape))].reshape(shape)
    q, q_torch = quantize(x, bits=3), quantize(torch.from_numpy(x), bits=3)

    assert q.levels.shape == (x.size,)
    assert (q.shape, len(q)) == (shape, x.size)
    assert dequantize(q).shape == shape
    assert tuple(dequantize(q_torch).shape) == shape


def test_conventions_of_the_field():
    """The three meanings of "b bits", and the width that s + 1 magnitudes really take."""
    levels = {name: [num_levels(b, name) for b in (2, 3, 4, 8)] for name in CONVENTIONS}

    assert levels == {
        "magnitude": [3, 7, 15, 255],
        "sign-inside": [1, 3, 7, 127],
        "power-of-two": [4, 8, 16, 256],
    }
    assert [magnitude_bits(s) for s in (1, 2, 3, 4, 7, 8, 127, 128, 255, 256)] == [
        1,
        2,
        2,
        3,
        3,
        4,
        7,
        8,
        8,
        9,
    ]


@pytest.mark.parametrize(("s", "dtype"), [(1, np.int8), (127, np.int8), (128, np.int16), (32767, np.int16)])
def test_levels_are_stored_in_the_narrowest_integers_that_hold_them(s, dtype):
    """int8 up to s = 127, int16 above, and the extreme levels do not wrap."""
    q = quantize(np.float32([4, -4, 0]), levels=s, norm="max")

    assert q.levels.dtype == dtype
    assert q.levels.tolist() == [s, -s, 0]
