"""What collectives cost on machines of several devices."""

from __future__ import annotations

import itertools
import math

import pytest

from qsgd_lab.report.analysis.link import Question, rows_of
from qsgd_lab.theory.collectives import Cost, Network, Step, collective_cost, pays_at, two_level_cost
from qsgd_lab.theory.network import (
    allgather_pays_between,
    allgather_seconds,
    parameter_server_seconds,
    quantized_reduce_scatter_seconds,
    ring_allreduce_seconds,
)

MILLION = 10**6


def leaving(sends, nodes, devices):
    """Return the most bytes that leave one machine, of (sender, receiver, bytes)."""
    out = [0.0] * (nodes // devices)
    for sender, receiver, size in sends:
        if sender // devices != receiver // devices:
            out[sender // devices] += size
    return max(out)


def played(collective, nodes, message):
    """Yield what each node sends: a ring to the next node, or straight to whom it is for."""
    ring = [(node, (node + 1) % nodes) for node in range(nodes)]
    pairs = list(itertools.permutations(range(nodes), 2))
    if collective == "all-reduce":
        return [(a, b, message / nodes) for a, b in ring for _ in range(2 * (nodes - 1))]
    if collective == "all-gather":
        return [(a, b, message) for a, b in ring for _ in range(nodes - 1)]
    if collective == "two-phase":
        straight = [(a, b, message / nodes) for a, b in pairs]
        return straight + [(a, b, message / nodes) for a, b in ring for _ in range(nodes - 1)]
    return [(0, node, message) for node in range(nodes)] * 2  # the server's link, both ways


@pytest.mark.parametrize("collective", ["all-reduce", "all-gather", "two-phase", "parameter-server"])
@pytest.mark.parametrize(("nodes", "devices"), [(4, 1), (8, 2), (12, 4), (4, 4)])
def test_bytes_are_those_that_leave_a_machine(collective, nodes, devices):
    """Of the machine that sends most, every message counted."""
    if collective == "parameter-server" and devices == 1:
        pytest.skip("there the server is not a node, and its own vector goes over its link, too")
    cost = collective_cost(collective, nodes, MILLION, 4.0, devices)
    expected = leaving(played(collective, nodes, MILLION / 2), nodes, devices)
    assert cost.bytes == pytest.approx(expected)


def test_machines_of_one_device_are_the_plain_network():
    """The formulas of `qsgd_lab.theory.network`."""
    network = Network(1e8, 1e-4)
    for nodes in (2, 3, 16):
        for collective, expected in (
            ("all-reduce", ring_allreduce_seconds(nodes, MILLION, 1e-4, 1e8)),
            ("all-gather", allgather_seconds(nodes, 4 * MILLION, 1e-4, 1e8)),
            ("two-phase", quantized_reduce_scatter_seconds(nodes, MILLION, 32.0, 1e-4, 1e8)),
        ):
            found = collective_cost(collective, nodes, MILLION, 32.0).seconds(network)
            assert found == pytest.approx(expected)
    found = collective_cost("parameter-server", 8, MILLION, 32.0).seconds(network)
    assert found == pytest.approx(parameter_server_seconds(7, 4e6, 4e6, 1e-4, 1e8))  # one is the server


def test_two_levels_add_up_within_and_exchange_between():
    """Within: a float32 ring of the devices; between: the collective of the machines."""
    cost = two_level_cost("all-gather", 16, MILLION, 4.0, 8)
    assert cost[:2] == collective_cost("all-gather", 2, MILLION, 4.0)[:2]
    inner = Network(1.0, 0.0, 8, inner_bandwidth=1e9, inner_latency=1e-5)
    within = cost._replace(messages=0, bytes=0).seconds(inner)
    assert within == pytest.approx(ring_allreduce_seconds(8, MILLION, 1e-5, 1e9))


@pytest.mark.parametrize(
    ("nodes", "size", "latency", "extra"), [(8, 5e5, 0.0, 0.01), (16, 5.1e5, 1e-3, 0.01)]
)
def test_break_even_is_that_of_the_formula(nodes, size, latency, extra):
    """Without overlap, where the two lines of time cross."""
    ring, codes = (
        collective_cost(c, nodes, MILLION, b) for c, b in (("all-reduce", 32.0), ("all-gather", size * 8e-6))
    )
    found = pays_at(codes, Step(0.1, extra), ring, Step(0.1), Network(1e8, latency))
    expected = allgather_pays_between(nodes, MILLION, size, latency, extra)
    assert expected is not None
    assert found == pytest.approx(expected, rel=1e-6)


def test_what_is_hidden_costs_nothing():
    """A collective shorter than the overlapped part of the pass leaves the step as it is."""
    assert Step(0.1, 0.01, 0.5).seconds(0.049) == pytest.approx(0.11)
    assert Step(0.1, 0.01, 0.5).seconds(0.06) == pytest.approx(0.12)


def test_rows_compare_with_the_fastest_float32():
    """On two machines two-level is faster than flat, and so is the one to beat; float16 halves the bytes."""
    question = Question(MILLION, (2,), 512, Network(1e8, 0.0, 4, 1e10), Step(0.0))
    rows = {(row.sends, row.collective, row.level): row for row in rows_of(question, 8)}
    assert rows["fp32", "all-reduce", "two-level"].speed_up == 1
    assert rows["fp32", "all-reduce", "flat"].speed_up < 1
    assert rows["fp32", "all-reduce", "two-level"].pays is None
    half = rows["fp16", "all-reduce", "two-level"]
    assert half.link_bytes == rows["fp32", "all-reduce", "two-level"].link_bytes / 2
    quantized = rows["2 bit", "two-phase", "two-level"]
    assert quantized.link_bytes == pytest.approx(MILLION * (3 + 32 / 512) / 8, rel=1e-4)
    assert quantized.pays == (0.0, math.inf)
    assert ("2 bit", "all-reduce", "flat") not in rows


def test_nodes_must_fill_machines():
    """One line."""
    with pytest.raises(ValueError, match="12 nodes are not whole machines of 8 devices; give a multiple"):
        two_level_cost("all-gather", 12, 10, 4.0, 8)


@pytest.mark.parametrize(
    ("cost", "step", "network", "name"),
    [
        (Cost(1, 1e9), Step(1.0, 0, 5.0), Network(1e9), "overlap"),
        (Cost(1, 1e9), Step(-1.0), Network(1e9), "compute"),
        (Cost(1, 1e9), Step(1.0, math.nan), Network(1e9), "extra"),
        (Cost(1, math.nan), Step(1.0), Network(1e9), "bytes"),
        (Cost(-1, 1e9), Step(1.0), Network(1e9), "messages"),
        (Cost(1, 1e9), Step(1.0), Network(0.0), "bandwidth"),
        (Cost(1, 1e9), Step(1.0), Network(1e9, -1.0), "latency"),
    ],
)
def test_impossible_steps_and_links_are_refused(cost, step, network, name):
    """A number out of its range is named in one line."""
    with pytest.raises(ValueError, match=f"^{name} is .*; it must be"):
        pays_at(cost, step, Cost(1, 1e10), Step(1.0), network)
    with pytest.raises(ValueError, match=f"^{name} is .*; it must be"):
        step.seconds(cost.seconds(network))


def test_a_two_level_cost_checks_its_size():
    """As the flat one does."""
    with pytest.raises(ValueError, match=r"^num_coordinates is -5"):
        two_level_cost("all-gather", 4, -5, 4.0, 2)
