"""FSDP2's reduce-scatter of codes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import rank_cases
import torch

from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.distributed.fsdp import QuantizedReduceScatter
from qsgd_lab.exchange import SimulatedExchange


def test_every_rank_has_the_mean_of_its_pieces(two_ranks):
    """That of a simulated exchange of each piece, with residuals, over three steps, bit for bit."""
    results = two_ranks.call(rank_cases.sharded, 3, {"bits": 2})
    size = results[0][0][0][1].size
    compressor = COMPRESSORS.parse("ef(qsgd(bits=2,norm=max))").make()
    for owner in range(2):
        exchange = SimulatedExchange(compressor, 2, 0, Layout.of(size), first_node=2 * owner)
        for step in range(3):
            rows = [seen[step][0].reshape(2, -1)[owner] for seen, _, _ in results]
            mean = np.empty(size, np.float32)
            exchange.mean(np.array(rows), step, mean)
            assert np.array_equal(mean, results[owner][0][step][1])
    for _, state, sent in results:
        assert 0 < sent < 3 * 4 * size / 4
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        assert torch.load(file, weights_only=True)["step"] == 3


def test_what_cannot_be_scattered_is_refused():
    """Methods of rounds, and a state before any gradient."""
    with pytest.raises(ValueError, match="two-phase takes methods of one message"):
        QuantizedReduceScatter(compressor="powersgd")
    with pytest.raises(ValueError, match="after a first backward pass"):
        QuantizedReduceScatter().load_state_dict({"step": 1})
