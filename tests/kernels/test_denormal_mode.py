"""Threads that flush denormal numbers to zero get the same bits: kernels switch that off for themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

torch = pytest.importorskip("torch")
SIZE = 3000


@contextmanager
def flushing() -> Iterator[None]:
    """Flush denormals in this thread, and in those it starts."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no such mode")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def is_flushing() -> bool:
    """Whether this thread flushes: whether half of the smallest normal number is 0."""
    return bool(np.float32(2.0**-126) * np.float32(0.5) == 0)


def gradient(scale: float) -> np.ndarray:
    """Return a gradient of many denormal coordinates, one bucket of which is all denormal and one zero."""
    x = np.float32(scale) * np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    x[:100], x[100:200] = np.float32(2.0**-140), 0
    return x


def results(x: np.ndarray, remainders: np.ndarray, threads: int) -> list[bytes]:
    """Return the bytes of everything that kernels compute with floats; NumPy itself computes nothing here."""
    found = []
    for norm in ("l2", "max"):
        q = ql.quantize(x, bits=3, bucket_size=100, norm=norm, seed=1)
        for message in (
            ql.encode(q, threads=threads),
            ql.encode(q, version=2),
            ql.quantize_and_encode(x, 3, "omega", "dense", norm=norm, seed=1, threads=threads),
        ):
            total = x.copy()
            ql.add_decoded([message], total, threads=threads)
            found += [message, ql.decode(message).norms, ql.decode_values(message, threads=threads), total]
        found += [q.levels, q.norms, ql.dequantize(q)]
        compressor, out = QSGD(bits=3, norm=norm, bucket_size=100), np.empty(SIZE, np.float32)
        residuals = remainders.copy()
        rows = NodeRows(np.stack([x, x]), residuals)
        compressor.mean(rows, compressor.init(Layout(((SIZE,),))), Stream(3), out, Ledger())
        found += [out, residuals]
    return [np.asarray(array).tobytes() for array in found]


@pytest.mark.parametrize("scale", [1e-38, 1e-42, 1.0])
def test_the_flushing_mode_changes_no_bit(scale):
    """Levels, norms, messages, values, sums and residuals are those of a thread that keeps denormals."""
    x = gradient(scale)
    remainders = np.stack([x[::-1], 2 * x])
    expected = results(x, remainders, 1)
    for threads in (1, 3):
        with flushing():
            found = results(x, remainders, threads)

        assert found == expected


def test_the_mode_is_left_as_it_was():
    """A kernel leaves the caller's mode: flushing where it flushed, and keeping where it kept."""
    q = ql.quantize(gradient(1e-38), bits=2)
    assert not is_flushing()
    with flushing():
        ql.dequantize(q)
        ql.decode_values(ql.encode(q))
        assert is_flushing()
    assert not is_flushing()
