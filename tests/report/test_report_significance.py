"""What a table claims of its cells: an independent oracle, and edge cases."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import naive_marks
import pytest
from fake_runs import record
from hypothesis import given
from hypothesis import strategies as st
from marked_runs import EXAMPLE, ROWS, bold_of, cells_of, example, group_of, methods_of, rounded, runs

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.analysis.statistics import SIGNIFICANCE_LEVEL
from qsgd_lab.runs.record import RunRecord

DIGIT = 100 / 360


@st.composite
def tables(draw: st.DrawFn) -> naive_marks.Table:
    """Draw up to four rows at up to three N with five to seven seeds, holes, ties and diverged runs."""
    spread = draw(st.sampled_from([0, 1, 3, 40]))
    names = draw(st.lists(st.sampled_from(list(ROWS)), min_size=1, max_size=4, unique=True))
    places = draw(st.lists(st.sampled_from([1, 2, 8]), min_size=1, max_size=3, unique=True))
    table: naive_marks.Table = {}
    for name in names:
        for nodes in sorted(places):
            count = draw(st.sampled_from([0, 4, 5, 6, 7, 7, 7, 7]))
            level = draw(st.sampled_from([90.0, 90.0, 90.2, 93.0]))
            cell = {
                seed: (
                    level + draw(st.integers(-spread, spread)) / 10,
                    draw(st.integers(0, 60)) == 0,
                )
                for seed in range(count)
            }
            table.setdefault(name, {})[nodes] = cell
    return table


def records_of(table: naive_marks.Table, **fields: Any) -> list[RunRecord]:
    """Return a table's runs."""
    return [
        record(
            **{"dataset": "digits", **ROWS[name], **fields},
            nodes=nodes,
            seed=seed,
            accuracy=accuracy / 100,
            status="diverged" if has_diverged else "done",
        )
        for name, cells in table.items()
        for nodes, cell in cells.items()
        for seed, (accuracy, has_diverged) in cell.items()
    ]


@given(tables(), st.sampled_from([0.1, 0.5, 2.0]))
def test_every_verdict_is_the_oracles(table: naive_marks.Table, margin: float) -> None:
    """p-values, intervals, claims, bold and means over N are those of their definitions by scipy."""
    records = records_of(table)
    groups = group_records(records, {"demo": margin})
    if not groups:
        return
    (group,) = groups
    judged = naive_marks.against_fp32(table, margin, DIGIT)
    family = sum("p_different" in found for found in judged.values())
    cells = cells_of(group)
    for place, cell in cells.items():
        _check_cell(cell, judged.get(place), family)
    bold = {(name, nodes) for nodes in group.nodes for name in naive_marks.bold(table, nodes, margin, DIGIT)}
    assert bold_of(group) == bold
    means = naive_marks.means_over_nodes(table, margin, DIGIT)
    found = {name: m.mean_over_nodes for name, m in methods_of(group).items() if m.mean_over_nodes}
    assert found.keys() == means.keys()
    for name, mean in found.items():
        _check_contrast(mean, means[name], len(means))
        assert mean.claim == naive_marks.claim(means[name])


def _check_cell(cell: Cell, expected: Mapping[str, Any] | None, family: int) -> None:
    verdict = cell.verdict
    if expected is None:
        assert not verdict.is_tested
        assert verdict.p_divergence is None
    elif "p_divergence" in expected:
        assert verdict.p_divergence == pytest.approx(expected["p_divergence"])
        assert verdict.p_divergence_holm == pytest.approx(expected["p_divergence_holm"])
        assert not verdict.is_tested
    else:
        _check_contrast(verdict, expected, family)
        assert verdict.claim == naive_marks.claim(dict(expected))


def _check_contrast(contrast: Any, expected: Mapping[str, Any], family: int) -> None:
    comparison = contrast.comparison
    for name in ("difference", "error", "p_different", "p_worse", "p_not_equivalent", "p_not_near"):
        assert getattr(comparison, name) == pytest.approx(expected[name], rel=1e-6, abs=1e-9)
    for name in ("p_different_holm", "p_not_equivalent_holm"):
        assert getattr(contrast, name) == pytest.approx(expected[name], rel=1e-6, abs=1e-9)
    width = naive_marks.half_width(expected["error"], expected["n"], family)
    assert contrast.half_width == pytest.approx(width, rel=1e-6)


@given(tables(), st.randoms(use_true_random=False))
def test_order_changes_nothing(table: naive_marks.Table, generator: random.Random) -> None:
    """Shuffled runs, and so rows and seeds, give the same verdicts."""
    records = records_of(table)
    shuffled = generator.sample(records, len(records))

    assert group_records(shuffled) == group_records(records)


def test_a_method_that_always_diverges_changes_no_other() -> None:
    """A row of diverged runs changes no bold, no t test, no mean over N, and is counted by Fisher's test."""
    rest = [*example("fp32", "A", "B"), *example("fp32", "A", "B", nodes=2)]
    broken = [run for nodes in (1, 2) for run in runs("D", [None] * 5, nodes=nodes)]
    without, beside = group_of(rest), group_of(rest, broken)

    assert bold_of(beside) == bold_of(without) == {(n, nodes) for n in ("fp32", "A") for nodes in (1, 2)}
    assert {p: c.verdict for p, c in cells_of(beside).items() if p[0] != "D"} == {
        p: c.verdict for p, c in cells_of(without).items()
    }
    verdict = cells_of(beside)["D", 1].verdict
    assert (verdict.test, verdict.claim, verdict.comparison) == ("divergence", "fails", None)
    assert rounded([verdict.p_divergence, verdict.p_divergence_holm]) == [0.007937, 0.015873]
    assert methods_of(beside)["A"].mean_over_nodes == methods_of(without)["A"].mean_over_nodes
    assert methods_of(beside)["D"].mean_over_nodes is None


def test_one_diverged_run_takes_the_cell_out() -> None:
    """A cell with one diverged run of five is in no t test, never bold, and not shown to fail."""
    group = group_of(example("fp32", "A"), runs("B", (None, *EXAMPLE["B"][1:])))
    verdict = cells_of(group)["B", 1].verdict

    assert (verdict.test, verdict.claim, verdict.ranking, verdict.is_bold) == (
        "divergence",
        None,
        "diverged",
        False,
    )
    assert bold_of(group) == {("fp32", 1), ("A", 1)}
    assert cells_of(group)["A", 1].verdict.p_different_holm == 1.0


def test_fp32_diverged_in_part() -> None:
    """Where a run of fp32 diverged its N has counts only; bold is given among the rest."""
    group = group_of(runs("fp32", (None, *EXAMPLE["fp32"][1:])), example("A", "B"))
    cells = cells_of(group)

    assert [cells[name, 1].verdict.test for name in "AB"] == ["divergence"] * 2
    assert [cells[name, 1].verdict.p_divergence for name in "AB"] == [1.0, 1.0]
    assert bold_of(group) == {("A", 1)}


def test_fp32_that_fails_is_no_claim_of_a_cell() -> None:
    """Where fp32 diverges always and a method never, it diverges less often, which is not a claim."""
    verdict = cells_of(group_of(runs("fp32", [None] * 5), example("A")))["A", 1].verdict

    assert (verdict.claim, verdict.diverges_otherwise, verdict.fails_more) == (None, True, -1)


def test_everything_diverged() -> None:
    """Where every run of every row diverged there is no test of accuracy, no mean, no bold."""
    group = group_of(*(runs(name, [None] * 5, nodes=n) for name in ("fp32", "A") for n in (1, 2)))

    assert {c.verdict.test for p, c in cells_of(group).items() if p[0] == "A"} == {"divergence"}
    assert {c.verdict.claim for c in cells_of(group).values()} == {None}
    assert bold_of(group) == set()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_seeds_claim_nothing(count: int) -> None:
    """Below five seeds nothing is tested or bold, however large the difference; it is still given."""
    group = group_of(runs("fp32", [99.0] * count), runs("A", [50.0] * count), runs("B", [None] * count))
    cells = cells_of(group)

    assert cells["A", 1].verdict.test == "too few seeds"
    assert cells["A", 1].verdict.difference == -49.0
    assert cells["B", 1].verdict.p_divergence is None
    assert {cell.verdict.claim for cell in cells.values()} == {None}
    assert bold_of(group) == set()


def test_too_few_common_seeds() -> None:
    """A cell with five seeds, of which four are fp32's, is not tested, and leaves its N without bold."""
    moved = [record(dataset="cifar10", bits=4, seed=seed, accuracy=0.91) for seed in range(1, 6)]
    group = group_of(example("fp32", "A"), moved)
    cells = cells_of(group)

    assert (cells["B", 1].verdict.test, cells["B", 1].verdict.ranking) == ("too few seeds", "too few seeds")
    assert cells["A", 1].verdict.claim == "equivalent"
    assert bold_of(group) == set()


def test_identical_methods() -> None:
    """Equal accuracies in every seed are within the margin where the step is known, and else not tested."""
    same = [90.0, 91.0, 92.0, 93.0, 94.0]
    known = cells_of(group_of(runs("fp32", same, dataset="digits"), runs("A", same, dataset="digits")))
    unknown = group_of(runs("fp32", same, dataset="else"), runs("A", same, dataset="else"))
    verdict = known["A", 1].verdict
    assert verdict.comparison is not None

    assert rounded([verdict.comparison.p_different, verdict.comparison.p_not_equivalent]) == [1.0, 0.000297]
    assert (verdict.claim, verdict.is_bold, known["fp32", 1].verdict.is_bold) == ("equivalent", True, True)
    assert cells_of(unknown)["A", 1].verdict.test == "no variance"
    assert cells_of(unknown)["A", 1].verdict.ranking == "no variance"
    assert bold_of(unknown) == set()


def test_a_record_may_say_how_many_test_images_there_were() -> None:
    """The step comes from the records where these say it, so that a data set from outside is tested, too."""
    same = [90.0] * 5
    records = [*runs("fp32", same, dataset="else"), *runs("A", same, dataset="else")]
    for run in records:
        run.result["num_test"] = 360

    assert cells_of(group_of(records))["A", 1].verdict.claim == "equivalent"


def test_fp32_alone_and_one_method_alone() -> None:
    """A single row has nothing to be compared with: no test, no bold, and no mean over N."""
    for name in ("fp32", "A"):
        (cell,) = cells_of(group_of(example(name))).values()
        assert (cell.verdict.ranking, cell.verdict.is_bold, cell.verdict.claim) == ("alone", False, None)


def test_a_p_value_at_the_level_claims() -> None:
    """Holm rejects where the adjusted p is at most 0.05, so that exactly 0.05 is a claim."""
    verdict = cells_of(group_of(example("fp32", "A")))["A", 1].verdict
    edge = type(verdict)(
        test="paired",
        comparison=verdict.comparison,
        p_different_holm=1.0,
        p_not_equivalent_holm=SIGNIFICANCE_LEVEL,
    )

    assert edge.claim == "equivalent"


def test_a_mean_over_n_takes_every_n() -> None:
    """A method that lacks an N, has a diverged run, or too few seeds common to all N has no mean over N."""
    base = [*example("fp32"), *example("fp32", nodes=2)]
    lacking = methods_of(group_of(base, example("A")))["A"]
    diverged = methods_of(group_of(base, example("A"), runs("A", [None, *[91.0] * 4], nodes=2)))["A"]
    short = methods_of(group_of(base, example("A"), runs("A", EXAMPLE["A"][:4], nodes=2)))["A"]
    whole = methods_of(group_of(base, example("A"), example("A", nodes=2)))["A"]

    assert [m.mean_over_nodes for m in (lacking, diverged, short)] == [None] * 3
    assert whole.mean_over_nodes is not None


def test_the_family_is_the_whole_table() -> None:
    """The same cell needs a smaller p where more cells of the table are tested."""
    near_edge = (90.4, 90.1, 90.0, 90.6, 90.2)
    alone = [*example("fp32"), *runs("A", near_edge)]
    crowd = [run for nodes in range(2, 42) for run in example("fp32", "A", nodes=nodes)]
    by_itself = cells_of(group_of(alone))["A", 1].verdict
    in_crowd = cells_of(group_of(alone, crowd))["A", 1].verdict

    assert by_itself.comparison == in_crowd.comparison
    assert by_itself.claim == "worse"
    assert in_crowd.claim is None
