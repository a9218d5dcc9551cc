"""The sentences about training in the theorems' configuration and in the experiments'; see `claims`.

Their runs are beside the paper, whatever the main comparison is made from.
"""

from __future__ import annotations

from collections.abc import Callable

from paper_runs import PaperRuns
from settings_table import EXPERIMENTS, THEOREMS, quantized
from verdict import ALIKE, Verdict, decide, loses_little


def one_scale_needs_levels(_: PaperRuns) -> Verdict:
    """Require that under one Euclidean norm 2 bits diverge on every seed, and 8 on none and lose little."""
    finest, *_, coarsest = quantized(THEOREMS)
    return decide(
        [
            (
                all(cell.all_diverged for cell in coarsest.cells),
                "some runs with the coarsest levels finished",
            ),
            (
                all(cell.verdict.claim == "fails" for cell in coarsest.cells),
                "the coarsest levels are not shown to diverge more often",
            ),
            (
                not any(cell.num_diverged for cell in finest.cells),
                "some runs with the finest levels diverged",
            ),
            loses_little(finest),
        ]
    )


def buckets_keep_up(_: PaperRuns) -> Verdict:
    """Require of the max norm in buckets that no run diverges, and that averaged over N little is lost."""
    found = []
    for method in quantized(EXPERIMENTS):
        has_diverged = any(cell.num_diverged for cell in method.cells)
        found += [(not has_diverged, f"some runs of {method.label} diverged"), loses_little(method)]
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
