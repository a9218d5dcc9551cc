"""The sentences of the paper that the runs must bear out, each with the condition that makes it true.

The text may only say in words what is asserted here. Where a condition does not hold for a store of runs, the
sentence is printed with the reason, and for the committed runs the build fails.
"""

from __future__ import annotations

from collections.abc import Callable

from evidence_claims import EVIDENCE_CLAIMS
from flaws_table import largest_effect, selection_effects
from links import LINK_CLAIMS
from local_sgd import LOCAL_SGD_CLAIMS
from paper_runs import FULL_PRECISION, PaperRuns
from quantizer_table import measured_rows
from setting_claims import SETTING_CLAIMS
from step_times import LATENCY, modelled, quantize_shares
from verdict import ALIKE, Verdict, decide, loses_little

from qsgd_lab.report.analysis.communication import Link, exchange_of, pays_between, speed_up
from qsgd_lab.report.analysis.statistics import MIN_SEEDS, smallest_visible_difference

#: Means of one algorithm over a few seeds that differ by less than this are quiet; points.
QUIET = 1.0

COARSEST = "2 bit, stochastic"
NEAREST = "2 bit, nearest"
#: Mean epochs to the target that count as about the same.
EPOCHS_ALIKE = 2.0
SLOW_LINK, FAST_LINK = 1.25e6, 1.25e10


def noise_fails_alone(runs: PaperRuns) -> Verdict:
    """Unbiased two-bit levels without feedback diverge more often than float32 on the fewest nodes alone.

    On the fewest nodes Fisher's exact test must show it, and on the most no run may have diverged.
    """
    nodes = runs.group.nodes
    alone, many = (runs.cell(COARSEST, count) for count in (nodes[0], nodes[-1]))
    if alone is None or many is None or len(nodes) < 2 or alone.num_seeds < MIN_SEEDS:
        return decide([])
    return decide(
        [
            (alone.verdict.claim == "fails", f"on {nodes[0]} node it is not shown to diverge more often"),
            (not many.num_diverged, f"on {nodes[-1]} nodes {many.num_diverged} runs diverge"),
        ]
    )


def control_is_quiet(runs: PaperRuns) -> Verdict:
    """Float32's means hardly depend on the number of nodes."""
    means = [mean for n in runs.group.nodes if (mean := runs.mean_accuracy(FULL_PRECISION, n)) is not None]
    spread = max(means) - min(means) if len(means) > 1 else None
    return decide([] if spread is None else [(spread <= QUIET, f"they spread over {spread:.1f} points")])


def data_are_digits(runs: PaperRuns) -> Verdict:
    """Say whether the main comparison is on the embedded digits."""
    name = runs.group.shared["dataset"]
    return Verdict(name == "digits", f"the data are {name}")


def elias_is_shorter(runs: PaperRuns) -> Verdict:
    """Require fewer bits of the shortest Elias code than of fixed width, with one scale for the model."""
    measured = [(m.label, m.traffic.elias, m.traffic.fixed) for m in runs.quantized]
    shorter = [
        (elias < fixed, f"for {label} it is longer")
        for label, elias, fixed in measured
        if elias is not None and fixed is not None
    ]
    return (
        decide([*shorter, (has_one_scale(runs).holds is True, "the buckets are smaller")])
        if shorter
        else decide([])
    )


def has_one_scale(runs: PaperRuns) -> Verdict:
    """Say whether the main comparison has one scale for the whole gradient."""
    size = runs.group.shared["bucket_size"]
    return Verdict(size == "model", f"the bucket size is {size}")


def volume_shrinks_less(runs: PaperRuns) -> Verdict:
    """Say whether the all-gather eats up part of the ratio of bits, as it does on more than two nodes."""
    most = runs.group.nodes[-1]
    return Verdict(most > 2, f"they have {most} nodes at most")


def bounds_hold(_runs: PaperRuns) -> Verdict:
    """Measured variance below the least bound, and that below the published one."""
    checks = [measured.check for row in measured_rows().values() for measured in row]
    return decide(
        [
            (
                c.relative_variance <= c.bound_tight and c.bound_tight <= (c.bound_paper or float("inf")),
                f"not at b = {c.bits} with the {c.norm} norm",
            )
            for c in checks
        ]
    )


def feedback_keeps_up(runs: PaperRuns) -> Verdict:
    """With stochastic rounding and feedback no cell is shown to lose, and the mean over N loses little.

    The lower end of the interval decides, not the mean.
    """
    cells = [
        (cell.verdict.claim != "worse", f"{method.label} loses at N = {cell.nodes}")
        for method in runs.with_feedback
        for cell in method.cells
        if cell.verdict.is_tested
    ]
    found = decide(cells)
    if not found.holds or any(method.mean_over_nodes is None for method in runs.with_feedback):
        return found if found.holds is False else decide([])
    return decide([loses_little(method) for method in runs.with_feedback])


def nearest_loses(runs: PaperRuns) -> Verdict:
    """Nearest rounding without feedback is shown to lose, averaged over N."""
    mean = runs.mean_over_nodes(NEAREST)
    return decide([(mean.claim == "worse", "that is not shown")] if mean else [])


def feedback_mends_nearest(runs: PaperRuns) -> Verdict:
    """Averaged over N nearest rounding is better with feedback than without.

    Both intervals hold together, so that it is shown where the one lies above the other.
    """
    intervals = [
        mean.interval for label in (NEAREST, f"{NEAREST} + EF") if (mean := runs.mean_over_nodes(label))
    ]
    if len(intervals) < 2 or None in intervals:
        return decide([])
    (_, without), (corrected, _) = intervals  # type: ignore[misc]
    return decide([(without < corrected, "the intervals meet")])


def tests_are_weak(runs: PaperRuns) -> Verdict:
    """A difference must exceed several of its standard deviations before the corrected tests see it."""
    pairs, family = runs.fewest_pairs, len(runs.tested_cells)
    if pairs < 2:
        return decide([])
    visible = smallest_visible_difference(pairs, family)
    return decide([(visible > 2, f"{visible:.1f} standard deviations are enough")])


def feedback_sends_more(runs: PaperRuns) -> Verdict:
    """Feedback makes two-bit levels dearer under the shortest code, for both roundings."""
    pairs = [
        (runs.methods[name].traffic.elias, runs.methods[f"{name} + EF"].traffic.elias, name)
        for name in (COARSEST, NEAREST)
        if name in runs.methods and f"{name} + EF" in runs.methods
    ]
    return decide([(a < b, f"not for {name}") for a, b, name in pairs if a is not None and b is not None])


def sparse_pays_without_feedback(runs: PaperRuns) -> Verdict:
    """Without feedback a whole message takes less than half the bits of the dense codewords."""
    traffic = [m.traffic for m in runs.quantized if not m.error_feedback]
    known = [(one.sent, one.elias) for one in traffic if one.sent is not None and one.elias is not None]
    return decide([(sent < 0.5 * elias, f"it takes {sent / elias:.2f} of them") for sent, elias in known])


def overhead_is_small(runs: PaperRuns) -> Verdict:
    """Quantizing takes less than half the time of forward and backward pass, whatever the method and N."""
    shares = [share for nodes in runs.group.nodes for share in quantize_shares(runs, nodes)]
    return decide([(share < 0.5, f"it reaches {100 * share:.0f} %") for share in shares])


def fixed_width_moves_more(runs: PaperRuns) -> Verdict:
    """At the most nodes the widest fixed-width code moves more bytes than float32's ring."""
    most = runs.group.nodes[-1]
    exchange = exchange_of(runs.of("8 bit, stochastic + EF", most), "fixed")
    if exchange is None or most == 1:
        return decide([])
    moved, ring = exchange.moved_bytes, exchange.at_full_precision().moved_bytes
    return decide([(moved > ring, f"it moves {moved / ring:.2f} of it")])


def pays_on_slow_links(runs: PaperRuns) -> Verdict:
    """With the shortest code every method with feedback is faster on a slow link at every N above one."""
    return _speed_claim(runs, SLOW_LINK, lambda gain: gain > 1)


def loses_on_fast_links(runs: PaperRuns) -> Verdict:
    """On a very fast link no method with feedback is faster."""
    return _speed_claim(runs, FAST_LINK, lambda gain: gain < 1)


def _speed_claim(runs: PaperRuns, bandwidth: float, condition: Callable[[float], bool]) -> Verdict:
    gains = [
        (speed_up(*found, Link(bandwidth, LATENCY)), method.label, nodes)
        for method in runs.with_feedback
        for nodes in runs.group.nodes
        if nodes > 1
        if (found := modelled(runs, method.label, nodes))
    ]
    return decide(
        [(condition(gain), f"{label} at N = {n} has a speed-up of {gain:.2f}") for gain, label, n in gains]
    )


def epochs_alike(runs: PaperRuns) -> Verdict:
    """Methods with feedback and stochastic rounding need about the epochs of float32, in every cell."""
    return decide(
        [
            (
                cell.epochs is not None and abs(cell.epochs.mean - reference.epochs.mean) <= EPOCHS_ALIKE,
                f"{method.label} at N = {cell.nodes} does not",
            )
            for method in runs.with_feedback
            for cell in method.cells
            if cell.seeds
            if (reference := runs.cell(FULL_PRECISION, cell.nodes)) is not None and reference.epochs
        ]
    )


def noise_arrives_late(runs: PaperRuns) -> Verdict:
    """On the fewest nodes the coarsest stochastic levels reach the target in no more than some seeds."""
    cell = runs.cell(COARSEST, runs.group.nodes[0])
    return decide([] if cell is None else [(cell.num_reached < cell.num_seeds, "all seeds reach it")])


def configurations_meet(_runs: PaperRuns) -> Verdict:
    """Compare eight bits of the theorems' configuration with two of the experiments' by price and noise."""
    theorem, experiment = measured_rows()[8][0], measured_rows()[2][1]
    bits = theorem.bits / experiment.bits
    variance = theorem.check.relative_variance / experiment.check.relative_variance
    return decide(
        [
            (ALIKE[0] < bits < ALIKE[1], f"their bits differ by a factor of {bits:.2f}"),
            (ALIKE[0] < variance < ALIKE[1], f"their variances differ by a factor of {variance:.2f}"),
        ]
    )


def break_even_falls(runs: PaperRuns) -> Verdict:
    """Compare the bandwidths of break-even on the most nodes and on the fewest that exchange anything."""
    several = [nodes for nodes in runs.group.nodes if nodes > 1]
    if len(several) < 2:
        return decide([])
    ends = []
    for method in runs.with_feedback:
        found = [modelled(runs, method.label, nodes) for nodes in (several[0], several[-1])]
        pays = [pays_between(*pair, LATENCY) for pair in found if pair]
        if len(pays) == len(found):
            low, high = (between[1] if between else 0.0 for between in pays)
            ends.append((high < low, f"not for {method.label}"))
    return decide(ends)


def memory_matters(runs: PaperRuns) -> Verdict:
    """Ask whether feedback without memory is the flaw with the largest effect, and a loss."""
    largest = largest_effect(runs)
    if largest is None:
        return Verdict(None, "the flaws were not measured")
    holds = largest["protocol"] == "no-op-error-feedback" and largest["difference"] < 0
    return Verdict(holds, f"the largest effect is that of {largest['protocol']}")


def selection_flatters(runs: PaperRuns) -> Verdict:
    """Ask whether choosing on the test set raised the reported mean with every network and method."""
    return decide([(gain > 0, f"it changed one by {gain:.1f} points") for gain in selection_effects(runs)])


#: The name by which paper.tex calls a sentence -> its condition.
CLAIMS: dict[str, Callable[[PaperRuns], Verdict]] = {
    "noise fails alone": noise_fails_alone,
    "control is quiet": control_is_quiet,
    "data are digits": data_are_digits,
    "Elias is shorter": elias_is_shorter,
    "bounds hold": bounds_hold,
    "feedback keeps up": feedback_keeps_up,
    "nearest loses": nearest_loses,
    "feedback mends nearest": feedback_mends_nearest,
    "tests are weak": tests_are_weak,
    "feedback sends more": feedback_sends_more,
    "sparse pays without feedback": sparse_pays_without_feedback,
    "overhead is small": overhead_is_small,
    "fixed width moves more": fixed_width_moves_more,
    "pays on slow links": pays_on_slow_links,
    "loses on fast links": loses_on_fast_links,
    "epochs alike": epochs_alike,
    "noise arrives late": noise_arrives_late,
    "configurations meet": configurations_meet,
    "break-even falls": break_even_falls,
    "one scale": has_one_scale,
    "memory matters": memory_matters,
    "selection flatters": selection_flatters,
    "volume shrinks less": volume_shrinks_less,
    **SETTING_CLAIMS,
    **EVIDENCE_CLAIMS,
    **LINK_CLAIMS,
    **LOCAL_SGD_CLAIMS,
}


def verdicts(runs: PaperRuns) -> dict[str, Verdict]:
    """Return the verdict on every sentence."""
    return {name: claim(runs) for name, claim in CLAIMS.items()}
