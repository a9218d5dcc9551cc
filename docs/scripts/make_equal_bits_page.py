"""Write docs/equal-bits.md and its figure from the committed measurement, or check that they are current.

python docs/scripts/make_equal_bits_page.py              write them from paper/equal-bits.csv
python docs/scripts/make_equal_bits_page.py --check      exit with 1 if they would change

The measurement itself: qsgd-lab tradeoff --compressor all --format csv > paper/equal-bits.csv
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from qsgd_lab.cli.measure.equal_bits import read_rows, times_bound
from qsgd_lab.cli.measure.equal_bits_plot import plot_bytes
from qsgd_lab.report.figures.style import same_drawing
from qsgd_lab.theory.checks.equal_bits import EqualBitsRow, compare_at_equal_bits, variance_at

DOCS = Path(__file__).resolve().parent.parent
PAGE, FIGURE = DOCS / "equal-bits.md", DOCS / "figures" / "equal-bits.svg"
MEASURED = DOCS.parent / "paper" / "equal-bits.csv"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->"
#: Bits a coordinate of the short table.
AT_BITS = (0.5, 1.02, 2.02, 3.02, 4.02)


def short(value: float | None) -> str:
    """Return three digits, or a dash."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3g}"


def against_eden(rows: Sequence[EqualBitsRow]) -> str:
    """Return QSGD's variance over EDEN's at the bits of EDEN's settings."""
    found = compare_at_equal_bits(rows)
    lines = [
        "| vector | EDEN | bits/coord. | EDEN | QSGD | QSGD over EDEN |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.source} | `{one.rival}` | {one.bits:.2f} | {short(one.rival_variance)} | "
        f"{short(one.variance)} | {short(one.ratio)} |"
        for one in found
    ]
    return "\n".join(lines)


def at_equal_bits(rows: Sequence[EqualBitsRow]) -> str:
    """Return each method's variance at the same bits, interpolated between its settings, vector by vector."""
    sources = list(dict.fromkeys(row.source for row in rows))
    head = [f"{source}, {bits:g}" for source in sources for bits in AT_BITS]
    lines = ["| method | " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(head)]
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        cells = [
            variance_at([row for row in own if row.source == source], bits)
            for source in sources
            for bits in AT_BITS
        ]
        if any(cell is not None for cell in cells):
            lines.append(f"| {method} | " + " | ".join(map(short, cells)) + " |")
    bound = [1 / (4**bits - 1) for _ in sources for bits in AT_BITS]
    lines.append("| bound for normal vectors | " + " | ".join(map(short, bound)) + " |")
    return "\n".join(lines)


def all_settings(rows: Sequence[EqualBitsRow]) -> str:
    """Return bits, error, variance and times the bound of every setting."""
    sources = list(dict.fromkeys(row.source for row in rows))
    head = [f"{source}: {what}" for source in sources for what in ("bits", "error", "variance", "× bound")]
    lines = ["| method | " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(head)]
    by_text: dict[str, list[EqualBitsRow]] = {}
    for row in rows:
        by_text.setdefault(row.compressor, []).append(row)
    lines += [f"| `{text}` | " + " | ".join(_cells(own)) + " |" for text, own in by_text.items()]
    return "\n".join(lines)


def _cells(own: Sequence[EqualBitsRow]) -> Iterator[str]:
    for row in own:
        mark = "" if row.unbiased else "\\*"
        yield from (f"{row.bits:.3f}", short(row.error) + mark, short(row.variance), short(times_bound(row)))


def current_page() -> str:
    """Return docs/equal-bits.md with its tables made again."""
    rows = read_rows(MEASURED)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    parts = [
        "### QSGD against EDEN",
        against_eden(rows),
        "### Variance at equal bits",
        at_equal_bits(rows),
        "### Every setting",
        all_settings(rows),
    ]
    return before + BEGIN + "\n" + "\n\n".join(parts) + "\n\n" + END + rest.split(END)[1]


@click.command()
@click.option("--check", is_flag=True, help="Only compare.")
def main(check: bool) -> None:
    """Write the page and the figure, or check them."""
    page, figure = current_page(), plot_bytes(read_rows(MEASURED), ".svg")
    if not check:
        PAGE.write_text(page, encoding="utf-8")
        FIGURE.write_bytes(figure)
        return
    is_drawn = FIGURE.exists() and same_drawing(figure.decode(), FIGURE.read_text(encoding="utf-8"))
    if page != PAGE.read_text(encoding="utf-8") or not is_drawn:
        raise click.ClickException(
            "docs/equal-bits.md is not current; run: python docs/scripts/make_equal_bits_page.py"
        )


if __name__ == "__main__":
    main()
