"""Numbers as every format prints them. Rounding happens here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from qsgd_lab.report.cells import Cell, Statistic

ACCURACY_DECIMALS = 1  # with a few seeds, a second decimal of a percentage is noise
BITS_DECIMALS = 2
RATIO_DECIMALS = 1

MISSING = "--"
DIVERGED = "div."
SOME_DIVERGED = "†"
FEWER_SEEDS = "‡"
CODE_LETTERS = {"gamma": "γ", "delta": "δ", "omega": "ω"}


@dataclass(frozen=True)
class Entry:
    """What one table cell shows: a rounded number or a word, and the marks after it.

    Attributes
    ----------
    mean : str
        The rounded number, or empty where `word` stands instead.
    deviation : str
        The rounded deviation, with as many decimals; empty where there is none.
    word : str
        `MISSING`, `DIVERGED`, or empty.
    marks : str
        Footnote marks and code letters that follow directly.
    reached : str
        ``k/n`` where k of n seeds reached the target, or empty when all did.
    """

    mean: str = ""
    deviation: str = ""
    word: str = ""
    marks: str = ""
    reached: str = ""


def rounded(value: float, decimals: int) -> str:
    """Return ``value`` in decimal notation, rounded correctly from its exact binary value, never as -0."""
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def accuracy_entry(cell: Cell) -> Entry:
    """Return test accuracy in percent: mean ± deviation over all seeds."""
    marks = FEWER_SEEDS if cell.seeds and cell.missing_seeds else ""
    if cell.accuracy is None:
        return Entry(word=MISSING)
    if cell.all_diverged:
        return Entry(word=DIVERGED, marks=marks)
    if cell.num_diverged:
        marks = SOME_DIVERGED + marks
    return _statistic_entry(cell.accuracy, ACCURACY_DECIMALS, marks=marks)


def epochs_entry(cell: Cell, decimals: int) -> Entry:
    """Return epochs to the target: mean ± deviation over the seeds that reached it, and how many did."""
    reached = "" if cell.num_reached == cell.num_seeds else f"{cell.num_reached}/{cell.num_seeds}"
    if cell.epochs is None:
        return Entry(word=MISSING, reached=reached)
    marks = FEWER_SEEDS if cell.missing_seeds else ""
    return _statistic_entry(cell.epochs, decimals, marks=marks, reached=reached)


def bits_entry(bits: float | None, code: str | None = None) -> Entry:
    """Return bits per coordinate, with the letter of the Elias code that gave them."""
    if bits is None:
        return Entry(word=MISSING)
    return Entry(mean=rounded(bits, BITS_DECIMALS), marks=CODE_LETTERS[code] if code else "")


def ratio_entry(ratio: float | None) -> Entry:
    """Return a compression ratio."""
    return Entry(word=MISSING) if ratio is None else Entry(mean=rounded(ratio, RATIO_DECIMALS))


def count_entry(count: int | None) -> Entry:
    """Return a whole number."""
    return Entry(word=MISSING) if count is None else Entry(mean=str(count))


def _statistic_entry(statistic: Statistic, decimals: int, *, marks: str, reached: str = "") -> Entry:
    deviation = "" if statistic.deviation is None else rounded(statistic.deviation, decimals)
    return Entry(mean=rounded(statistic.mean, decimals), deviation=deviation, marks=marks, reached=reached)
