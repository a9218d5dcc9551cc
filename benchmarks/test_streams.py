"""Both versions of the stream of random words: quantizing, the training pass and the hook's message.

``pytest benchmarks/test_streams.py -s`` prints nanoseconds of one thread's processor time a coordinate, the
least of calls that take turns in one process, beside a copy.
"""

from __future__ import annotations

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.bench.timing import least_times
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE
from qsgd_lab.coding.rest import RestEncoder
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.ledger import Ledger
from qsgd_lab.partition import partition
from qsgd_lab.stream import Stream

NODES, NODE_SIZE = 8, 1 << 20
#: The least share of a copy's speed that quantizing has, by version.
OF_A_COPY = {1: 0.45, 2: 0.55}


def tell(title, best, size):
    """Print nanoseconds a coordinate."""
    print(title, {name: round(1e9 * seconds / size, 3) for name, seconds in best.items()})  # noqa: T201


@pytest.mark.parametrize("size", [1 << 22, 1 << 24], ids=["2^22", "2^24"])
def test_quantizing_beside_a_copy(size):
    """Quantizing to 127 levels in buckets of 512 has 0.45 of a copy's speed, 0.55 with shared words."""
    x = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    target = np.empty_like(x)
    calls = {"copy": lambda: np.copyto(target, x)}
    calls |= {v: lambda v=v: ql.quantize(x, levels=127, stream_version=v) for v in OF_A_COPY}
    best = least_times(calls, 15)
    tell(f"quantize, n = {size}", best, size)

    for version, share in OF_A_COPY.items():
        assert best["copy"] / best[version] >= share


@pytest.mark.parametrize("levels", [1, 7, 15, 127])
def test_the_training_pass_takes_less_time_with_shared_words(levels):
    """Quantizing, adding up and counting the gradients of eight nodes takes at least a fifteenth less."""
    rows = NodeRows(np.random.default_rng(0).standard_normal((NODES, NODE_SIZE), dtype=np.float32))
    mean, calls = np.empty(NODE_SIZE, np.float32), {}
    for version in OF_A_COPY:
        compressor = QSGD(levels=levels, stream_version=version)
        state = compressor.init_nodes(NODES, Layout.of(NODE_SIZE))
        calls[version] = lambda c=compressor, s=state: c.mean(rows, s, Stream(1), mean, Ledger())
    best = least_times(calls, 9)
    tell(f"training pass, s = {levels}", best, NODES * NODE_SIZE)

    assert best[2] <= best[1] * 14 / 15


def test_the_message_of_the_hook_takes_no_more_time_with_shared_words():
    """Add the residual, quantize to 15 levels, pack and split: the least gain, since the rest is the same."""
    gradient = np.random.default_rng(0).standard_normal(2_260_000, dtype=np.float32)
    residual, rest, values = np.zeros_like(gradient), np.empty_like(gradient), np.empty_like(gradient)
    encoder = RestEncoder(partition(gradient.size, 512), 15, DEFAULT_CHUNK_SIZE, "max", stochastic=True)
    target = np.empty(encoder.num_bytes, np.uint8)
    vectors = gradient, residual, rest, values
    calls = {v: lambda v=v: encoder.encode(vectors, Stream().kernel_key(v), target) for v in (1, 2)}
    best = least_times(calls, 15)
    tell("message of the hook", best, gradient.size)

    assert best[2] <= best[1]
