"""What the text says of the recurrent network, the real images and unlike nodes; see `claims`.

The complete cells of paper/evidence.jsonl decide, whatever the main comparison is made from. The text leaves
out a task that has none, and its sentences are then undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

from evidence import ALIKE_NODES, BRACKETS, FASHION, UNLIKE_NODES, cells, points_of_images, tasks
from paper_runs import FULL_PRECISION, PaperRuns
from verdict import Verdict, decide

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.statistics import SIGNIFICANCE_LEVEL
from qsgd_lab.report.tables.entries import difference_entry, rounded

#: What the text calls a task -> its data set and split.
TASKS = {
    "recurrent": (BRACKETS, ALIKE_NODES),
    "images": (FASHION, ALIKE_NODES),
    "unlike": (FASHION, UNLIKE_NODES),
}
WITH_FEEDBACK = tuple(f"{bits} bit, stochastic + EF" for bits in (8, 4, 2))
ONE_BIT = "1 bit, stochastic + EF"
NOISE, BIAS = "2 bit, stochastic", "2 bit, nearest"
MISSING = "--"
SEVERAL = ", several nodes"


def shown_tasks() -> list[str]:
    """Return the names of the tasks that have complete cells of quantizers.

    A task of which two-bit stochastic levels are there at several numbers of nodes has a second name, too.
    """
    groups = tasks()
    shown = [name for name, task in TASKS.items() if task in groups and len(groups[task].methods) > 1]
    return [*shown, *(f"{name}{SEVERAL}" for name in shown if len(cells(TASKS[name], NOISE)) > 1)]


def feedback_is_near(task: str, _: PaperRuns) -> Verdict:
    """Require that stochastic rounding with feedback, from two bits up, is shown to be near float32."""
    return decide(
        [
            (_is_near(cell), f"that is not shown of {label} at N = {cell.nodes}")
            for label in WITH_FEEDBACK
            for cell in cells(TASKS[task], label)
        ]
    )


def one_bit_loses(task: str, _: PaperRuns) -> Verdict:
    """Require that one-bit levels with feedback are shown to lose, or to diverge, in every cell."""
    return _loses(task, ONE_BIT)


def bias_loses(task: str, _: PaperRuns) -> Verdict:
    """Require that nearest rounding without feedback is shown to lose, or to diverge, in every cell.

    Of the images the text says less: or that some runs diverge.
    """
    return _loses(task, BIAS, or_some_diverge=task == "images")


def noise_loses(task: str, _: PaperRuns) -> Verdict:
    """Require that two-bit stochastic levels without feedback are shown to lose, or to diverge.

    Of the images, like nodes or not, the text says less: or that some runs diverge.
    """
    return _loses(task, NOISE, or_some_diverge=task != "recurrent")


def feedback_restores(task: str, _: PaperRuns) -> Verdict:
    """Require that with feedback nearest rounding loses less than half of what it loses without."""
    return decide(
        [(with_ > without / 2, f"not at N = {nodes}") for nodes, without, with_ in _differences(task)]
    )


def nodes_quiet_noise(task: str, _: PaperRuns) -> Verdict:
    """Require that two-bit stochastic levels come nearer to float32 from the fewest nodes to the most."""
    found = [d for cell in cells(TASKS[task], NOISE) if (d := cell.verdict.difference) is not None]
    return decide([(found[-1] > found[0], "they do not")] if len(found) > 1 else [])


def same_order(task: str, runs: PaperRuns) -> Verdict:
    """Require of methods that lose on both tasks that they are in the digits' order on the fewest nodes."""
    nodes = runs.group.nodes[0]
    here = {label: _loss(cells(TASKS[task], label), nodes) for label in (BIAS, f"{BIAS} + EF")}
    there = {label: runs.mean_accuracy(label, nodes) for label in here}
    if None in here.values() or None in there.values():
        return decide([])
    ordered = (here[BIAS] < here[f"{BIAS} + EF"]) == (there[BIAS] < there[f"{BIAS} + EF"])  # type: ignore[operator]
    return decide([(ordered, "it is another")])


def same_order_on_both(_: PaperRuns) -> Verdict:
    """Require at the most nodes of both tasks: nearest rounding last, noise before it, then all feedback."""
    checks = []
    for task in ("images", "recurrent"):
        nodes = max((cell.nodes for cell in cells(TASKS[task], BIAS)), default=0)
        bias, noise, *others = (
            _loss(cells(TASKS[task], label), nodes) for label in (BIAS, NOISE, *WITH_FEEDBACK)
        )
        known = [loss for loss in others if loss is not None]
        if bias is None or noise is None or not known:
            return decide([])
        checks.append((bias < noise < min(known), f"it is another of the {task} task"))
    return decide(checks)


def shortest_has_feedback(_: PaperRuns) -> Verdict:
    """Require that the shortest messages of the images that are shown to be near float32 have feedback."""
    near = [label for _, label, cell in points_of_images() if _is_near(cell)]
    return decide([(near[0].endswith("+ EF"), f"they are {near[0]}")] if near else [])


def evidence_numbers(_: PaperRuns) -> Iterator[tuple[str, str]]:
    """Yield accuracies and differences of the tasks, by task, method and number of nodes."""
    near = [bits for bits, _, cell in points_of_images() if _is_near(cell)]
    yield "images: fewest bits", rounded(near[0], 2) if near else MISSING
    yield "images: most times fewer", rounded(32 / near[0], 0) if near else MISSING
    groups = tasks()
    labels = (FULL_PRECISION, *WITH_FEEDBACK, ONE_BIT, NOISE, BIAS, f"{BIAS} + EF")
    for name, task in TASKS.items():
        group = groups.get(task)
        yield f"{name}: parameters", f"{group.num_parameters[0]:,}" if group else MISSING
        yield f"{name}: seeds", str(len(group.seeds)) if group else MISSING
        for label, nodes in product(labels, (1, 8)):
            found = next((cell for cell in cells(task, label) if cell.nodes == nodes), None)
            accuracy = found.accuracy if found else None
            yield f"{name}: accuracy, {label}, N={nodes}", rounded(accuracy.mean, 1) if accuracy else MISSING
            entry = difference_entry(found) if found else None
            has_width = entry is not None and entry.deviation
            yield (
                f"{name}: difference, {label}, N={nodes}",
                rf"${entry.mean} \pm {entry.deviation}$" if entry and has_width else MISSING,
            )


def _loses(task: str, label: str, *, or_some_diverge: bool = False) -> Verdict:
    return decide(
        [
            (
                cell.verdict.claim in ("worse", "fails") or (or_some_diverge and cell.num_diverged > 0),
                f"that is not shown at N = {cell.nodes}",
            )
            for cell in cells(TASKS[task], label)
        ]
    )


def _is_near(cell: Cell) -> bool:
    """Whether two one-sided tests show it, be a small difference significant or not."""
    p = cell.verdict.p_not_equivalent_holm
    return p is not None and p <= SIGNIFICANCE_LEVEL


def _differences(task: str) -> Iterator[tuple[int, float, float]]:
    """Yield nodes, and differences without and with feedback; runs that diverge lose everything."""
    with_feedback = {cell.nodes: cell.verdict.difference for cell in cells(TASKS[task], f"{BIAS} + EF")}
    for cell in cells(TASKS[task], BIAS):
        without, restored = cell.verdict.difference, with_feedback.get(cell.nodes)
        if cell.num_diverged:
            without = -math.inf
        if without is not None and restored is not None:
            yield cell.nodes, without, restored


def _loss(found: list[Cell], nodes: int) -> float | None:
    return next((cell.verdict.difference for cell in found if cell.nodes == nodes), None)


EVIDENCE_CLAIMS: dict[str, Callable[[PaperRuns], Verdict]] = {
    **{f"{task}: feedback is near": partial(feedback_is_near, task) for task in TASKS},
    **{f"{task}: bias loses": partial(bias_loses, task) for task in TASKS},
    **{f"{task}: noise loses": partial(noise_loses, task) for task in TASKS},
    **{f"{task}: feedback restores": partial(feedback_restores, task) for task in TASKS},
    "images: shortest has feedback": shortest_has_feedback,
    f"recurrent{SEVERAL}: noise falls": partial(nodes_quiet_noise, "recurrent"),
    "recurrent: one bit loses": partial(one_bit_loses, "recurrent"),
    "recurrent: same order": partial(same_order, "recurrent"),
    "images: order of recurrent": same_order_on_both,
}
