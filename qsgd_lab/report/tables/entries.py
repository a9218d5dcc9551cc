"""Numbers as every format prints them. Rounding happens here and nowhere else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from qsgd_lab.report.analysis.cells import Cell, Statistic
from qsgd_lab.report.analysis.verdict import Contrast

ACCURACY_DECIMALS = 1  # with a few seeds, a second decimal of a percentage is noise
DIFFERENCE_DECIMALS = 2  # one of 360 images is 0.28 points
BITS_DECIMALS = 2
RATIO_DECIMALS = 1

MISSING = "--"
DIVERGED = "div."
SOME_DIVERGED = "†"
FEWER_SEEDS = "‡"
#: What the tests over the seeds allow to claim against fp32 -> its mark; divergence has `DIVERGED` already.
CLAIM_MARKS = {"worse": "↓", "better": "↑", "equivalent": "≈", "fails": ""}
CODE_LETTERS = {"gamma": "γ", "delta": "δ", "omega": "ω"}


@dataclass(frozen=True)
class Entry:
    """What one table cell shows: a rounded number or a word, and the marks after it.

    Attributes
    ----------
    mean : str
        The rounded number, or empty where `word` is printed instead.
    deviation : str
        The rounded deviation, with as many decimals; empty where there is none.
    word : str
        `MISSING`, `DIVERGED`, or empty.
    marks : str
        Footnote marks and code letters that follow directly.
    reached : str
        ``k/n`` where k of n seeds reached the target, or empty when all did.
    bold : bool
        Whether it is shown to be near the best of its N.
    """

    mean: str = ""
    deviation: str = ""
    word: str = ""
    marks: str = ""
    reached: str = ""
    bold: bool = False

    @property
    def number(self) -> str:
        """Mean and deviation, or the word, without marks: what CSV and JSON print."""
        return f"{self.mean} ± {self.deviation}" if self.deviation else self.mean or self.word


def rounded(value: float, decimals: int) -> str:
    """Return ``value`` in decimal notation, rounded correctly from its exact binary value, never as -0."""
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def accuracy_entry(cell: Cell) -> Entry:
    """Return test accuracy in percent: mean ± deviation over all seeds, and what the tests found."""
    marks = FEWER_SEEDS if cell.seeds and cell.missing_seeds else ""
    if cell.accuracy is None:
        return Entry(word=MISSING)
    if cell.all_diverged:
        return Entry(word=DIVERGED, marks=marks)
    if cell.num_diverged:
        marks = SOME_DIVERGED + marks
    if cell.verdict.claim:
        marks += CLAIM_MARKS[cell.verdict.claim]
    entry = statistic_entry(cell.accuracy, ACCURACY_DECIMALS, marks=marks)
    return dataclasses.replace(entry, bold=cell.verdict.is_bold)


def difference_entry(cell: Cell) -> Entry:
    """Return the difference from fp32 in points with the half-width of its interval, or diverged runs."""
    if cell.num_diverged:
        return Entry(word=f"{cell.num_diverged}/{cell.num_seeds} {DIVERGED}")
    return _contrast_entry(cell.verdict)


def mean_difference_entry(contrast: Contrast | None) -> Entry:
    """Return the difference averaged over the numbers of nodes, its half-width, and what the tests found."""
    if contrast is None:
        return Entry(word=MISSING)
    marks = CLAIM_MARKS[contrast.claim] if contrast.claim else ""
    return dataclasses.replace(_contrast_entry(contrast), marks=marks)


def _contrast_entry(contrast: Contrast) -> Entry:
    if contrast.difference is None:
        return Entry(word=MISSING)
    mean = rounded(contrast.difference, DIFFERENCE_DECIMALS)
    sign = "+" if float(mean) > 0 else ""
    width = "" if contrast.half_width is None else rounded(contrast.half_width, DIFFERENCE_DECIMALS)
    return Entry(mean=sign + mean, deviation=width)


def epochs_entry(cell: Cell, decimals: int) -> Entry:
    """Return epochs to the target: mean ± deviation over the seeds that reached it, and how many did."""
    reached = "" if cell.num_reached == cell.num_seeds else f"{cell.num_reached}/{cell.num_seeds}"
    if cell.epochs is None:
        return Entry(word=MISSING, reached=reached)
    marks = FEWER_SEEDS if cell.missing_seeds else ""
    return statistic_entry(cell.epochs, decimals, marks=marks, reached=reached)


def bits_entry(bits: float | None, code: str | None = None) -> Entry:
    """Return bits per coordinate, with the letter of the Elias code that gave them."""
    if bits is None:
        return Entry(word=MISSING)
    return Entry(mean=rounded(bits, BITS_DECIMALS), marks=CODE_LETTERS[code] if code else "")


def ratio_entry(ratio: float | None) -> Entry:
    """Return a compression ratio."""
    return number_entry(ratio, RATIO_DECIMALS)


def count_entry(count: int | None) -> Entry:
    """Return a whole number."""
    return Entry(word=MISSING) if count is None else Entry(mean=str(count))


def number_entry(value: float | None, decimals: int) -> Entry:
    """Return a number that is not a mean of seeds, or that is missing."""
    return Entry(word=MISSING) if value is None else Entry(mean=rounded(value, decimals))


def statistic_entry(
    statistic: Statistic | None, decimals: int, *, marks: str = "", reached: str = ""
) -> Entry:
    """Return mean ± deviation with as many decimals."""
    if statistic is None:
        return Entry(word=MISSING, marks=marks, reached=reached)
    deviation = "" if statistic.deviation is None else rounded(statistic.deviation, decimals)
    return Entry(mean=rounded(statistic.mean, decimals), deviation=deviation, marks=marks, reached=reached)
