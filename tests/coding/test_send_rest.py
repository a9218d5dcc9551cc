"""Gradient and residual to message, rest and values in one pass, against the steps it replaces."""

from __future__ import annotations

import gradient_strategies as gradients
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab import dequantize, encode, quantize
from qsgd_lab.coding.rest import RestEncoder
from qsgd_lab.partition import partition
from qsgd_lab.stream import Stream


def same(actual, expected):
    """Whether two float32 arrays have the same bits, but for the payload of a NaN."""
    missing = np.isnan(expected)
    equal = actual.view(np.int32) == expected.view(np.int32)
    return bool((np.isnan(actual) == missing).all() and equal[~missing].all())


@settings(deadline=None)
@given(st.data())
def test_one_pass_is_all_of_its_steps(data):
    """Add, quantize, encode, dequantize, subtract: message, values and rest, whatever is in the gradient."""
    gradient = data.draw(gradients.gradients())
    n, s = gradient.size, data.draw(st.sampled_from([1, 3, 200]))
    residual = np.random.default_rng(n).normal(size=n).astype(np.float32)
    bucket, norm = data.draw(gradients.bucket_sizes), data.draw(gradients.norms)
    rounding, sizes = data.draw(gradients.roundings), data.draw(gradients.tensor_sizes(n))
    chunk = data.draw(st.sampled_from([32, 4096]))
    version = data.draw(gradients.stream_versions)
    scheme = {"levels": s, "bucket_size": bucket, "norm": norm, "rounding": rounding, "tensor_sizes": sizes}
    scheme["stream_version"] = version
    with np.errstate(all="ignore"):
        own = gradient + residual
        quantized = quantize(own, seed=5, node=1, step=2, tensor=3, **scheme)
        values = dequantize(quantized)
        rest = own - values
    before, found, read = gradient.copy(), np.empty_like(gradient), gradient  # in the gradient's own memory
    encoder = RestEncoder(partition(n, bucket, sizes), s, chunk, norm, stochastic=rounding == "stochastic")
    message = np.full(encoder.num_bytes, 255, np.uint8)
    for _ in range(2):  # what is kept from message to message
        read[...] = before
        encoder.encode((read, residual, found, read), Stream(5, 1, 2, 3).kernel_key(version), message)

    assert bytes(message) == bytes(encode(quantized, layout="fixed", chunk_size=chunk))
    assert same(found, rest)
    assert same(read, values + np.float32(0))
