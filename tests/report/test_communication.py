"""What communication costs: volumes against rings played out, step times, and where quantization pays."""

from __future__ import annotations

import dataclasses
import doctest
import math
from types import ModuleType

import checkout
import naive_network
import pytest
from fake_runs import record
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from qsgd_lab.cli.options import quantities
from qsgd_lab.report.analysis.communication import (
    Exchange,
    Link,
    NodeWork,
    compute_seconds,
    exchange_of,
    mean_bits,
    modelled_step,
    node_work,
    pays_between,
    speed_up,
)
from qsgd_lab.report.tables import units
from qsgd_lab.report.tables.units import format_bandwidth, format_bytes, format_pays, format_seconds
from qsgd_lab.runs.record import RunRecord

FP32 = {"bits": 32, "rounding": None, "error_feedback": False}

exchanges = st.builds(
    Exchange,
    nodes=st.integers(1, 64),
    num_parameters=st.integers(1, 10**8),
    code=st.just("fixed"),
    bits_per_coordinate=st.floats(0.1, 40),
)
works = st.builds(NodeWork, *[st.floats(0, 1)] * 3)
latencies = st.sampled_from([0.0, 1e-6, 5e-5, 1e-2])


def timed(timing: dict[str, float], **changes: object) -> RunRecord:
    """Return a record of 8 epochs of 39 steps with this timing."""
    return dataclasses.replace(record(**changes), timing={"total_s": 1.0, **timing})  # type: ignore[arg-type]


def test_local_steps_are_spread_over_the_steps() -> None:
    """A run that exchanged in every eighth step sends, moves and takes an eighth of a synchronous one."""
    every = record(nodes=4, **FP32)
    local = record(nodes=4, algorithm="local-sgd", **FP32)
    steps, n = every.result["steps"], every.result["num_parameters"]
    found = {}
    for name, run, rounds in (("every", every, steps), ("local", local, steps / 8)):
        result = {**run.result, "coordinates_sent": 4 * n * rounds}
        found[name] = exchange_of([dataclasses.replace(run, result=result)])  # type: ignore[arg-type]
    one, eighth = found["every"], found["local"]

    assert one is not None and eighth is not None
    assert eighth.message_bytes == one.message_bytes / 8
    assert eighth.moved_bytes == one.moved_bytes / 8
    assert eighth.seconds(Link(1e8, 1e-4)) == pytest.approx(one.seconds(Link(1e8, 1e-4)) / 8, rel=1e-12)
    assert pays_between(dataclasses.replace(eighth, code="fixed"), NodeWork(1.0)) is None


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 8])
def test_fp32_moves_what_a_ring_all_reduce_sends(nodes: int) -> None:
    """Each node of a ring that ends with the sum everywhere has sent as many bytes as the exchange says."""
    n = 24
    sent, held = naive_network.ring_allreduce(nodes, n)

    assert held == [[nodes * (nodes + 1) // 2] * n] * nodes
    assert sent == [Exchange(nodes, n, "fp32", 32.0).moved_bytes] * nodes


@pytest.mark.parametrize("nodes", [1, 2, 3, 8])
def test_codes_move_what_a_ring_all_gather_sends(nodes: int) -> None:
    """Each node of a ring that ends with all messages everywhere has sent what the exchange says."""
    exchange = Exchange(nodes, 1000, "gamma", 1.6)
    sent, known = naive_network.ring_allgather([200] * nodes)

    assert exchange.message_bytes == 200
    assert known == [set(range(nodes))] * nodes
    assert sent == [exchange.moved_bytes] * nodes


def test_a_step_by_hand() -> None:
    """8 nodes, a million coordinates, 4 bits, 1 Gbit/s: 3.5 MB gathered against 7 MB reduced."""
    exchange, work = Exchange(8, 10**6, "fixed", 4.0), NodeWork(0.020, 0.003, 0.001)
    slow = Link(bandwidth=1.25e8, latency=1e-4)
    step = modelled_step(exchange, work, slow)

    assert step.network == pytest.approx(7e-4 + 3.5e6 / 1.25e8)
    assert step.total == pytest.approx(0.024 + 7e-4 + 0.028)
    assert speed_up(exchange, work, slow) == pytest.approx((0.020 + 14e-4 + 0.056) / 0.0527)
    assert pays_between(exchange, work) == pytest.approx((0.0, 3.5e6 / 0.004))


@given(exchanges, works, latencies)
def test_it_pays_inside_the_interval_and_nowhere_else(
    exchange: Exchange, work: NodeWork, latency: float
) -> None:
    """The closed form's interval is where a modelled step beats fp32's, at every bandwidth."""
    between = pays_between(exchange, work, latency)
    baseline = NodeWork(work.compute)
    for bandwidth in [10.0**power for power in range(2, 14)]:
        wire = Link(bandwidth, latency)
        mine = modelled_step(exchange, work, wire).total
        other = modelled_step(exchange.at_full_precision(), baseline, wire).total
        if mine != pytest.approx(other, rel=1e-9):
            is_inside = between is not None and between[0] < bandwidth < between[1]
            assert is_inside == (mine < other)


# Many exchanges pay always or never: they have no edge to look for.
@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(exchanges, works, latencies)
def test_the_break_even_is_where_halving_finds_it(exchange: Exchange, work: NodeWork, latency: float) -> None:
    """A finite edge of the interval is the bandwidth at which the saved bytes cost the added seconds."""
    between = pays_between(exchange, work, latency)
    edge = next((end for end in between or () if 1e2 < end < 1e14), None)
    assume(edge is not None)
    assert edge is not None

    def is_faster(bandwidth: float) -> bool:
        seconds = exchange.at_full_precision().seconds(Link(bandwidth, latency))
        return exchange.seconds(Link(bandwidth, latency)) + work.extra < seconds

    saved = abs(exchange.moved_bytes - exchange.at_full_precision().moved_bytes) / edge
    largest = max(exchange.seconds(Link(edge, latency)), work.extra)
    assume(saved > 1e-6 * largest)  # else rounding decides
    assert naive_network.crossing(is_faster, edge / 10, edge * 10) == pytest.approx(edge, rel=1e-4)


def test_always_never_above() -> None:
    """Free quantization always pays below 64 / N bits, never above; latency makes fast links pay."""
    free = NodeWork(0.01)

    assert pays_between(Exchange(8, 1000, "gamma", 7.9), free) == (0.0, math.inf)
    assert pays_between(Exchange(8, 1000, "gamma", 8.0), free) is None
    assert pays_between(Exchange(1, 1000, "gamma", 1.0), NodeWork(0.01, 0.001)) is None
    assert pays_between(Exchange(8, 1000, "fp32", 32.0), free) is None
    low, high = pays_between(Exchange(8, 1000, "gamma", 9.0), free, latency=1e-3) or (0.0, 0.0)
    assert low == pytest.approx((7 * 1125 - 7000) / 7e-3)
    assert high == math.inf


def test_a_node_does_its_share() -> None:
    """Compute and quantizing are divided by N, coding is one message out and N - 1 in; all are medians."""
    steps = 39 * 8
    runs = [
        timed(
            {
                "compute_s": 4.0 * steps * (1 + seed),
                "quantize_s": 0.1 * steps,
                "encode_message_s": 0.01,
                "decode_message_s": 0.02,
            },
            nodes=4,
            seed=seed,
        )
        for seed in (0, 1, 9)
    ]

    assert compute_seconds(runs) == pytest.approx(2.0)
    work = node_work(runs)
    assert work == NodeWork(pytest.approx(2.0), pytest.approx(0.025), pytest.approx(0.01 + 3 * 0.02))
    assert node_work(runs, compute=0.5) == dataclasses.replace(work, compute=0.5)


def test_unmeasured_coding_leaves_quantizing_undivided() -> None:
    """Without times of a message, the time to quantize for N nodes is also that of adding up N."""
    run = timed({"compute_s": 312.0, "quantize_s": 31.2}, nodes=4)

    assert node_work([run]) == NodeWork(pytest.approx(0.25), pytest.approx(0.1))


def test_the_ring_adds_up_for_fp32() -> None:
    """A fp32 node has no work but its forward and backward pass, whatever averaging took."""
    run = timed({"compute_s": 312.0, "quantize_s": 99.0}, nodes=2, **FP32)

    assert node_work([run]) == NodeWork(0.5)


@pytest.mark.parametrize(
    "runs",
    [[], [record()], [timed({"compute_s": 1.0})], [timed({"quantize_s": 1.0})]],
    ids=["no runs", "untimed", "quantize not timed", "compute not timed"],
)
def test_what_was_not_timed_is_not_modelled(runs: list[RunRecord]) -> None:
    """Without times, or without steps, there is no work to model."""
    assert node_work(runs) is None


def test_a_run_without_steps_is_no_division_by_zero() -> None:
    """A run that diverged before its first step ended has no seconds a step."""
    run = timed({"compute_s": 1.0, "quantize_s": 1.0})
    run = dataclasses.replace(run, result={**run.result, "steps": 0})

    assert node_work([run]) is None
    assert compute_seconds([run]) is None


def test_whole_messages_are_what_is_sent() -> None:
    """Where whole messages were measured they count, frames and all, unless a code is named."""
    run = record(bits_per_coordinate={"auto": 1.5, "fixed": 3.0, "message": 1.6})

    assert exchange_of([run]) == Exchange(1, 1000, "message", 1.6)
    assert exchange_of([run], "auto") == Exchange(1, 1000, "auto", 1.5)


def test_the_shortest_code_is_taken() -> None:
    """Without a code the shortest mean counts, fixed width among them; what was not measured is None."""
    runs = [
        record(seed=0, bits_per_coordinate={"fixed": 3.0, "gamma": 2.0, "omega": 2.5}),
        record(seed=1, bits_per_coordinate={"fixed": 3.0, "gamma": 4.5, "omega": 2.9}),
    ]

    assert mean_bits(runs) == {"fixed": 3.0, "gamma": 3.25, "omega": pytest.approx(2.7)}
    assert exchange_of(runs) == Exchange(1, 1000, "omega", pytest.approx(2.7))
    assert exchange_of(runs, "fixed") == Exchange(1, 1000, "fixed", 3.0)
    assert exchange_of(runs, "delta") is None
    assert exchange_of([record(**FP32)], "delta") == Exchange(1, 1000, "fp32", 32.0)


def test_diverged_runs_do_not_flatter() -> None:
    """The short codes of a diverged run count only where all diverged."""
    good = record(seed=0, bits_per_coordinate={"gamma": 2.0})
    bad = record(seed=1, bits_per_coordinate={"gamma": 1.0}, status="diverged")

    assert mean_bits([good, bad]) == {"gamma": 2.0}
    assert mean_bits([bad]) == {"gamma": 1.0}
    assert mean_bits([]) == {}


@pytest.mark.parametrize("bits", [{}, {"gamma": 0.0}, {"gamma": 1e300}])
def test_no_exchange_of_nothing(bits: dict[str, float]) -> None:
    """What sends no bits, or claims more than any code takes, is not an exchange."""
    assert exchange_of([record(bits_per_coordinate=bits)]) is None


def test_units() -> None:
    """Three digits, the unit that leaves them before the point, and a carry into the next unit."""
    assert [format_bytes(x) for x in (0, 999.4, 999.6, 59_842, 3.988e8)] == [
        *("0 B", "999 B", "1 kB", "59.8 kB", "399 MB")
    ]
    assert format_bandwidth(6.25e6) == "50 Mbit/s"
    assert [format_seconds(x) for x in (2e-9, 1.5e-6, 0.0805, 12.0)] == ["2 ns", "1.5 µs", "80.5 ms", "12 s"]
    assert format_pays((1.25e8, math.inf)) == "above 1 Gbit/s"


def test_the_page_prints_its_numbers() -> None:
    """Every example of docs/communication.md gives the output that is written under it."""
    page = checkout.ROOT / "docs" / "communication.md"
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")

    assert result.attempted >= 8
    assert result.failed == 0


@pytest.mark.parametrize("module", [units, quantities])
def test_docstrings_print_their_numbers(module: ModuleType) -> None:
    """Every example in a docstring of the units and of the link options gives what is written under it."""
    result = doctest.testmod(module)

    assert result.attempted > 0
    assert result.failed == 0


def test_every_collective_by_hand() -> None:
    """Four nodes, a vector of 1000: bytes of a link, and rounds, of the collective that the run names."""
    bits = {"message": 4.0}
    two_phase = record(nodes=4, bits=2, bits_per_coordinate=bits, collective="two-phase")
    down = {"coordinates": 1000, "bits": 2.0}
    two_phase = dataclasses.replace(two_phase, result={**two_phase.result, "down": down})
    method = {"bits": None, "rounding": None, "error_feedback": False, "norm": None, "bucket_size": None}
    adding = record(nodes=4, bits_per_coordinate=bits, compressor="powersgd", **method)
    server = record(nodes=4, bits_per_coordinate=bits, algorithm="parameter-server")
    counted = dataclasses.replace(server, result={**server.result, "down": down})
    server_both = record(nodes=4, bits_per_coordinate=bits, algorithm="parameter-server(down=top-k)")
    expected = {
        "two-phase": (two_phase, 3 / 4 * (500 + 250), 6),
        "all-reduce": (adding, 3 / 4 * 2 * 500, 6),
        "parameter-server": (server, 4 * (500 + 4000), 2),
        "server, counted": (counted, 4 * (500 + 250), 2),
        "server both ways": (server_both, 4 * (500 + 500), 2),
    }
    for name, (run, moved, rounds) in expected.items():
        exchange = exchange_of([run])
        assert exchange is not None
        assert exchange.moved_bytes == pytest.approx(moved), name
        assert exchange.seconds(Link(1e6, 1e-3)) == pytest.approx(rounds * 1e-3 + moved / 1e6), name


def test_overlap_hides_the_network_behind_the_computing() -> None:
    """Half of 100 ms are overlapped: a network of 80 ms adds 30, and one of 40 ms nothing."""
    codes = Exchange(2, 80_000, "fixed", 8.0)
    for bandwidth, total in ((1e6, 0.13), (2e6, 0.1)):
        step = modelled_step(codes, NodeWork(0.1), Link(bandwidth), overlap=0.5)
        assert step.total == pytest.approx(total)
