"""The words around a table: what it shows, and how to read its signs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from qsgd_lab.report.cells import Cell
from qsgd_lab.report.entries import CODE_LETTERS, FEWER_SEEDS, MISSING, SOME_DIVERGED
from qsgd_lab.report.grouping import Group

#: Data sets whose bare name could mislead: the embedded digits are not CIFAR-10.
DATASET_TITLES = {"digits": "scikit-learn's handwritten digits", "cifar10": "CIFAR-10"}

#: Fields that every caption states in words; others join them where they alone tell tables apart.
CAPTIONED_FIELDS = ("preset", "dataset", "model", "epochs", "global_batch", "norm", "bucket_size")


def caption(group: Group, others: Iterable[Group] = ()) -> str:
    """Return one sentence that says what ``group`` is and tells it from ``others`` in the same output."""
    shared = group.shared
    sizes = " or ".join(f"{size:,}" for size in group.num_parameters)
    dataset = DATASET_TITLES.get(shared["dataset"], shared["dataset"])
    settings = [
        _count(shared["epochs"], "epoch"),
        f"global batch {shared['global_batch']}",
        *_quantizer_words(shared["norm"], shared["bucket_size"]),
        *(f"{name.replace('_', ' ')} {shared[name]}" for name in distinguishing_fields(group, others)),
        _seed_words(len(group.seeds)),
    ]
    if not group.is_current:
        settings.append("made by another version of qsgd-lab")
    subject = f"{shared['model']} ({sizes} parameters) on {dataset}, preset {shared['preset']}"
    return f"{subject}: {', '.join(settings)}."


def distinguishing_fields(group: Group, others: Iterable[Group]) -> list[str]:
    """Return the fields that tell ``group`` from those of ``others`` whose caption would else be the same."""
    alike = [
        other
        for other in others
        if all(other.shared[name] == group.shared[name] for name in CAPTIONED_FIELDS)
    ]
    return [
        name for name, value in group.shared.items() if any(other.shared[name] != value for other in alike)
    ]


def _quantizer_words(norm: str | None, bucket_size: int | str | None) -> Iterator[str]:
    if norm is not None:
        yield f"{norm} norm"
    if bucket_size is not None:
        words = {"tensor": "one bucket per tensor", "model": "one bucket for the whole model"}
        yield words.get(str(bucket_size), f"buckets of {bucket_size}")


def _seed_words(num_seeds: int) -> str:
    if num_seeds == 1:
        return "one seed, hence no deviation"
    if num_seeds == 2:
        return "mean ± std over n = 2 seeds, too few for a firm deviation"
    return f"mean ± std over n = {num_seeds} seeds"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def target_percent(group: Group) -> str:
    """Return the target accuracy in percent, as short as it can be written."""
    return f"{100 * group.shared['target_accuracy']:g}"


def notes(group: Group) -> list[str]:
    """Return the legend of a group: only the signs that its tables use, a sentence or two each."""
    cells = [(method.label, cell) for method in group.methods for cell in method.cells]
    written = [
        _deviation_note(group.seeds),
        f"Epochs to {target_percent(group)} %: the first epoch after which validation accuracy is that high.",
        _method_note(group),
        _traffic_note(group),
        _diverged_note([cell for _, cell in cells]),
        _missing_note(group, [cell for _, cell in cells]),
        _reached_note([cell for _, cell in cells]),
        _fewer_seeds_note(cells, len(group.seeds)),
    ]
    return [note for note in written if note]


def _deviation_note(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"N: number of nodes. Seed {seeds[0]}."
    listed = ", ".join(map(str, seeds))
    return f"N: number of nodes. ±: sample standard deviation (n − 1 in the denominator) over seeds {listed}."


def _method_note(group: Group) -> str:
    written = ["s = 2ᵇ − 1: levels at b bits, the sign apart."]
    if any(method.error_feedback for method in group.methods):
        written.append("EF: error feedback.")
    return " ".join(written) if any(method.num_levels for method in group.methods) else ""


def _traffic_note(group: Group) -> str:
    names = ", ".join(f"{letter} {code}" for code, letter in CODE_LETTERS.items())
    elias = (
        f"; Elias: under the shortest of the codes {names}"
        if any(m.traffic.elias for m in group.methods)
        else ""
    )
    return (
        "Bits/coord.: bits per coordinate as measured, norms included; fixed: with indices of one width"
        f"{elias}. Ratio: 32 over the fewer bits."
    )


def _diverged_note(cells: Sequence[Cell]) -> str:
    written = []
    if any(cell.all_diverged for cell in cells):
        written.append("div.: every seed diverged.")
    if any(cell.num_diverged and not cell.all_diverged for cell in cells):
        written.append(f"{SOME_DIVERGED} some seeds diverged; the mean is over all.")
    return " ".join(written)


def _missing_note(group: Group, cells: Sequence[Cell]) -> str:
    reasons = {
        "not run": any(not cell.seeds for cell in cells),
        "target never reached": any(cell.seeds and not cell.num_reached for cell in cells),
        "not applicable": any(not method.num_levels for method in group.methods),
    }
    written = [reason for reason, applies in reasons.items() if applies]
    return f"{MISSING}: {', '.join(written)}." if written else ""


def _reached_note(cells: Sequence[Cell]) -> str:
    if all(cell.num_reached == cell.num_seeds for cell in cells):
        return ""
    return "k/n: only k of n seeds reached the target; the mean is over those."


def _fewer_seeds_note(cells: Sequence[tuple[str, Cell]], num_seeds: int) -> str:
    places: dict[str, list[Any]] = {}
    for label, cell in cells:
        if cell.seeds and cell.missing_seeds:
            places.setdefault(label, []).append(f"N={cell.nodes} ({cell.num_seeds})")
    if not places:
        return ""
    listed = "; ".join(f"{label} at {', '.join(where)}" for label, where in places.items())
    return f"{FEWER_SEEDS} fewer than {num_seeds} seeds: {listed}."
