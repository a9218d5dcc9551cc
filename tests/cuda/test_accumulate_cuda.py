"""The fused CUDA step of training, in the simulator, against the CPU's, byte for byte."""

from __future__ import annotations

import gradient_strategies as gradients
import numpy as np
from cuda_examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.kernels.cuda.device import to_host
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream


@settings(max_examples=examples(10))
@given(st.data())
def test_the_mean_of_the_nodes_is_that_of_the_cpu(data):
    """Mean, residuals and counts agree, with residuals or without, gradients added already or not."""
    x = data.draw(gradients.gradients())
    sizes = data.draw(st.none() | gradients.tensor_sizes(x.size))
    nodes = data.draw(st.integers(1, 3))
    compressor = QSGD(
        levels=data.draw(gradients.level_counts),
        norm=data.draw(gradients.norms),
        bucket_size=data.draw(gradients.bucket_sizes),
        rounding=data.draw(gradients.roundings),
        stream_version=data.draw(gradients.stream_versions),
    )
    kind = data.draw(st.sampled_from(["plain", "residuals", "in place"]))
    stream = Stream(data.draw(gradients.seeds), data.draw(gradients.words32), data.draw(gradients.words32))
    with np.errstate(all="ignore"):
        sent = np.stack([np.roll(x, node) * np.float32(0.5**node) for node in range(nodes)])
        kept = np.stack([np.roll(x, 7 + node) * np.float32(0.25) for node in range(nodes)])
    state = compressor.init_nodes(nodes, Layout.of(x.size, sizes))
    results = []
    for to_device in (np.array, cuda.to_device):
        tally, mean = Ledger(), to_device(np.full(x.size, 3, np.float32))
        g, r = to_device(sent), to_device(kept)
        with (
            launch_shape(data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))),
            np.errstate(all="ignore"),
        ):
            if kind == "plain":
                compressor.mean(NodeRows(g), state, stream, mean, tally)
            elif kind == "residuals":
                compressor.mean(NodeRows(g, r), state, stream, mean, tally)
            else:
                compressor.mean(NodeRows(None, r), state, stream, mean, tally)
        arrays = (mean, r) if to_device is np.array else (to_host(mean), to_host(r))
        results.append((*(array.tobytes() for array in arrays), tally.to_dict()))

    assert results[0] == results[1]
