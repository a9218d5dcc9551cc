"""Times on the wire, and the published figures they explain or do not."""

from __future__ import annotations

import pytest

from qsgd_lab.theory.dense_code_length import fixed_width_bits
from qsgd_lab.theory.network import (
    allgather_break_even_bits,
    allgather_seconds,
    parameter_server_seconds,
    quantized_reduce_scatter_seconds,
    ring_allreduce_seconds,
    speed_up,
)
from qsgd_lab.theory.published import QSGD_TABLE_1

GIGABIT = 1.25e8


@pytest.mark.parametrize("num_nodes", [2, 8, 16])
def test_all_gather_breaks_even_at_64_over_k_bits(num_nodes):
    """At 64 / K bits a coordinate, all-gather of codes takes as long as the float32 ring (no latency)."""
    n, bits = 10**6, allgather_break_even_bits(num_nodes)
    gather = allgather_seconds(num_nodes, bits * n / 8, 0.0, GIGABIT)

    assert gather == pytest.approx(ring_allreduce_seconds(num_nodes, n, 0.0, GIGABIT))


def test_four_bit_all_gather_loses_on_sixteen_nodes():
    """4-bit codes in buckets of 512 lose to the float32 ring at K = 16; reduce-scatter of codes wins."""
    n = 512 * 2000
    bits = fixed_width_bits(n, 3, bucket_size=512) / n
    ring = ring_allreduce_seconds(16, n, 1e-5, GIGABIT)

    assert allgather_seconds(16, bits * n / 8, 1e-5, GIGABIT) > ring
    assert quantized_reduce_scatter_seconds(16, n, bits, 1e-5, GIGABIT) < ring / 7


def test_the_reduce_scatter_at_32_bits_is_the_ring():
    """At 32 bits both exchanges are the same."""
    assert quantized_reduce_scatter_seconds(8, 1000, 32, 1e-5, GIGABIT) == pytest.approx(
        ring_allreduce_seconds(8, 1000, 1e-5, GIGABIT)
    )


def test_one_node_sends_nothing_to_a_ring():
    """A ring of one node costs no time; a server's link carries every message both ways."""
    assert ring_allreduce_seconds(1, 1000, 1e-5, GIGABIT) == allgather_seconds(1, 1000, 1e-5, GIGABIT) == 0
    assert parameter_server_seconds(4, 1000.0, 500.0, 0.5, 100.0) == 61


def test_published_speed_ups():
    """AlexNet's 2.5 on 16 GPUs follows from f = 0.8 and 4 bits; the LSTM's 2.7 needs f = 0.738, not 0.71."""
    assert speed_up(0.8, 4) == pytest.approx(2.5)
    assert speed_up(0.71, 6.8) == pytest.approx(2.535, abs=1e-3)
    assert speed_up(0.738, 6.8) == pytest.approx(2.7, abs=1e-2)


def test_the_published_table_is_whole():
    """Seven networks; four bits or eight; accuracy given in pairs."""
    assert [row.network for row in QSGD_TABLE_1][::6] == ["AlexNet", "LSTM"]
    assert len(QSGD_TABLE_1) == 7
    assert all((row.accuracy_fp32 is None) == (row.accuracy_qsgd is None) for row in QSGD_TABLE_1)
