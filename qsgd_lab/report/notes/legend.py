"""The legend of a table: only the signs that it uses, a sentence or two each.

The words about traffic and time: what was measured, what is modelled, and what neither includes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from qsgd_lab.report.analysis.cells import FULL_PRECISION_CODE, Cell
from qsgd_lab.report.analysis.communication import WHOLE_MESSAGE, mean_bits, measures_coding, sent_code
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.notes.captions import caption
from qsgd_lab.report.notes.significance import any_differences, difference_notes, significance_notes
from qsgd_lab.report.tables.columns_by_cell import target_percent
from qsgd_lab.report.tables.columns_by_method import measured_messages
from qsgd_lab.report.tables.columns_published import published_notes
from qsgd_lab.report.tables.entries import CODE_LETTERS, FEWER_SEEDS, MISSING
from qsgd_lab.report.tables.options import DIFFERENCE, TableOptions
from qsgd_lab.report.tables.sheets import Sheet
from qsgd_lab.report.tables.units import format_bandwidth, format_seconds
from qsgd_lab.runs.config import TWO_PHASE


def traffic_notes(cells: Iterable[Cell]) -> Iterator[str]:
    """Yield what the bytes of these cells are."""
    cells = [cell for cell in cells if cell.seeds]
    codes = {sent_code(mean_bits(cell.runs)) for cell in cells} - {FULL_PRECISION_CODE, None}
    words = []
    if WHOLE_MESSAGE in codes:
        words.append("in whole messages, each in the layout and code that make it shortest")
    if codes - {WHOLE_MESSAGE}:
        where = " where messages were not measured" if words else ""
        words.append(f"under the code that takes the fewest bits in all{where}")
    has_two = any(cell.runs[0].config.collective == TWO_PHASE for cell in cells)
    two_phase = " Two-phase: (N−1)/N messages up, and as much down." if has_two else ""
    sent = f"Sent: a node's own gradient {' or '.join(words)}. " if words else ""
    yield (
        f"{sent}Moved: what a node's link carries each way, 2(N−1)/N gradients for the ring all-reduce of "
        "fp32 and N−1 messages for the all-gather of codes, which cannot be added up on the way."
        f"{two_phase}"
    )


def time_notes() -> Iterator[str]:
    """Yield what the measured seconds are."""
    yield (
        "Measured time: one machine did the work of all N nodes in turn, evaluation included; it is not what "
        "N machines would take, and differs from run to run. A message is coded apart from that."
    )


def network_notes(options: TableOptions, cells: Iterable[Cell]) -> Iterator[str]:
    """Yield what is modelled of these cells, with the link."""
    compute = (
        "compute as measured, divided by N"
        if options.compute is None
        else f"{format_seconds(options.compute)} of compute"
    )
    link = f"{format_bandwidth(options.link.bandwidth)} and {format_seconds(options.link.latency)} a message"
    overlap = f"{options.overlap:g} of the computing overlapped by the network" if options.overlap else ""
    work = (
        _work_words(cells)
        if options.quantize is None
        else f"{format_seconds(options.quantize)} of quantizing and coding"
    )
    spread = "its deviation is that of what the seeds' runs have measured, not of a network"
    yield (
        f"Modelled: one step of a node on links of {link}, {overlap or 'nothing overlapped'}: {compute}; "
        f"{work}; and the collective; {spread}. Speed-up: over fp32. Pays below: the bandwidth under "
        f"which the step is faster than that of fp32{', without overlap' if overlap else ''}."
    )


def _work_words(cells: Iterable[Cell]) -> str:
    """Return what quantizing and coding are in the modelled step; see `communication.node_work`."""
    quantized = [cell for cell in cells if cell.seeds and not cell.runs[0].config.is_full_precision]
    timed = [measures_coding(cell.runs) for cell in quantized]
    coded = "quantizing as measured, divided by N; writing one message and reading N−1, as measured"
    uncoded = "quantizing as measured for all N nodes, and nothing for coding"
    if all(timed):
        return coded
    return f"{coded}; where messages were not timed, {uncoded}" if any(timed) else uncoded


class Shown(NamedTuple):
    """A cell of a table, and its place in words."""

    group: Group
    method: Method
    cell: Cell
    label: str


def notes(sheet: Sheet, others: Sequence[Group], options: TableOptions, bold_sign: str) -> Iterator[str]:
    """Yield the legend of a table, a paragraph each.

    Parameters
    ----------
    sheet : Sheet
    others : sequence of Group
        All groups of the same output, from which each is told apart.
    options : TableOptions
    bold_sign : str
        What the format calls an entry that is bold.
    """
    shown = list(_shown(sheet))
    yield from _column_notes(sheet, others)
    yield _deviation_note(sheet)
    for name in options.show:
        yield from _measure_notes(name, sheet, shown, options)
    if {"traffic", "network"} & set(options.show):
        yield from _diverged_cells(shown)
    if "accuracy" in options.show:
        yield from significance_notes(sheet.groups, sheet.names, bold_sign)
    if DIFFERENCE in options.show and any_differences(sheet.groups):
        yield from difference_notes(sheet.groups, sheet.names)
    if options.published:
        yield from published_notes(sheet.groups)
    yield from _sign_notes(sheet, shown, options)


def _shown(sheet: Sheet) -> Iterator[Shown]:
    for group, name in zip(sheet.groups, sheet.names, strict=True):
        for method in group.methods:
            label = f"{name}: {method.label}" if name else method.label
            yield from (Shown(group, method, cell, label) for cell in method.cells)


def _column_notes(sheet: Sheet, others: Sequence[Group]) -> Iterator[str]:
    if len(sheet.groups) == 1:
        return
    for group, name in zip(sheet.groups, sheet.names, strict=True):
        yield f"{name}: {caption(group, others)}"
    if {"l2", "max"} <= {group.shared["norm"] for group in sheet.groups}:
        yield (
            "The l2 norm is that of QSGD's theory, which sends Elias codes; the max norm is that of "
            "practice, which sends indices of one width."
        )


def _deviation_note(sheet: Sheet) -> str:
    seeds = {group.seeds for group in sheet.groups}
    if len(seeds) > 1:
        return "N: number of nodes. ±: sample standard deviation (n − 1 in the denominator) over the seeds."
    (common,) = seeds
    if len(common) == 1:
        return f"N: number of nodes. Seed {common[0]}."
    listed = ", ".join(map(str, common))
    return f"N: number of nodes. ±: sample standard deviation (n − 1 in the denominator) over seeds {listed}."


def _measure_notes(show: str, sheet: Sheet, shown: Sequence[Shown], options: TableOptions) -> Iterator[str]:
    match show:
        case "epochs":
            yield _epochs_note(sheet)
        case "bits":
            yield from _bits_notes(sheet, shown)
        case "codes" if "bits" not in options.show:
            yield f"{_BITS_WORDS}.{_feedback_words(shown)}{_left_out_words(shown)}"
        case "traffic":
            yield from traffic_notes(one.cell for one in shown)
        case "time":
            yield from time_notes()
        case "network":
            yield from network_notes(options, (one.cell for one in shown))


def _epochs_note(sheet: Sheet) -> str:
    target = target_percent(sheet.groups)
    reach = "that of its column" if target == "the target" else "that high"
    return f"Epochs to {target}: the first epoch after which validation accuracy is {reach}."


_BITS_WORDS = "Bits/coord.: bits per coordinate as measured, norms included; fixed: with indices of one width"

_SENT_WORDS = (
    "sent: in whole messages with all they need, each in the layout and code that make it shortest. "
    "Ratio: 32 over the bits sent."
)


def _bits_notes(sheet: Sheet, shown: Sequence[Shown]) -> Iterator[str]:
    if any(one.method.num_levels for one in shown):
        is_own = {group.shared["convention"] for group in sheet.groups} == {None}
        levels = "s = 2ᵇ − 1: levels at b bits, the sign apart." if is_own else "s: levels above zero."
        yield levels + _feedback_words(shown)
    names = ", ".join(f"{letter} {code}" for code, letter in CODE_LETTERS.items())
    has_elias = any(one.method.traffic.elias for one in shown)
    elias = f"; Elias: under the shortest of the codes {names}" if has_elias else ""
    left_out = _left_out_words(shown)
    if measured_messages(sheet.groups):
        yield f"{_BITS_WORDS}{elias}; {_SENT_WORDS}{left_out}"
    else:
        yield f"{_BITS_WORDS}{elias}. Ratio: 32 over the fewer bits.{left_out}"


def _left_out_words(shown: Iterable[Shown]) -> str:
    """Return of which methods diverged runs are left out of the bits; see `communication.mean_bits`."""
    counts: dict[str, tuple[int, int]] = {}
    for one in shown:
        diverged, runs = counts.get(one.label, (0, 0))
        counts[one.label] = diverged + one.cell.num_diverged, runs + one.cell.num_seeds
    left_out = [f"{label} ({k} of {n})" for label, (k, n) in counts.items() if 0 < k < n]
    return f" Diverged runs are left out of the bits: {', '.join(left_out)}." if left_out else ""


def _diverged_cells(shown: Iterable[Shown]) -> Iterator[str]:
    """Yield which cells leave diverged runs out of their bytes, and which have no other runs."""
    cells = [one for one in shown if one.cell.num_diverged]
    partly = [
        f"{one.label} at N={one.cell.nodes} ({one.cell.num_diverged} of {one.cell.num_seeds})"
        for one in cells
        if one.cell.num_diverged < one.cell.num_seeds
    ]
    wholly = [
        f"{one.label} at N={one.cell.nodes}" for one in cells if one.cell.num_diverged == one.cell.num_seeds
    ]
    left_out = f"Diverged runs are left out of the bytes: {', '.join(partly)}." if partly else ""
    only = f"All runs diverged, and are shown: {', '.join(wholly)}." if wholly else ""
    if cells:
        yield " ".join(filter(None, (left_out, only)))


def _feedback_words(shown: Iterable[Shown]) -> str:
    return " EF: error feedback." if any(one.method.error_feedback for one in shown) else ""


def _sign_notes(sheet: Sheet, shown: Sequence[Shown], options: TableOptions) -> Iterator[str]:
    cells = [one.cell for one in shown]
    per_seed = bool({"accuracy", "epochs"} & set(options.show))
    missing = _missing_reasons(sheet, shown, options)
    if missing:
        yield f"{MISSING}: {', '.join(missing)}."
    if "epochs" in options.show and any(cell.num_reached != cell.num_seeds for cell in cells):
        yield "k/n: only k of n seeds reached the target; the mean is over those."
    if per_seed:
        yield from _fewer_seeds_notes(shown)


def _missing_reasons(sheet: Sheet, shown: Sequence[Shown], options: TableOptions) -> list[str]:
    has_holes = any(found is None for column in sheet.columns for found in column.cells)
    reasons = {
        "not run": has_holes or any(not one.cell.seeds for one in shown),
        "target never reached": "epochs" in options.show
        and any(one.cell.seeds and not one.cell.num_reached for one in shown),
        "not applicable": bool({"bits", "codes", "network"} & set(options.show))
        and any(not one.method.num_levels for one in shown),
        "not measured": bool({"time", "network"} & set(options.show))
        and any("compute_s" not in run.timing for one in shown for run in one.cell.runs),
    }
    return [reason for reason, applies in reasons.items() if applies]


def _fewer_seeds_notes(shown: Sequence[Shown]) -> Iterator[str]:
    places: dict[tuple[str, int], list[Any]] = {}
    for one in shown:
        if one.cell.seeds and one.cell.missing_seeds:
            key = (one.label, len(one.group.seeds))
            places.setdefault(key, []).append(f"N={one.cell.nodes} ({one.cell.num_seeds})")
    for total in sorted({total for _, total in places}):
        listed = "; ".join(
            f"{label} at {', '.join(where)}" for (label, of), where in places.items() if of == total
        )
        yield f"{FEWER_SEEDS} fewer than {total} seeds: {listed}."
