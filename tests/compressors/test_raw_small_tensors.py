"""Small tensors sent raw: the others are quantized as if they were alone."""

from __future__ import annotations

import numpy as np
import pytest
from compressor_cases import refuses_damage
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors import COMPRESSORS, QSGD, ErrorFeedback
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.compressors.wrappers.raw_small_tensors import RawSmallTensors
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.message import pack

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(sum)


def gradients(nodes: int, size: int) -> np.ndarray:
    return np.random.default_rng(size).normal(size=(nodes, size)).astype(np.float32)


def is_large(sizes: list[int], up_to: int) -> np.ndarray:
    """Return, for each coordinate, whether its tensor is quantized."""
    return np.repeat([size > up_to for size in sizes], sizes)


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, up_to=st.integers(0, 40), nodes=st.integers(1, 3))
def test_large_tensors_are_quantized_alone_and_small_ones_kept(
    sizes: list[int], up_to: int, nodes: int
) -> None:
    """The large ones' mean is what the quantizer gives for them alone; the small ones' is that of float32."""
    n, large = sum(sizes), is_large(sizes, up_to)
    rows, mean, tally = gradients(nodes, n), np.empty(n, np.float32), Ledger()
    inner = QSGD(bits=2, norm="max", bucket_size=8)
    compressor = RawSmallTensors(inner, up_to)
    compressor.mean(
        NodeRows(rows), compressor.init_nodes(nodes, Layout.of(n, tuple(sizes))), Stream(5), mean, tally
    )

    own, alone = np.empty(int(large.sum()), np.float32), Ledger()
    kept = tuple(size for size in sizes if size > up_to)
    packed = np.ascontiguousarray(rows[:, large])
    inner.mean(NodeRows(packed), inner.init_nodes(nodes, Layout.of(own.size, kept)), Stream(5), own, alone)
    assert mean[large].tobytes() == own.tobytes()
    total = np.zeros(int((~large).sum()), np.float32)
    for row in rows:
        total += row[~large]
    assert mean[~large].tobytes() == (total / np.float32(nodes)).tobytes()
    small = int((~large).sum())
    around = 8 * (48 + 4 * (small % 2)) * nodes if small else 0  # of the small tensors' messages
    assert tally.raw_coordinates == nodes * small
    assert tally.coordinates == alone.coordinates
    assert tally.bits.get("message", 0) == alone.bits.get("message", 0) + around
    assert {**tally.bits, "message": 0} == {**alone.bits, "message": 0}


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, up_to=st.integers(0, 40))
def test_fused_is_compress_and_decompress(sizes: list[int], up_to: int) -> None:
    """One pass over all nodes gives the bits of messages sent one by one, residuals and counts included."""
    n, nodes = sum(sizes), 2
    rows = gradients(nodes, n)
    compressor = ErrorFeedback(RawSmallTensors(QSGD(bits=1, norm="max", bucket_size="tensor"), up_to))
    fused_mean, fused = np.empty(n, np.float32), Ledger()
    after = compressor.mean(
        NodeRows(rows), compressor.init_nodes(nodes, Layout.of(n, tuple(sizes))), Stream(2), fused_mean, fused
    )
    total, counted = np.zeros(n, np.float32), Ledger()
    for node, row in enumerate(rows):
        message, state = compressor.compress(
            row, compressor.init(Layout.of(n, tuple(sizes))), Stream(2, node)
        )
        total += compressor.decompress(message)
        counted.add(compressor.wire.size(message))
        assert state.residual.tobytes() == after.residual[node].tobytes()
        assert not state.residual[~is_large(sizes, up_to)].any()
    assert fused_mean.tobytes() == (total / np.float32(nodes)).tobytes()
    assert fused.to_dict() == counted.to_dict()


def test_raw_coordinates_cost_32_bits() -> None:
    """100 coordinates at b + 1 = 4 bits with a norm and 10 raw ones: (400 + 32 + 320) / 110 bits each."""
    compressor, tally = RawSmallTensors(QSGD(bits=3, norm="max", bucket_size="tensor"), 10), Ledger()
    state = compressor.init_nodes(1, Layout.of(110, (10, 100)))
    compressor.mean(NodeRows(gradients(1, 110)), state, Stream(), np.empty(110, np.float32), tally)
    assert tally.bits_per_coordinate()["fixed"] == (400 + 32 + 320) / 110


def test_a_negative_size_is_refused() -> None:
    """There are no tensors of less than no coordinates."""
    with pytest.raises(ValueError, match="at least 0"):
        RawSmallTensors(QSGD(bits=3), -1)


@pytest.mark.parametrize("inner", ["qsgd", "top-k", "hsq"])
def test_no_empty_message_is_sent(inner):
    """Where all tensors are small, there is the raw message alone, and the ledger counts its bits."""
    compressor = COMPRESSORS.parse(f"raw-small({inner},up_to=9)").make()
    layout, gradient = Layout(((3, 3), (2,))), np.arange(11, dtype=np.float32)
    payload, _ = compressor.compress(gradient, compressor.init(layout), Stream(5))
    message = compressor.wire.pack(payload)
    out, ledger = np.empty(11, np.float32), Ledger()
    compressor.mean(NodeRows(gradient[None].copy()), compressor.init_nodes(1, layout), Stream(5), out, ledger)

    assert message == pack(Raw(gradient)).tobytes()
    assert compressor.decompress(compressor.wire.unpack(message, layout)).tobytes() == gradient.tobytes()
    assert out.tobytes() == gradient.tobytes()
    assert (ledger.raw_coordinates, ledger.coordinates) == (11, 0)
    assert ledger.bits["message"] + 32 * 11 == 8 * len(message)
    assert compressor.wire.size(payload).raw_coordinates == 11
    with pytest.raises(MessageError):
        compressor.wire.unpack(bytes(40) + message, layout)


@pytest.mark.parametrize("text", ["raw-small(qsgd,up_to=20)", "raw-small(top-k,up_to=20)"])
def test_a_damaged_message_of_large_and_small_tensors_is_refused(text):
    """Every cut, and every flipped bit of either part, raises MessageError and nothing else."""
    compressor, layout = COMPRESSORS.parse(text).make(), Layout.of(63, (13, 40, 10))
    payload, _ = compressor.compress(gradients(1, 63)[0], compressor.init(layout), Stream(1))
    refuses_damage(compressor, compressor.wire.pack(payload), layout)
