"""Threads that flush denormal numbers to zero get the same bits: kernels and compressors switch that off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from compressor_cases import EVERY

import qsgd_lab as ql
from qsgd_lab.compressors import COMPRESSORS, QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.exchange import SimulatedExchange
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


def two_steps(text: str, rows: np.ndarray) -> list[bytes]:
    """Return the messages, values and sums of two steps of one node, and the mean of two nodes' payloads."""
    x, found = rows[0], []
    compressor, layout = COMPRESSORS.parse(text).make(), Layout(((8, x.size // 8),))
    state = compressor.at_rate(compressor.init(layout), 0.1)
    for step, rate in enumerate((0.1, 0.07)):
        state, total = compressor.at_rate(state, rate), x.copy()
        payload, state = compressor.compress(x, state, Stream(3, step=step))
        message = bytes(compressor.wire.pack(payload))
        compressor.add_decoded(message, layout, total)
        found += [message, compressor.decompress(payload).tobytes(), total.tobytes()]
    if compressor.interactive:  # the network adds up, in the mode of its own threads
        return found
    exchange, out = SimulatedExchange(compressor, 2, 1, layout), np.empty(x.size, np.float32)
    exchange.mean(rows, 0, out)
    return [*found, out.tobytes()]


@pytest.mark.parametrize("text", [*EVERY, "ef(qsgd,unit=update)", "ef(powersgd)"])
def test_the_flushing_mode_changes_no_bit_of_any_method(text):
    """Messages, values, sums and means; nothing is refused where denormals are flushed."""
    for scale in (1e-36, 1e-38, 1e-44):
        x = gradient(scale)[-128:]
        rows = np.stack([x, 2 * x])
        expected = two_steps(text, rows)
        with flushing():
            found = two_steps(text, rows)
            assert is_flushing()

        assert found == expected, scale


def test_the_mode_is_left_as_it_was():
    """A kernel leaves the caller's mode: flushing where it flushed, and keeping where it kept."""
    q = ql.quantize(gradient(1e-38), bits=2)
    assert not is_flushing()
    with flushing():
        ql.dequantize(q)
        ql.decode_values(ql.encode(q))
        assert is_flushing()
    assert not is_flushing()
