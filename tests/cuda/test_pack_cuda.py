"""Fixed-width packing on the device, in the simulator, against the payload of the CPU's fixed messages."""

from __future__ import annotations

import gradient_strategies as gradients
import numpy as np
import pytest
from cuda_examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

from qsgd_lab import dequantize, encode, quantize
from qsgd_lab.coding.layouts import fixed_width
from qsgd_lab.kernels.cuda.device import context_of
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.kernels.cuda.messages.fixed_width import (
    launch_quantize_pack,
    launch_unpack_dequantize,
    packed_words,
)
from qsgd_lab.kernels.cuda.rows import row_tables
from qsgd_lab.levels import NORMS
from qsgd_lab.stream import Stream

TAIL = 8


def assert_packs_as_the_cpu(x, warps, blocks, **scheme):
    """Assert that words are the payload of the CPU's fixed message, and unpack to its values."""
    q = quantize(x, seed=5, **scheme)
    width = fixed_width(q.num_levels)
    device_x = cuda.to_device(x)
    context = context_of(device_x)
    tables = row_tables(q.partition, context)
    words = cuda.to_device(np.full(packed_words(x.size, width), 0xA5A5A5A5, np.uint32))
    norms = cuda.to_device(np.zeros(q.partition.num_buckets, np.float32))
    values = cuda.to_device(np.zeros(x.size, np.float32))
    key, kind = Stream(seed=5).kernel_key(scheme.get("stream_version", 1)), NORMS.index(q.norm)
    stochastic = scheme.get("rounding", "stochastic") == "stochastic"
    with launch_shape(warps, blocks):
        launch_quantize_pack(
            context, tables, device_x, key, kind, stochastic, q.num_levels, width, words, norms
        )
        launch_unpack_dequantize(context, tables, words, width, norms, q.num_levels, values)
    message = bytes(encode(q, layout="fixed"))
    payload = words.copy_to_host().tobytes()

    assert norms.copy_to_host().tobytes() == q.norms.tobytes()
    assert message[len(message) - TAIL - len(payload) : len(message) - TAIL] == payload
    assert values.copy_to_host().tobytes() == dequantize(q).tobytes()


@settings(max_examples=examples(6))
@given(st.data())
def test_packed_words_are_the_payload_of_the_fixed_layout(data):
    """Quantize and pack gives the norms and payload of the CPU's message; unpacking gives its values."""
    x = data.draw(gradients.gradients())
    assert_packs_as_the_cpu(
        x,
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(1, 3)),
        levels=data.draw(gradients.level_counts),
        bucket_size=data.draw(st.one_of(st.just(512), gradients.bucket_sizes)),
        norm=data.draw(gradients.norms),
        rounding=data.draw(gradients.roundings),
        tensor_sizes=data.draw(st.none() | gradients.tensor_sizes(x.size)),
        stream_version=data.draw(gradients.stream_versions),
    )


@pytest.mark.parametrize("s", [1, 2, 6, 7, 15, 31, 63, 127, 128, 2000, 32767])
@pytest.mark.parametrize("first", [512, 16, 3])
def test_every_width_at_every_alignment(s, first):
    """Widths of 2 to 16 bits, rows that begin at a word, inside one, and where codes cross words."""
    x = np.random.default_rng(s).standard_normal(first + 530, dtype=np.float32)
    version = 1 + (s + first) % 2  # both versions of the stream at each alignment
    scheme = {"levels": s, "norm": "max", "tensor_sizes": (first, 530), "stream_version": version}
    assert_packs_as_the_cpu(x, 2, 1, **scheme)
