"""The CUDA quantizer, in the simulator, against the CPU's, byte for byte."""

from __future__ import annotations

import gradient_strategies as gradients
from cuda_examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

from qsgd_lab import dequantize, quantize
from qsgd_lab.kernels.cuda.device import to_host
from qsgd_lab.kernels.cuda.launch import launch_shape


def assert_as_on_the_cpu(x, **scheme):
    """Assert that levels, norms and values on the device are those of the CPU, bit for bit."""
    expected = quantize(x, **scheme)
    q = quantize(cuda.to_device(x), **scheme)

    assert q.partition == expected.partition
    assert to_host(q.levels).dtype == expected.levels.dtype
    assert to_host(q.levels).tobytes() == expected.levels.tobytes()
    assert to_host(q.norms).tobytes() == expected.norms.tobytes()
    assert to_host(dequantize(q)).tobytes() == dequantize(expected).tobytes()


@settings(max_examples=examples(20))
@given(st.data())
def test_the_device_gives_the_bits_of_the_cpu(data):
    """Levels, norms and values agree for every gradient, partition, scheme, stream and launch shape."""
    x = data.draw(gradients.gradients())
    with launch_shape(warps=data.draw(st.integers(1, 3)), max_blocks=data.draw(st.integers(1, 3))):
        assert_as_on_the_cpu(
            x,
            levels=data.draw(gradients.level_counts),
            bucket_size=data.draw(gradients.bucket_sizes),
            norm=data.draw(gradients.norms),
            rounding=data.draw(gradients.roundings),
            tensor_sizes=data.draw(st.none() | gradients.tensor_sizes(x.size)),
            seed=data.draw(gradients.seeds),
            node=data.draw(gradients.words32),
            step=data.draw(gradients.words32),
            tensor=data.draw(gradients.words32),
            stream_version=data.draw(gradients.stream_versions),
        )
