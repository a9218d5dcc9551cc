"""The worked examples of marks to six digits: a noisy best, a beaten method, a mean over N, the demo."""

from __future__ import annotations

import checkout
import pytest
from marked_runs import LABELS, bold_of, cells_of, example, group_of, methods_of, rounded, runs

from qsgd_lab.runs.store import RunStore


def test_a_noisy_best_leaves_nobody_bold() -> None:
    """Example 6: B is 0.34 below fp32 in every seed, C may be far better, so that nobody is near the best."""
    group = group_of(example("fp32", "A", "B", "C"))
    found = {name: cell.verdict for (name, _), cell in cells_of(group).items()}
    tests = {name: found[name].comparison for name in "ABC"}

    assert [rounded([c.difference, c.error, c.p_different, c.p_worse]) for c in tests.values() if c] == [
        [0.0, 0.044721, 1.0, 0.5],
        [-0.34, 0.024495, 0.000156, 0.000078],
        [0.42, 0.545344, 0.484170, 0.757915],
    ]
    assert [rounded([c.p_not_equivalent, c.p_not_near]) for c in tests.values() if c] == [
        [0.000182, 0.000182],
        [0.001419, 0.001419],
        [0.445234, 0.083439],
    ]
    assert [
        rounded([found[n].p_different_holm, found[n].p_not_equivalent_holm, found[n].half_width])
        for n in "ABC"
    ] == [
        [1.0, 0.000547, 0.177132],
        [0.000469, 0.002838, 0.097019],
        [0.968340, 0.445234, 2.159991],
    ]
    assert [found[n].claim for n in ("fp32", "A", "B", "C")] == [None, "equivalent", "worse", None]
    assert [
        rounded([found[n].p_not_near, found[n].p_not_near_holm, found[n].p_beaten])
        for n in ("fp32", "A", "B", "C")
    ] == [
        [0.445234, 1.0, 0.726255],
        [0.447463, 1.0, 0.751754],
        [0.677979, 1.0, 0.000234],
        [0.090510, 0.362041, 1.0],
    ]
    assert bold_of(group) == set()
    blockers = [found[n].blocked_by for n in ("fp32", "A", "B")]
    assert [group.methods[row].label for row in blockers if row is not None] == [LABELS["C"]] * 3


def test_near_enough_but_beaten() -> None:
    """Example 7: without C fp32 and A are bold; B is near the best, but below it in each seed."""
    group = group_of(example("fp32", "A", "B"))
    found = {name: cell.verdict for (name, _), cell in cells_of(group).items()}

    assert [
        rounded([found[n].p_not_near, found[n].p_not_near_holm, found[n].p_beaten])
        for n in ("fp32", "A", "B")
    ] == [[0.000182, 0.000547, 1.0], [0.000182, 0.000547, 1.0], [0.028, 0.028, 0.000156]]
    assert [
        rounded([found[n].p_different_holm, found[n].p_not_equivalent_holm, found[n].half_width])
        for n in "AB"
    ] == [[1.0, 0.000364, 0.156319], [0.000312, 0.001419, 0.085620]]
    assert [found[n].claim for n in "AB"] == ["equivalent", "worse"]
    assert bold_of(group) == {("fp32", 1), ("A", 1)}


def test_two_methods_without_fp32() -> None:
    """Bold takes no fp32: of two methods one is shown to be near the other, and nothing is said of fp32."""
    group = group_of(example("A", "B"))

    assert bold_of(group) == {("A", 1)}
    assert {cell.verdict.test for cell in cells_of(group).values()} == {"no baseline"}
    assert all(method.mean_over_nodes is None for method in group.methods)


def test_mean_over_two_nodes() -> None:
    """Example 8: seed means -.20 -.05 -.05 -.15 -.05 have error sqrt(0.001) and t = -sqrt(10)."""
    at = {1: (-0.3, 0.1, -0.2, 0.0, -0.1), 8: (-0.1, -0.2, 0.1, -0.3, 0.0)}
    records = [
        run
        for nodes, differences in at.items()
        for name, values in (("fp32", [90.0] * 5), ("A", [90.0 + d for d in differences]))
        for run in runs(name, values, nodes=nodes)
    ]
    mean = methods_of(group_of(records))["A"].mean_over_nodes
    assert mean is not None
    assert mean.comparison is not None

    assert rounded([mean.difference, mean.comparison.error, mean.half_width]) == [-0.1, 0.031623, 0.087799]
    assert rounded([mean.comparison.p_different, mean.comparison.p_not_equivalent]) == [0.034109, 0.000112]
    assert mean.p_different_holm == mean.comparison.p_different
    assert mean.claim == "worse"
    assert mean.interval == pytest.approx((-0.187799, -0.012201), abs=1e-6)


def test_the_stored_demo() -> None:
    """Example 9: 22 cells are tested, 2 counted; the mean over N finds what no cell does; nothing is bold."""
    group = group_of(list(RunStore(checkout.ROOT / "paper" / "runs.jsonl").records()))
    cells, methods = cells_of(group), methods_of(group)
    verdicts = [cell.verdict for cell in cells.values()]
    by_hand = "2 bit, nearest"
    at_random = "2 bit, stochastic"

    assert [sum(v.test == test for v in verdicts) for test in ("paired", "divergence")] == [22, 2]
    assert bold_of(group) == set()
    assert {place: c.verdict.claim for place, c in cells.items() if c.verdict.claim} == {
        (at_random, 1): "fails"
    }
    fails, once = cells[at_random, 1].verdict, cells[at_random, 2].verdict
    assert rounded([fails.p_divergence, fails.p_divergence_holm]) == [0.007937, 0.015873]
    assert (once.p_divergence, once.p_divergence_holm) == (1.0, 1.0)
    nearest = cells[by_hand, 4].verdict
    assert rounded([nearest.p_different_holm, nearest.p_not_near, nearest.p_beaten, nearest.half_width]) == [
        0.196224,
        0.976983,
        0.028032,
        1.886880,
    ]
    late = cells[at_random, 8].verdict
    assert late.comparison is not None
    assert rounded([late.comparison.p_different, late.p_different_holm, late.p_beaten, late.half_width]) == [
        0.004796,
        0.105516,
        0.014389,
        1.564518,
    ]
    assert rounded([cells["fp32", 8].verdict.p_not_near, cells["fp32", 8].verdict.p_not_near_holm]) == [
        0.067674,
        0.473719,
    ]
    means = {name: methods[name].mean_over_nodes for name in ("A", "B", "C", by_hand, "D")}
    assert {
        name: rounded(
            [
                m.difference,
                m.comparison.error,
                m.comparison.p_different,
                m.comparison.p_not_equivalent,
                m.half_width,
            ]
        )
        for name, m in means.items()
        if m and m.comparison
    } == {
        "A": [-0.069444, 0.204832, 0.751637, 0.051710, 0.943065],
        "B": [-0.111111, 0.236111, 0.662449, 0.087446, 1.087078],
        "C": [0.055556, 0.266616, 0.845118, 0.085423, 1.227525],
        by_hand: [-2.194444, 0.181886, 0.000271, 0.999631, 0.837421],
        "D": [0.0, 0.128049, 1.0, 0.008736, 0.589551],
    }
    assert [means[name].claim for name in (by_hand, "D")] == ["worse", "equivalent"]  # type: ignore[union-attr]
    assert methods[at_random].mean_over_nodes is None
