"""Write the tables of docs/benchmarks.md from the committed results, or check that they are current.

python docs/scripts/make_benchmarks_page.py            write them from benchmarks/cpu_results
python docs/scripts/make_benchmarks_page.py --check    exit with 1 if they would change

bench-NAME.json is what `qsgd-lab bench --against all --levels 1,7,15,127 --format json` writes,
coder-FORM.json what `benchmarks/codec_bars.py --save` writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE, RESULTS = ROOT / "docs" / "benchmarks.md", ROOT / "benchmarks" / "cpu_results"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->"
TITLES = {
    "bench-gauss": "Normal gradient",
    "bench-real": "Gradients of AlexNet on the digits, steps 5 and 30",
    "coder-avx512": "Bars, AVX-512",
    "threads": "Bars, two threads by the clock, on an idle machine",
    "coder-avx2": "Bars, AVX2 (the instructions of a Haswell, on the same processor)",
}
OPERATIONS = ("quantize", "dequantize", "encode", "decode")


def conditions(found: dict[str, Any]) -> str:
    """Return machine, versions and date as one paragraph."""
    packages = {name: number for name, number in found["packages"].items() if number}
    versions = {name: found[name] for name in ("python", "qsgd_lab", "numpy", "numba") if name in found}
    listed = ", ".join(f"{name} {number}" for name, number in {**versions, **packages}.items())
    rounds = found.get("repeats", found.get("rounds"))
    return (
        f"{found['date']}, {found['processor']}, form of the ranged loops {found['ranged_form']}, "
        f"{found['coordinates']} coordinates, the least of {rounds} calls. {listed}."
    )


def speeds(figures: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table by name: ns a coordinate of each operation at each s, and bits."""
    levels = sorted({row["num_levels"] for row in figures if row["num_levels"]})
    yield "| name | operation | " + " | ".join(f"s = {s}" for s in levels) + " | bits |"
    yield "| --- | --- |" + " ---: |" * len(levels) + " --- |"
    copy = next(row for row in figures if row["operation"] == "copy")
    yield f"| {copy['name']} | copy | {copy['ns']:.3f} |" + " |" * (len(levels) - 1) + " |"
    for operation in OPERATIONS:
        for name in dict.fromkeys(row["name"] for row in figures if row["operation"] == operation):
            own = {
                row["num_levels"]: row
                for row in figures
                if (row["name"], row["operation"]) == (name, operation)
            }
            cells = " | ".join(f"{own[s]['ns']:.3f}" if s in own else "" for s in levels)
            bits = [own[s]["bits"] for s in levels if s in own and own[s]["bits"] is not None]
            yield f"| {name} | {operation} | {cells} | {', '.join(f'{b:.3f}' for b in bits)} |"


def bars(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of bars."""
    yield f"{sum(row['holds'] for row in rows)} of {len(rows)} hold.\n"
    yield "| bar | asked | measured | verdict |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        verdict = "holds" if row["holds"] else "**missed**"
        yield f"| {row['what']} | {row['asked']} | {row['measured']} | {verdict} |"


def content() -> str:
    """Return what is between the marks."""
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        lines = bars(found["bars"]) if "bars" in found else speeds(found["figures"])
        title = TITLES.get(path.stem, path.stem)
        parts += [f"## {title}", conditions(found["conditions"]), "\n".join(lines)]
    return "\n".join(["", "\n\n".join(parts), "", ""])


@click.command()
@click.option("--check", is_flag=True, help="Only compare.")
def main(check: bool) -> None:
    """Write the tables, or check them."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    fresh = before + BEGIN + content() + END + rest.split(END)[1]
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    elif fresh != page:
        raise click.ClickException(
            "benchmarks.md is not what benchmarks/cpu_results say; run: "
            "python docs/scripts/make_benchmarks_page.py"
        )


if __name__ == "__main__":
    main()
