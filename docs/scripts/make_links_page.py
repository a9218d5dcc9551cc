"""Write the measured tables of docs/distributed.md from committed results, or check that they are current.

python docs/scripts/make_links_page.py            write them from benchmarks/link_results.json
python docs/scripts/make_links_page.py --check    exit with 1 if they would change

The file is what ``benchmarks/link_bars.py --out`` writes, as root on an idle machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE, RESULTS = ROOT / "docs" / "distributed.md", ROOT / "benchmarks" / "link_results.json"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->"
NAMES = {
    "fp32": "float32",
    "fp16": "float16",
    "powersgd": "PowerSGD, rank 2",
    "2:all-gather": "2 bit, all-gather",
    "2:two-phase": "2 bit, two-phase",
    "2:all-gather:ranged": "2 bit, all-gather, ranged",
    "2:two-phase:ranged": "2 bit, two-phase, ranged",
}
BYTES_OF = "200 Mbit/s, W = 2"


def named(text: str) -> str:
    """Return a line with the methods' names in words."""
    return re.sub("|".join(sorted(map(re.escape, NAMES), key=len, reverse=True)), lambda m: NAMES[m[0]], text)


def milliseconds(seconds: float) -> str:
    """Return a time with three digits or more."""
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.1f}"


def steps(links: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield the table of steps: milliseconds, and how many times faster than float32."""
    yield "| links, ranks | " + " | ".join(NAMES.values()) + " |"
    yield "| --- |" + " ---: |" * len(NAMES)
    for setting, rows in links.items():
        of = {row["method"]: row["median_s"] for row in rows}
        gains = {name: f" ({of['fp32'] / of[name]:.2f}x)" for name in of if name != "fp32"}
        cells = (milliseconds(of[name]) + gains.get(name, "") if name in of else "--" for name in NAMES)
        yield f"| {setting} | " + " | ".join(cells) + " |"


def sizes(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of bytes of a step and rank."""
    yield "| method | formula | counted | interface | more than counted |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for row in (row for row in rows if row["modelled_bytes"] and row["method"] != "fp16"):
        counted, known = row["counted_bytes"], row["counted_bytes"] or row["modelled_bytes"]
        cells = (row["modelled_bytes"], counted, row["sent_bytes"])
        texts = ["--" if cell is None else f"{cell:,.0f}".replace(",", " ") for cell in cells]
        more = 100 * (row["sent_bytes"] / known - 1)
        yield f"| {NAMES[row['method']]} | {' | '.join(texts)} | {more:.1f} % |"


def bars(found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of bars."""
    yield "| bar | asked | measured | |"
    yield "| --- | --- | --- | --- |"
    for bar in found:
        verdict = "holds" if bar["holds"] else "**missed**"
        yield f"| {named(bar['what'])} | {bar['asked']} | {named(bar['found'])} | {verdict} |"


def tables() -> str:
    """Return what is between the marks."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    here, first = found["conditions"], next(iter(found["links"].values()))[0]
    packages = ", ".join(f"{name} {number}" for name, number in here["packages"].items())
    parameters = f"{first['parameters']:,}".replace(",", " ")
    lines = [
        f"Measured on {here['date']} with {here['cores']} cores of {here['processor']}",
        f"({packages}), of which others used at most {here['others_used']:g}: AlexNet of {parameters}",
        f"parameters, 16 images a rank, medians of {first['steps']} steps in ms, with the speed-up over",
        "float32 in brackets. At four ranks two share a core.",
        "",
        *steps(found["links"]),
        "",
        "Bytes of the same run, over 200 Mbit/s, a step and rank. *Counted* is what the hook counts, and is",
        "what its messages have; the interface's counter has headers of TCP, IP and Ethernet and",
        "acknowledgements besides.",
        "",
        *sizes(found["links"][BYTES_OF]),
        "",
        "Every bar that this project has set itself for links:",
        "",
        *bars(found["bars"]),
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the page would change.")
def main(check: bool) -> None:
    """Write the tables of the page, or check them."""
    page = PAGE.read_text(encoding="utf-8")
    front, rest = page.split(BEGIN)
    text = front + BEGIN + "\n" + tables() + "\n" + END + rest.split(END)[1]
    if check and text != page:
        raise click.ClickException(f"{PAGE.name} is not current; run python docs/scripts/make_links_page.py")
    if not check:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
