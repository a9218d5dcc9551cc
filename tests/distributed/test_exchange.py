"""Real ranks against the simulation: the same means, states and sizes, bit for bit."""

from __future__ import annotations

import hook_cases
import numpy as np
import pytest
import rank_cases
from rank_cases import gradients
from ranks import ByRank, Processes, Ranks

from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.exchange import SimulatedExchange, TwoPhaseExchange

SHAPES = ((8, 5), (7,), (30, 10), (1,))
LARGE_SHAPES = ((60, 50), (7,), (30, 10), (1,))
SPECS = [
    "fp32",
    "qsgd(bits=2,norm=max,bucket_size=model)",
    "qsgd(bits=4,bucket_size=64,stream_version=2)",
    "qsgd(bits=1,bucket_size=tensor,rounding=nearest)",
    "ef(qsgd(bits=2,norm=max,bucket_size=512))",
    "ef(top-k(fraction=0.05))",
]


def simulated(text, nodes, steps, shapes, seed, two_phase):
    """Return means, states by node, and the traffic of the simulation."""
    layout = Layout(shapes)
    kind = TwoPhaseExchange if two_phase else SimulatedExchange
    exchange = kind(COMPRESSORS.parse(text).make(), nodes, 7, layout)
    means = []
    for step in range(steps):
        out = np.empty(layout.num_coordinates, np.float32)
        exchange.mean(gradients(seed, step, nodes, layout), step, out)
        means.append(out)
    return means, exchange.arrays(), exchange.total_traffic().to_dict()


def node_state(arrays, node, name):
    """Return one node's array of a simulated exchange's states, however the states are kept."""
    if name in arrays:
        return arrays[name][node]
    return arrays[name.replace("state", f"state.{node}", 1)]


def check(ranks, text, steps=3, seed=0, two_phase=False, shapes=SHAPES):
    """Compare means, states and what was sent with the simulation."""
    means, states, traffic = simulated(text, ranks.size, steps, shapes, seed, two_phase)
    results = ranks.call(rank_cases.exchanged, text, steps, shapes, seed, two_phase)
    for rank, (there, state, sent) in enumerate(results):
        for here, mean in zip(means, there, strict=True):
            assert np.array_equal(here.view(np.uint32), mean.view(np.uint32))
        for name, array in state.items():
            if array.size == 0:  # of a shard without coordinates
                continue
            here = shard_state(states, rank, name) if two_phase else node_state(states, rank, name)
            assert np.array_equal(here, array), name
        assert sent == traffic


def shard_state(arrays, node, name):
    """Return one node's array of a simulated two-phase exchange: of what it sends up, or sends down."""
    _, direction, *rest = name.split(".")
    if direction == "up":
        owner, *rest = rest
        return arrays[".".join([owner, "up", "state", *rest])][node]
    return arrays[".".join([str(node), "down", "state", *rest])][0]


def every_method():
    """Return the text of every registered compressor at its defaults, alone or as it must be wrapped."""
    return [name for name, method in COMPRESSORS.methods().items() if not method.is_wrapper]


def test_every_algorithm_has_the_simulations_bits(two_ranks):
    """Nine steps with momentum: what is evaluated, on every rank."""

    def of_two(compressor, layout):
        return SimulatedExchange(compressor, 2, 7, layout)

    cases = rank_cases.algorithm_cases()
    results = two_ranks.call(rank_cases.algorithms_on_ranks, cases)
    for (name, text), *found in zip(cases, *results, strict=True):
        expected = rank_cases.run_algorithm(
            name,
            text,
            lambda compressor, layout: SimulatedExchange(compressor, 2, 7, layout),
            lambda rows: rows,
        )
        for rank, there in enumerate(found):
            assert np.array_equal(expected, there), (name, rank)


@pytest.mark.parametrize("text", SPECS)
def test_two_ranks_have_the_simulations_bits(two_ranks, text):
    """Means of three steps, each rank's residual, and the bits sent by all."""
    check(two_ranks, text)


@pytest.mark.parametrize("text", SPECS[-2:])
def test_four_ranks_have_the_simulations_bits(four_ranks, text):
    """Messages are added in the order of ranks, so that their number changes nothing."""
    check(four_ranks, text)


def test_every_method_has_the_simulations_bits(two_ranks):
    """At its defaults, whatever its payloads are: none is told of ranks."""
    for text in every_method():
        check(two_ranks, text, steps=2)


@pytest.mark.parametrize("text", ["ef(qsgd(bits=2,norm=max))", "ef(top-k(fraction=0.05))", "eden(bits=2)"])
def test_two_phases_have_the_simulations_bits(four_ranks, text):
    """Means, residuals of nodes and of owners, and what was sent both ways."""
    check(four_ranks, text, two_phase=True, shapes=LARGE_SHAPES)


def test_shards_may_be_empty(two_ranks):
    """A vector of one block has one owner."""
    check(two_ranks, "ef(qsgd(bits=2))", two_phase=True, shapes=((8, 5),))


@pytest.mark.parametrize("size", [0, 1, 7, 5000])
def test_sums_are_added_in_the_order_of_ranks(four_ranks, size):
    """As one process adds them, to the bit."""
    expected = rank_cases.numbers(0, size)
    for rank in range(1, 4):
        expected = expected + rank_cases.numbers(rank, size)
    sent = []
    for network in (None, (1.0, 0.0), (1e12, 1.0)):  # slow in bytes, and slow in messages
        found = four_ranks.call(rank_cases.added_up, size, network)
        assert all(np.array_equal(expected, total) for total, _ in found)
        sent.append(found[0][1])
    assert sent[0] == sent[1]
    assert sent[2] == 3 * 4 * size  # every vector to all


def test_measured_costs_are_rank_0s(four_ranks):
    """All ranks have the same latency and bandwidth, and what it took to measure them is not counted."""
    first, *others = four_ranks.call(rank_cases.measured)
    assert all(other == first for other in others)
    assert 0 < first[0] < 10
    assert 0 < first[1] < np.inf
    assert first[2] == 0


@pytest.mark.parametrize("lengths", [(0, 0), (0, 5), (7, 1), (300, 300)])
def test_bytes_of_any_length_arrive(two_ranks, lengths):
    """Empty ones too: gloo alone would end the process."""
    expected = [bytes((np.arange(n) * (rank + 1)).astype(np.uint8)) for rank, n in enumerate(lengths)]
    assert two_ranks.call(rank_cases.gathered, lengths) == [expected, expected]


def test_facts_that_differ_are_named_on_every_rank(two_ranks):
    """The fact, both values and both ranks; afterwards the group still works."""
    same = {"version": "1", "bits": 2}
    two_ranks.call(rank_cases.shaken, same)
    two_ranks.start(rank_cases.shaken, ByRank([same, {**same, "bits": 4}]))
    for ok, (kind, text, _) in two_ranks.outcomes():
        assert not ok
        assert kind == "UsageError"
        assert "ranks do not agree on bits: rank 0 has 2, rank 1 has 4" in text
    two_ranks.call(rank_cases.shaken, same)


@pytest.fixture
def pair(tmp_path):
    """Return a group of 2 processes that a test may spoil."""
    pool = Processes(tmp_path)
    yield Ranks(2, pool, timeout_s=5)
    for process in pool.processes:
        process.kill()
    pool.close()


def test_a_damaged_message_names_its_rank(pair):
    """Every rank refuses it, and says whose it was and at which step."""
    pair.start(rank_cases.damaged, 1)
    for ok, (kind, text, _) in pair.outcomes():
        assert not ok
        assert kind == "PeerError"
        assert text.startswith("the message of rank 1 at step 0 is damaged")


@pytest.mark.parametrize("how", ["ends", "hangs"])
def test_a_lost_rank_is_named_in_time(pair, how):
    """One line, at once where the process ended, and after the timeout where it hangs."""
    pair.call(rank_cases.make_lane, 5.0)
    pair.start(rank_cases.lost, 1, how)
    ok, (kind, text, _) = pair._receive(0)
    assert not ok
    assert kind == "PeerError"
    assert text.startswith("rank 1 of 2 ended or gave no answer in 5 s")
    assert "\n" not in text
    pair.pipes[0].send(("rank_cases", "seconds", []))
    assert pair._receive(0)[1] < 10


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("ends", "PeerError: rank 1 of 2 ended or gave no answer in 3 s"),
        ("hangs", "PeerError: rank 1 of 2 ended or gave no answer in 3 s"),
        ("damages", "PeerError: the message of rank 1 at step 0 is damaged"),
        ("raises", "a layer fails"),
    ],
)
def test_trouble_in_the_middle_of_a_step_ends_it(pair, how, said):
    """The backward pass of the other rank ends in time with one line, and so does the hook's thread."""
    pair.start(hook_cases.hook_in_trouble, 1, how, 3.0)
    ok, (taken, lines) = pair._receive(0)
    assert ok
    assert lines[-1].startswith(said)
    assert "\n" not in lines[-1]
    assert taken < 3 + 5
