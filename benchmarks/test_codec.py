"""Speed of the codec, of quantizing and of the rivals: ``pytest benchmarks --benchmark-only``."""

from __future__ import annotations

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.bench.rivals import OURS, RIVALS
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

SIZE = 2**20
CODERS = {**OURS, **RIVALS}


@pytest.fixture(scope="module")
def gradient():
    """Return a gaussian gradient."""
    return np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)


def coder_of(name, gradient, num_levels):
    """Return a coder of the gradient's levels; skip where its package is missing."""
    levels = ql.quantize(gradient, levels=num_levels).levels
    try:
        return CODERS[name](levels, num_levels)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("num_levels", [1, 7, 127])
@pytest.mark.parametrize("name", CODERS)
def test_encode(benchmark, gradient, name, num_levels):
    """Levels to bytes."""
    benchmark.group = f"encode, s = {num_levels}"
    benchmark(coder_of(name, gradient, num_levels).encode)


@pytest.mark.parametrize("num_levels", [1, 7, 127])
@pytest.mark.parametrize("name", CODERS)
def test_decode(benchmark, gradient, name, num_levels):
    """Bytes to levels."""
    coder = coder_of(name, gradient, num_levels)
    benchmark.group = f"decode, s = {num_levels}"
    benchmark(coder.decode, coder.encode())


@pytest.mark.parametrize("num_levels", [1, 7, 127])
def test_quantize(benchmark, gradient, num_levels):
    """Gradient to levels and norms."""
    benchmark.group = "quantize"
    benchmark(ql.quantize, gradient, levels=num_levels)


@pytest.mark.parametrize("num_levels", [1, 7, 127])
@pytest.mark.parametrize(("code", "layout"), [("auto", "fixed"), ("omega", "dense"), ("omega", "sparse")])
def test_quantize_and_encode(benchmark, gradient, code, layout, num_levels):
    """Gradient to message in one pass."""
    benchmark.group = f"quantize and encode, s = {num_levels}"
    benchmark(ql.quantize_and_encode, gradient, None, code, layout, levels=num_levels)


@pytest.mark.parametrize("num_levels", [1, 7, 127])
def test_what_eight_nodes_would_send(benchmark, gradient, num_levels):
    """Quantize, decode, average and count the bits of eight nodes' messages, fused, without the messages."""
    compressor, tally = QSGD(levels=num_levels), Ledger()
    rows, mean = np.tile(gradient, (8, 1)), np.zeros(SIZE, np.float32)
    states = compressor.init_nodes(8, Layout.of(SIZE))
    benchmark.group = "eight nodes"
    benchmark(compressor.average, rows, states, Stream(), mean, tally)


@pytest.mark.parametrize("num_levels", [1, 7, 127])
def test_sum_of_eight_nodes(benchmark, gradient, num_levels):
    """Quantize, encode, decode and add for eight nodes."""
    total = np.zeros(SIZE, np.float32)

    def step():
        quantized = [ql.quantize(gradient, levels=num_levels, node=node) for node in range(8)]
        ql.add_decoded([ql.encode(q, "gamma", "dense") for q in quantized], total)

    benchmark.group = "eight nodes"
    benchmark(step)
