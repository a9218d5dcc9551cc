"""Means, deviations, counts and measured bits of table cells."""

from __future__ import annotations

import math

import pytest
from fake_runs import record
from hypothesis import given
from hypothesis import strategies as st
from naive_report import deviation

from qsgd_lab.report.analysis.cells import Cell, cell_of, summarize
from qsgd_lab.report.analysis.communication import Traffic, traffic_of
from qsgd_lab.report.tables.entries import Entry, accuracy_entry, epochs_entry, rounded


def test_deviation_by_hand() -> None:
    """The deviation divides by n - 1: of 2, 4 and 9 it is sqrt((9 + 1 + 16) / 2)."""
    statistic = summarize([2.0, 4.0, 9.0])

    assert statistic is not None
    assert (statistic.mean, statistic.count) == (5.0, 3)
    assert statistic.deviation == math.sqrt(13.0)


def test_one_value_has_no_deviation() -> None:
    """One value has a mean and no deviation, and none has neither."""
    statistic = summarize([7.0])

    assert statistic is not None
    assert (statistic.mean, statistic.deviation) == (7.0, None)
    assert summarize([]) is None


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_statistic_matches_definition_in_any_order(values: list[float], random: object) -> None:
    """Mean and deviation follow the definition, and do not depend on the order at all."""
    statistic = summarize(values)
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert statistic is not None
    assert statistic.deviation == pytest.approx(deviation(values), abs=1e-5)
    assert summarize(shuffled) == statistic


def _cell(*runs: dict[str, object], seeds: tuple[int, ...] = (0, 1, 2)) -> Cell:
    return cell_of(1, [record(seed=seed, **run) for seed, run in enumerate(runs)], seeds)  # type: ignore[arg-type]


def test_cell_counts() -> None:
    """A cell knows its diverged runs, those that reached the target, and the seeds it lacks."""
    cell = _cell({"status": "diverged", "epochs_to_target": None}, {"epochs_to_target": 4})

    assert (cell.num_seeds, cell.num_diverged, cell.num_reached) == (2, 1, 1)
    assert cell.missing_seeds == (2,)
    assert not cell.all_diverged


def test_accuracy_is_a_percentage_over_all_seeds() -> None:
    """A diverged seed stays in the mean, and the dagger says so."""
    cell = _cell({"accuracy": 0.9}, {"accuracy": 0.8}, {"accuracy": 0.1, "status": "diverged"})

    assert accuracy_entry(cell) == Entry(mean="60.0", deviation="43.6", marks="†")


def test_words_of_accuracy() -> None:
    """A cell without runs is missing; one whose every run diverged is diverged; fewer seeds get a mark."""
    assert accuracy_entry(_cell()) == Entry(word="--")
    assert accuracy_entry(_cell(*[{"status": "diverged"}] * 3)) == Entry(word="div.")
    assert accuracy_entry(_cell({"accuracy": 0.5})) == Entry(mean="50.0", marks="‡")


def test_epochs_are_over_the_seeds_that_reached_the_target() -> None:
    """The mean leaves out the seeds that never reached it, and k/n says how many are in it."""
    some = _cell({"epochs_to_target": 3}, {"epochs_to_target": None}, {"epochs_to_target": 6})
    none = _cell(*[{"epochs_to_target": None}] * 3)
    all_of_them = _cell(*[{"epochs_to_target": 3}] * 3)

    assert epochs_entry(some, 1) == Entry(mean="4.5", deviation="2.1", reached="2/3")
    assert epochs_entry(none, 1) == Entry(word="--", reached="0/3")
    assert epochs_entry(all_of_them, 1) == Entry(mean="3.0", deviation="0.0")
    assert epochs_entry(_cell(), 1) == Entry(word="--")


def test_traffic_takes_the_shortest_code_of_the_mean() -> None:
    """The Elias code is the one that is shortest on average, not in some run."""
    runs = [
        record(seed=0, bits_per_coordinate={"fixed": 3.0, "gamma": 1.0, "omega": 2.0}),
        record(seed=1, bits_per_coordinate={"fixed": 3.5, "gamma": 4.0, "omega": 2.0}),
    ]

    assert traffic_of(runs) == Traffic(fixed=3.25, elias=2.0, elias_code="omega")
    assert traffic_of(runs).ratio == 16.0


def test_traffic_leaves_diverged_runs_out_where_it_can() -> None:
    """The zeros that a diverged run sends do not flatter a method that has finished runs."""
    finished = record(seed=0, bits_per_coordinate={"fixed": 3.0, "gamma": 2.0})
    diverged = record(seed=1, status="diverged", bits_per_coordinate={"fixed": 3.0, "gamma": 1.0})

    assert traffic_of([finished, diverged]).elias == 2.0
    assert traffic_of([diverged]).elias == 1.0


def test_ratio_uses_fixed_width_where_it_is_shorter() -> None:
    """The ratio is 32 over the fewer of fixed-width and Elias bits; fp32 has ratio 1."""
    assert Traffic(fixed=4.0, elias=5.0, elias_code="gamma").ratio == 8.0
    assert Traffic(fixed=None, elias=None, elias_code=None).ratio is None
    assert traffic_of([record(bits=32)]).ratio == 1.0


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (98.05, 1, "98.0"),
        (98.06, 1, "98.1"),
        (0.25, 1, "0.2"),
        (-0.01, 1, "0.0"),
        (100.0, 1, "100.0"),
        (4.0, 0, "4"),
    ],
)
def test_rounding(value: float, decimals: int, text: str) -> None:
    """Rounding is correct for the binary value (98.05 is below), half to even, without a negative zero."""
    assert rounded(value, decimals) == text
