"""The sentences about training in the theorems' configuration and in the experiments'; see `claims`.

Their runs stand beside the paper, whatever the main comparison is made from.
"""

from __future__ import annotations

from collections.abc import Callable

from paper_runs import PaperRuns
from settings_table import EXPERIMENTS, THEOREMS, quantized, settings
from verdict import ALIKE, KEEPS_UP, Verdict, decide


def one_scale_needs_levels(_: PaperRuns) -> Verdict:
    """Require that under one Euclidean norm 2 bits diverge on every seed, and 8 on none and keep up."""
    finest, *_, coarsest = quantized(THEOREMS)
    floats = [cell.accuracy.mean for cell in settings()[THEOREMS].methods[0].cells if cell.accuracy]
    means = [cell.accuracy.mean for cell in finest.cells if cell.accuracy]
    worst = max(one - other for one, other in zip(floats, means, strict=True))
    return decide(
        [
            (
                all(cell.all_diverged for cell in coarsest.cells),
                "some runs with the coarsest levels finished",
            ),
            (
                not any(cell.num_diverged for cell in finest.cells),
                "some runs with the finest levels diverged",
            ),
            (worst < KEEPS_UP, f"the finest levels lose {worst:.1f} points"),
        ]
    )


def buckets_keep_up(_: PaperRuns) -> Verdict:
    """Require of the max norm in buckets that no run diverges and no mean lies much below float32's."""
    floats = {cell.nodes: cell.accuracy for cell in settings()[EXPERIMENTS].methods[0].cells}
    found = []
    for method in quantized(EXPERIMENTS):
        for cell in method.cells:
            baseline = floats[cell.nodes]
            if cell.accuracy and baseline:
                loss = baseline.mean - cell.accuracy.mean
                found.append((not cell.num_diverged, f"some runs of {method.label} diverged"))
                found.append((loss < KEEPS_UP, f"{method.label} loses {loss:.1f} points"))
    return decide(found)


def theorems_send_least(_: PaperRuns) -> Verdict:
    """Require fewer bits of the finest levels under one Euclidean norm than of any at fixed width."""
    sent = quantized(THEOREMS)[0].traffic.sent
    fixed = [method.traffic.fixed for method in quantized(EXPERIMENTS) if method.traffic.fixed]
    if sent is None or not fixed:
        return decide([])
    return decide([(sent < min(fixed), f"they take {sent:.2f} bits")])


def codes_meet(_: PaperRuns) -> Verdict:
    """Require that the theorems' finest and the experiments' coarsest levels take about as many bits."""
    one, other = (method.traffic.sent for method in (quantized(THEOREMS)[0], quantized(EXPERIMENTS)[-1]))
    if one is None or other is None:
        return decide([])
    return decide([(ALIKE[0] < one / other < ALIKE[1], f"their ratio is {one / other:.2f}")])


SETTING_CLAIMS: dict[str, Callable[[PaperRuns], Verdict]] = {
    "one scale needs levels": one_scale_needs_levels,
    "buckets keep up": buckets_keep_up,
    "theorems send least": theorems_send_least,
    "codes meet": codes_meet,
}
