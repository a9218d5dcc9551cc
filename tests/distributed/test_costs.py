"""Choices by measured costs: what takes less time, of what has the same result."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.distributed.costs import MessageCosts, fastest, processor_seconds, sums_are_gathered
from qsgd_lab.theory.collectives import Network

FREE = MessageCosts(0.0, 0.0, 3e6 / 8)


@given(st.integers(2, 64), st.integers(1, 10**9), st.floats(1, 1e12), st.floats(1e-9, 1))
def test_a_sum_goes_the_way_of_fewer_seconds(nodes, n, bandwidth, latency):
    """Rounds of a ring times latency, and bytes over bandwidth, written out; ties aside."""
    whole = 4 * n / bandwidth
    gathered = (nodes - 1) * (latency + whole)
    shared = 2 * (nodes - 1) * (latency + whole / nodes)
    if abs(gathered - shared) > 1e-9 * gathered:
        assert sums_are_gathered(nodes, n, Network(bandwidth, latency)) == (gathered < shared)


def test_two_ranks_always_gather_sums():
    """The bytes are the same, in one message instead of two."""
    assert sums_are_gathered(2, 10**9, Network(1.0, 1e-9))


@pytest.mark.parametrize(
    ("nodes", "network", "costs", "expected"),
    [
        (8, Network(6.25e6, 1e-5), FREE, "two-phase"),  # a slow link: fewer bytes
        (8, Network(1e12, 1e-3), FREE, "all-gather"),  # a long way: fewer messages
        (2, Network(6.25e6, 1e-5), FREE, "all-gather"),  # the same bytes
        (
            8,
            Network(1e12, 1e-9),
            FREE._replace(read_s=1e-3),
            "two-phase",
        ),  # 8 messages to read, or 2 and a bit
        (3, Network(1e12, 1e-9), FREE._replace(make_s=1e-3), "all-gather"),  # what is made twice
    ],
)
def test_the_fastest_collective_has_the_fewest_seconds(nodes, network, costs, expected):
    """Of the network and the processor together."""
    assert fastest(nodes, 10**6, network, costs) == expected


def test_messages_made_and_read_are_counted():
    """All-gather: one made, three read. Two-phase at 4 ranks: 5/4 made, 1 and 3/4 read."""
    costs = MessageCosts(make_s=1000.0, read_s=1.0, bytes=1.0)
    assert processor_seconds("all-gather", 4, costs) == 1003
    assert processor_seconds("two-phase", 4, costs) == 1251.75
