"""Sizes of ranged messages in training: near those of coded messages, and theirs in every 16th step."""

from __future__ import annotations

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.methods.qsgd import CODED_EVERY, QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream
from qsgd_lab.wire.ranged_size import estimated_bits


def coded_bits(quantized):
    """Return the bits of the message that is written."""
    return 8 * len(ql.encode(quantized, layout="ranged", effort=0))


@pytest.mark.parametrize(("size", "within"), [((1 << 20) + 5, 5e-4), (1 << 16, 5e-3)])
@pytest.mark.parametrize("levels", [1, 7, 127])
def test_the_estimate_is_within_its_bound(levels, size, within):
    """From 2^20 coordinates on it is within 0.05 % of the message, at 2^16 within 0.5 %."""
    rng = np.random.default_rng(levels)
    gradient = rng.standard_normal(size, dtype=np.float32) * np.exp(rng.standard_normal(size))
    quantized = ql.quantize(gradient.astype(np.float32), levels=levels)

    assert estimated_bits(quantized) == pytest.approx(coded_bits(quantized), rel=within)


@pytest.mark.parametrize("feedback", [False, True])
def test_a_step_is_coded_and_the_others_are_estimated(feedback):
    """Step 0 has the exact bits of all nodes, step 1 those of one node for all; both are near."""
    nodes, size = 3, 70_000
    compressor = QSGD(bits=3, layout="ranged")
    state, out = compressor.init_nodes(nodes, Layout.of(size)), np.empty(size, np.float32)
    for step in (0, 1, CODED_EVERY):
        rng, ledger = np.random.default_rng(step), Ledger()
        gradients = rng.standard_normal((nodes, size), dtype=np.float32)
        residuals = rng.standard_normal((nodes, size), dtype=np.float32) if feedback else None
        sent = gradients + residuals if feedback else gradients
        exact = [
            coded_bits(compressor.compress(sent[node], state, Stream(step=step, node=node))[0])
            for node in range(nodes)
        ]

        compressor.mean(NodeRows(gradients, residuals), state, Stream(step=step), out, ledger)

        bits = ledger.bits_per_coordinate()["message"] * nodes * size
        if step % CODED_EVERY:
            assert bits % nodes == pytest.approx(0, abs=1e-3)
            assert bits == pytest.approx(sum(exact), rel=5e-3)
            assert ledger.checked_sizes() == {}
        else:
            assert bits == pytest.approx(sum(exact), abs=1e-3)
            checked = ledger.checked_sizes()
            assert (checked["coordinates"], checked["coded"]) == (nodes * size, sum(exact))
            assert checked["estimated"] == pytest.approx(sum(exact), rel=5e-3)


def test_short_messages_are_coded_in_every_step():
    """Below 2^16 coordinates nothing is estimated: every step has the bits of what is written."""
    compressor, ledger = QSGD(bits=2, layout="ranged"), Ledger()
    gradients = np.random.default_rng(0).standard_normal((2, 5000), dtype=np.float32)
    state = compressor.init_nodes(2, Layout.of(5000))
    payloads = [compressor.compress(row, state, Stream(step=1, node=i))[0] for i, row in enumerate(gradients)]

    compressor.mean(NodeRows(gradients), state, Stream(step=1), np.empty(5000, np.float32), ledger)

    assert ledger.bits["message"] == sum(map(coded_bits, payloads))
    assert [8 * len(compressor.wire.pack(one)) for one in payloads] == [
        compressor.wire.size(one).bits["message"] for one in payloads
    ]


def test_the_layout_is_a_part_of_a_methods_name_only_where_it_is_named():
    """Elias codes, written or left out, are one text; another layout is refused in one line."""
    assert str(COMPRESSORS.parse("qsgd(bits=2,layout=auto)")) == str(COMPRESSORS.parse("qsgd(bits=2)"))
    with pytest.raises(ValueError, match="layout"):
        COMPRESSORS.parse("qsgd(bits=2,layout=best)")
    with pytest.raises(ValueError, match="unknown layout 'best'; known: auto, ranged"):
        QSGD(bits=2, layout="best")
