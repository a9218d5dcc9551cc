"""Write docs/methods.md from the registries, or check that it is current.

python docs/scripts/make_methods_page.py            write it
python docs/scripts/make_methods_page.py --check    exit with 1 if it would change
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.report.methods import EXAMPLE_COORDINATES, facts

PAGE = Path(__file__).resolve().parent.parent / "methods.md"
#: A paragraph a method, written by hand: what it sends, what is proved, what its public code does.
PARAGRAPHS = Path(__file__).resolve().parent.parent / "methods"

INTRODUCTION = f"""# Methods

<!-- written by docs/scripts/make_methods_page.py from the registries -->

`--compressor` and `--algorithm` take a text: `name`, `name(option=value,...)`, or for a wrapper
`name(compressor,option=value)`. Options at their default may be left out. `qsgd-lab methods` prints this
list, plug-ins included; [extending.md](extending.md) says how to add methods.

ω bounds E‖Q(v) − v‖² / ‖v‖² for unbiased and biased methods alike. δ = 1 − ω, if positive, is the
contraction that error feedback needs. ω, δ and the bits of whole messages are for
{EXAMPLE_COORDINATES:,} normal coordinates at the defaults; a wrapper is shown around `qsgd`.

| method | kind | unbiased | ω | δ | bits/coord. | summary | source |
| --- | --- | --- | ---: | ---: | ---: | --- | --- |
"""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _row(row: dict[str, Any]) -> str:
    unbiased = {True: "yes", False: "no", None: "–"}[row["unbiased"]]
    numbers = " | ".join(_number(row[name]) for name in ("variance_factor", "contraction", "bits"))
    return (
        f"| `{row['spec']}` | {row['kind']} | {unbiased} | {numbers} | {row['summary']} | {row['source']} |\n"
    )


def _section(row: dict[str, Any]) -> str:
    """Return a method's heading, its paragraph and its options; nothing where it has neither."""
    paragraph = PARAGRAPHS / f"{row['name']}.md"
    if not (row["options"] or paragraph.exists()):
        return ""
    lines = [f"\n## {row['name']}\n\n"]
    if paragraph.exists():
        lines.append(paragraph.read_text(encoding="utf-8").strip() + "\n" + "\n" * bool(row["options"]))
    for option in row["options"]:
        choices = f" ({', '.join(option['choices'])})" if option["choices"] else ""
        lines.append(f"* `{option['name']}={option['default']}`: {option['help']}{choices}.\n")
    return "".join(lines)


def page() -> str:
    """Return the page."""
    rows = [*facts(COMPRESSORS), *facts(ALGORITHMS)]
    return INTRODUCTION + "".join(map(_row, rows)) + "".join(map(_section, rows))


@click.command()
@click.option("--check", is_flag=True)
def main(check: bool) -> None:
    """Write the page, or compare it."""
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        raise click.ClickException(
            "docs/methods.md is not current; run: python docs/scripts/make_methods_page.py"
        )


if __name__ == "__main__":
    main()
