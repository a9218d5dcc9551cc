"""Scores of the benchmark: relative to float32, honest about bits, divergence, ties and what is missing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from suite_entries import SUITE, cell, entry, metrics, reference

from qsgd_lab.suite.definition import suite_of
from qsgd_lab.suite.result_file import Audit, Entry
from qsgd_lab.suite.score import Board, lattice_residual

ALL = {"curved": 1.0, "kinked": 1.0, "softmax": 1.0}


def ratios(board, name, rung="32x"):
    """Return the ratio to float32 on each scored task."""
    return [board.scored(name, task, rung).ratio for task in SUITE.scored]


def test_a_placebo_ties():
    """An entry with the reference's values has ratio 1, score 1, and ties with a copy of itself."""
    board = Board(SUITE, [reference(), entry("one", ALL), entry("two", ALL)])

    assert ratios(board, "one") == pytest.approx([1, 1, 1])
    assert board.score("one", "32x") == board.score("two", "32x") == pytest.approx(1)
    for task in SUITE.scored:
        assert board.tied_with_best(task, "32x") == {"one", "two"}


def test_scores_do_not_depend_on_other_entries():
    """Adding an entry changes no ratio, score, order or R* of the others."""
    some = [reference(), entry("good", ALL), entry("bad", dict.fromkeys(ALL, 3.0))]
    before = Board(SUITE, some)
    after = Board(SUITE, [*some, entry("best", dict.fromkeys(ALL, 0.5))])

    for name in ("good", "bad"):
        assert before.score(name, "32x") == after.score(name, "32x")
        assert ratios(before, name) == ratios(after, name)
    assert [n for n in after.order("32x") if n != "best"] == before.order("32x")


def test_the_score_is_a_logarithm_between_1_and_the_cap():
    """Ratio 4 of a cap of 16 is 1/2; below 1 no score is above 1, and beyond the cap none below 0."""
    values = {"curved": 4.0, "kinked": 0.2, "softmax": 100.0}
    board = Board(SUITE, [reference(), entry("mine", values)])
    scores = [board.scored("mine", task, "32x").score for task in SUITE.scored]

    assert scores == pytest.approx([0.5, 1.0, 0.0], abs=1e-3)
    assert board.score("mine", "32x") == pytest.approx(0.5, abs=1e-3)
    assert board.leave_one_out("mine", "32x") == pytest.approx((0.25, 0.75), abs=1e-3)
    assert board.profile("mine", "32x", [1, 4.01, 99]) == pytest.approx([1 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize(("sent", "is_void"), [(1.0, False), (1.0199, False), (1.0201, True)])
def test_realised_bits_are_held_to_the_rung(sent, is_void):
    """Beyond 2 % more bits than the rung a cell is void: score 0, and it is not among the best."""
    board = Board(
        SUITE, [reference(), entry("mine", ALL, sent=sent), entry("other", dict.fromkeys(ALL, 2.0))]
    )
    scored = board.scored("mine", SUITE.task("curved"), "32x")

    assert scored.is_void is is_void
    assert (scored.score == 0) is is_void
    assert ("mine" in board.tied_with_best(SUITE.task("curved"), "32x")) is not is_void


def test_a_missing_task_scores_0_and_a_missing_rung_nothing():
    """A task without a result counts as 0; a rung that was not entered has no score."""
    board = Board(SUITE, [reference(), entry("part", {"curved": 1.0})])

    assert board.score("part", "32x") == pytest.approx(1 / 3)
    assert board.score("part", "8x") is None


def test_divergence_is_counted():
    """A seed that diverged counts as the cap, and the cell is no tie of a finite one."""
    diverged = cell("curved", "32x", [*metrics(1.0)[:7], math.inf])
    mine = Entry("mine", "mine", "baseline", {("curved", "32x"): diverged})
    board = Board(SUITE, [reference(), mine, entry("other", ALL)])
    task = SUITE.task("curved")

    assert board.scored("mine", task, "32x").diverged == 1
    assert 0 < board.scored("mine", task, "32x").score < 1
    assert board.tied_with_best(task, "32x") == {"other"}


def ladder(*ratios_at):
    """Return an entry with these ratios on `curved` at 8x, 32x and 64x."""
    cells = [
        cell("curved", rung, metrics(ratio)) for rung, ratio in zip(SUITE.rungs, ratios_at, strict=False)
    ]
    return Entry("mine", "mine", "baseline", {(each.task, each.rung): each for each in cells})


def test_lossless_compression_is_interpolated():
    """R* is where the bound of the ratio crosses the margin, in logarithms; beyond the rungs it says so."""
    task = SUITE.task("curved")

    def star(*ratios_at):
        return Board(SUITE, [reference(), ladder(*ratios_at)]).loss_free("mine", task)

    assert star(1.0, 1.0, 1.0) == (64, ">")
    assert star(2.0, 3.0, 4.0) == (8, "<")
    # Seeds are paired, and all have the same ratio: the bound is the ratio itself.
    share = math.log(1.25) / math.log(2)
    assert star(1.0, 2.0, 4.0)[0] == pytest.approx(8 * 4**share)


def test_the_lattice_residual_is_the_gain_of_a_parabola():
    """exp(c/8) for a log loss of second difference c, whose optimum is at most half a step away."""
    tried = ((2**-0.5, math.e), (1.0, 1.0), (2**0.5, math.e))

    assert lattice_residual(cell("curved", "32x", metrics(1), tried=tried)) == pytest.approx(math.exp(2 / 8))
    assert lattice_residual(cell("curved", "32x", metrics(1), tried=((1.0, 1.0),))) == 1.0


def test_better_needs_more_than_the_lattice():
    """A difference that seeds separate, but that the lattice of rates could explain, is a tie."""
    board = Board(SUITE, [reference(), entry("one", ALL), entry("near", dict.fromkeys(ALL, 1.03))])
    flat = ((0.5, 1.001), (1.0, 1.0), (2.0, 1.001))
    sure = Board(
        SUITE,
        [reference(), entry("one", ALL, tried=flat), entry("near", dict.fromkeys(ALL, 1.03), tried=flat)],
    )
    task = SUITE.task("curved")

    assert board.tied_with_best(task, "32x") == {"one", "near"}
    assert sure.tied_with_best(task, "32x") == {"one"}


def test_ranks_and_seconds():
    """Orders by other units are by cost, and modelled seconds grow where a link is slower."""
    few = entry("few", dict.fromkeys(ALL, 2.0), sent=0.1)
    few = replace(few, cells={place: replace(each, rounds=16) for place, each in few.cells.items()})
    board = Board(SUITE, [reference(), entry("good", ALL), few])

    assert board.order("32x") == ["fp32", "good", "few"]
    assert board.order("32x", "rounds") == ["fp32", "few", "good"]
    times = [board.cost("good", "32x", f"seconds@{link}") for link in SUITE.links]
    assert times == sorted(times, reverse=True)


def test_the_second_rank_is_at_equal_bits_up_and_down():
    """A gather at 32x receives 7 times its bits; a sum may take its 8x cell for as many, and wins with it."""
    gathers = entry("gathers", dict.fromkeys(ALL, 1.5))
    gathers = replace(
        gathers,
        cells={k: replace(c, received=7 * c.sent, aggregates="gathers") for k, c in gathers.cells.items()},
    )
    tight, loose = entry("sums", dict.fromkeys(ALL, 2.0)), entry("sums", ALL, "8x")
    loose = {k: replace(c, received=c.sent) for k, c in loose.cells.items()}
    board = Board(SUITE, [reference(), gathers, replace(tight, cells={**tight.cells, **loose})])
    task = SUITE.task("curved")

    assert board.order("32x") == ["fp32", "gathers", "sums"]
    assert board.order("32x", "received") == ["fp32", "sums", "gathers"]
    assert [board.place(name, "32x") for name in ("fp32", "gathers", "sums")] == [None, 1, 2]
    assert [board.place(name, "32x", "received") for name in ("gathers", "sums")] == [2, 1]
    assert board.at_equal_total("sums", task, "32x").cell.rung == "8x"
    # At 64x as many bits are half of it: the gather's cell at 32x no longer fits, the sum's does.
    assert board.at_equal_total("gathers", task, "deep") is None
    assert board.at_equal_total("sums", task, "deep").cell.rung == "32x"


def test_peeking_at_test_seeds_gains_nothing():
    """Where verification seeds contradict the public ones they count, at every rung; they never improve."""
    clean = entry("clean", dict.fromkeys(ALL, 4.0))
    row = {"task": "curved", "rung": "32x", "metric": 4.0, "within": False}
    peeked = replace(entry("peeked", dict.fromkeys(ALL, 0.5)), audit=Audit(verification=(row,)))
    lucky = replace(clean, name="lucky", audit=Audit(verification=({**row, "metric": 0.1},)))
    board = Board(SUITE, [reference(), clean, peeked, lucky])
    task = SUITE.task("curved")

    assert board.scored("peeked", task, "32x").ratio == pytest.approx(4.0, rel=1e-3)
    assert board.scored("peeked", SUITE.task("kinked"), "32x").ratio == pytest.approx(0.5, rel=1e-3)
    assert board.scored("lucky", task, "32x").ratio == board.scored("clean", task, "32x").ratio


def test_learning_the_data_by_heart_gains_nothing():
    """Where the score on held-out data is far lower, that ratio counts; where it diverged, nothing does."""
    row = {"task": "curved", "rung": "32x", "metric": 0.5, "within": True, "held_out_within": False}
    learnt = replace(
        entry("learnt", dict.fromkeys(ALL, 0.5)), audit=Audit(verification=({**row, "held_out_ratio": 5.0},))
    )
    lost = replace(learnt, name="lost", audit=Audit(verification=({**row, "held_out_ratio": None},)))
    board = Board(SUITE, [reference(), learnt, lost])

    assert board.scored("learnt", SUITE.task("curved"), "32x").ratio == pytest.approx(5.0)
    assert board.scored("lost", SUITE.task("curved"), "32x").score == 0


def test_the_digest_is_of_the_content():
    """The order of names changes no digest; a number changes it."""
    document = {
        **{"name": "x", "version": 1, "nodes": 8, "slack": 1.0, "rungs": [], "quick": {"rungs": []}},
        **{"search": {"stages": [4.0], "first": [1.0]}},
        **{"network_search": {"stages": [4.0], "first": [1.0]}},
        **{"tasks": [], "cap": 16.0, "level": 0.05, "mandatory": [], "links": []},
    }
    turned = dict(reversed(document.items()))

    assert suite_of(document).digest == suite_of(turned).digest
    assert suite_of({**document, "slack": 1.01}).digest != suite_of(document).digest
