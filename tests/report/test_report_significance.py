"""What a table claims of its cells (worse than fp32, as good, among the best) and what its legend says."""

from __future__ import annotations

import re

import pytest
from fake_runs import demo_records, record, sweeps
from hypothesis import given
from hypothesis import strategies as st
from naive_report import holm_rejections

from qsgd_lab.report import render
from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.grouping import Group, group_records
from qsgd_lab.report.analysis.statistics import MIN_SEEDS, SIGNIFICANCE_LEVEL
from qsgd_lab.runs.record import RunRecord

#: Accuracies of seeds 0 to 4 in percent; FP32 and what follows share what the seeds have in common.
FP32 = (93.1, 93.5, 93.2, 93.4, 93.3)
WORSE = (91.0, 91.6, 91.2, 91.3, 91.3)
ALIKE = (93.15, 93.45, 93.2, 93.45, 93.25)


def _runs(accuracies: tuple[float | None, ...], **fields: object) -> list[RunRecord]:
    return [
        record(seed=seed, accuracy=accuracy / 100, **fields)  # type: ignore[arg-type]
        for seed, accuracy in enumerate(accuracies)
        if accuracy is not None
    ]


def _cells(records: list[RunRecord]) -> dict[tuple[str, int], Cell]:
    (group,) = group_records(records)
    return {(method.label, cell.nodes): cell for method in group.methods for cell in method.cells}


QUANTIZED = "2 bit, stochastic + EF"
NEAREST = "2 bit, nearest"


def _three_methods(**fields: object) -> list[RunRecord]:
    return [
        *_runs(FP32, bits=32, **fields),
        *_runs(ALIKE, **fields),
        *_runs(WORSE, rounding="nearest", error_feedback=False, **fields),
    ]


def test_worse_and_equivalent() -> None:
    """Two points below in every seed is worse, a few hundredths are within 0.5 points; fp32 is neither."""
    cells = _cells(_three_methods())

    assert cells[NEAREST, 1].verdict.claim == "worse"
    assert cells[QUANTIZED, 1].verdict.claim == "equivalent"
    assert (cells["fp32", 1].verdict.test, cells["fp32", 1].verdict.claim) == ("baseline", None)


def test_better_is_said_too() -> None:
    """A method above fp32 in every seed is better."""
    cells = _cells([*_runs(WORSE, bits=32), *_runs(FP32)])

    assert cells[QUANTIZED, 1].verdict.claim == "better"


def test_best_and_what_is_not_worse() -> None:
    """The best of an N and what is not worse than it are bold, the rest is not."""
    cells = _cells(_three_methods())

    assert [cells[label, 1].verdict.is_among_best for label in ("fp32", QUANTIZED, NEAREST)] == [
        True,
        True,
        False,
    ]


def test_the_family_is_the_whole_table() -> None:
    """The same cell needs a smaller p where more cells of the table are tested."""
    near_edge = (92.9, 93.2, 92.8, 93.3, 93.05)
    alone = [*_runs(FP32, bits=32), *_runs(near_edge)]
    crowd = [run for nodes in range(2, 12) for run in _three_methods(nodes=nodes) if run.config.bits == 32]
    crowd += [run for nodes in range(2, 12) for run in _runs(ALIKE, nodes=nodes)]
    by_itself = _cells(alone)[QUANTIZED, 1].verdict
    in_crowd = _cells([*alone, *crowd])[QUANTIZED, 1].verdict

    assert by_itself.comparison == in_crowd.comparison
    assert by_itself.claim == "worse"
    assert in_crowd.claim != "worse"


def test_a_diverged_run_is_in_no_test() -> None:
    """One diverged seed of five takes its cell out of the tests, out of the family and out of the best."""
    diverged = [record(seed=0, accuracy=0.1, status="diverged"), *_runs((None, *ALIKE[1:]))]
    cells = _cells([*_runs(FP32, bits=32), *diverged, *_runs(ALIKE, nodes=2), *_runs(FP32, bits=32, nodes=2)])
    verdict = cells[QUANTIZED, 1].verdict

    assert (verdict.test, verdict.claim, verdict.is_among_best) == ("diverged", None, False)
    tested = cells[QUANTIZED, 2].verdict
    assert tested.comparison is not None
    assert tested.p_different_holm == tested.comparison.p_different


def test_a_diverged_baseline_tests_nothing() -> None:
    """Where a seed of fp32 diverged, there is nothing to compare with."""
    baseline = [record(bits=32, seed=0, accuracy=0.1, status="diverged"), *_runs((None, *FP32[1:]), bits=32)]

    assert _cells([*baseline, *_runs(ALIKE)])[QUANTIZED, 1].verdict.test == "diverged"


def test_no_baseline() -> None:
    """Without fp32 at an N, or at all, its cells are not tested; the best of the N is still found."""
    cells = _cells([*_runs(ALIKE), *_runs(WORSE, rounding="nearest")])

    assert {cell.verdict.test for cell in cells.values()} == {"no baseline"}
    assert cells[QUANTIZED, 1].verdict.is_among_best


def test_seeds_that_do_not_match() -> None:
    """Where fewer than three seeds are shared, Welch's test compares the samples, and the legend says so."""
    others = [record(seed=seed + 10, accuracy=accuracy / 100) for seed, accuracy in enumerate(WORSE)]
    records = [*_runs(FP32, bits=32), *others]

    assert _cells(records)[QUANTIZED, 1].verdict.test == "welch"
    assert "Welch tests where seeds differ" in " ".join(render(records, "text").split())


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_few_seeds_are_said_and_nothing_is_marked(num_seeds: int) -> None:
    """With one or two seeds the legend says that nothing is tested, and no cell has a mark or is bold."""
    records = [*_runs(FP32[:num_seeds], bits=32), *_runs(WORSE[:num_seeds])]
    text = " ".join(render(records, "text").split())

    assert "Fewer than 3 seeds in common with fp32: no difference is tested or marked." in text
    assert not re.search(r"[↓↑≈*]", text)


def test_no_variance_is_said() -> None:
    """A method equal to fp32 in every seed is not tested, since there is no variance, and is named."""
    text = " ".join(render([*_runs(FP32, bits=32), *_runs(FP32)], "text").split())

    assert f"The same difference from fp32 in every seed, so not tested: {QUANTIZED} at N=1." in text


def test_marks_of_every_format() -> None:
    """Bold and the marks stand in LaTeX, Markdown and text alike, beside the same cells."""
    records = _three_methods()
    latex, markdown, text = (render(records, name) for name in ("latex", "markdown", "text"))

    assert r"2 bit, stochastic + EF & \bfseries 93.3 +- 0.1 {\rlap{$^\approx$}}" in latex
    assert r"2 bit, nearest & 91.3 +- 0.2 {\rlap{$^\downarrow$}}" in latex
    assert "| 2 bit, stochastic + EF | **93.3 ± 0.1**≈ |" in markdown
    assert "| 2 bit, nearest | 91.3 ± 0.2↓ |" in markdown
    assert re.search(r"stochastic \+ EF +93.3 ± 0.1\*≈", text)
    assert re.search(r"nearest +91.3 ± 0.2↓", text)


def test_legend_names_what_was_done() -> None:
    """The legend has the test, the family's size, the level, the number of seeds and what they can show."""
    text = " ".join(render(_three_methods(), "text").split())

    assert (
        "↓ worse than fp32 of the same N (two-sided t tests paired by seed, Holm's level 0.05 over 2 cells)"
        in text
    )
    assert "≈ within 0.5 points of it" in text
    assert "*: the best of its N" in text


def test_few_seeds_see_little() -> None:
    """With three seeds and a table of tests, the legend says how large a difference must be to be found."""
    assert "With n = 3 the first mark takes a difference of" in " ".join(
        render(demo_records(), "text").split()
    )


@given(sweeps())
def test_claims_are_holms(records: list[RunRecord]) -> None:
    """In any sweep, what is claimed different is what Holm's procedure rejects among a group's tests."""
    for group in group_records(records):
        verdicts = [cell.verdict for method in group.methods for cell in method.cells]
        tested = [verdict for verdict in verdicts if verdict.is_tested]
        p_values = [verdict.comparison.p_different for verdict in tested if verdict.comparison]
        claims = [verdict.claim in ("worse", "better") for verdict in tested]

        assert claims == holm_rejections(p_values, SIGNIFICANCE_LEVEL)  # type: ignore[arg-type]
        assert all(verdict.claim is None for verdict in verdicts if not verdict.is_tested)


@given(sweeps(), st.randoms(use_true_random=False))
def test_best_is_among_the_best(records: list[RunRecord], random: object) -> None:
    """At each N with a choice, the highest mean is bold, and no cell with a diverged run or few seeds is."""
    random.shuffle(records)  # type: ignore[attr-defined]
    for group in group_records(records):
        for column in zip(*(method.cells for method in group.methods), strict=True):
            _check_best(group, column)


def _check_best(group: Group, column: tuple[Cell, ...]) -> None:
    fit = [cell for cell in column if cell.num_seeds >= MIN_SEEDS and not cell.num_diverged]
    best = [cell for cell in column if cell.verdict.is_among_best]

    assert all(cell in fit for cell in best)
    if len(fit) > 1:
        means = [cell.accuracy.mean for cell in fit if cell.accuracy]
        assert max(means) in [cell.accuracy.mean for cell in best if cell.accuracy]
    else:
        assert not best
