"""``qsgd-lab methods``: what can be named by --compressor and --algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options.training import import_option
from qsgd_lab.terminal import fill


@click.command()
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json", "csv", "latex"]),
    default="text",
    show_default=True,
    help="How the list is printed.",
)
@import_option
@click.pass_obj
def methods(has_own_process: bool | None, format_name: str, imports: Sequence[str]) -> None:
    """List compressors, wrappers of compressors, and algorithms, with their options and properties.

    Factors and bits are those of 4,096 normal coordinates at the method's defaults; a wrapper is shown around
    qsgd.

    \b
    Example:
      qsgd-lab methods
      qsgd-lab methods --format json
    """
    from qsgd_lab import plugins
    from qsgd_lab.algorithms.registry import ALGORITHMS
    from qsgd_lab.compilation import run_kernels_plain
    from qsgd_lab.compressors.registry import COMPRESSORS
    from qsgd_lab.report.methods import facts

    if has_own_process:
        run_kernels_plain()  # the examples take a second; compiling what they call, most of a minute
    with argument_errors():
        plugins.load(imports)
        rows = [*facts(COMPRESSORS), *facts(ALGORITHMS)]
    write = {"text": _text, "json": _json, "csv": _csv, "latex": _latex}[format_name]
    click.echo(write(rows).encode(), nl=False)


def _json(rows: list[dict[str, Any]]) -> str:
    import json

    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(rows: list[dict[str, Any]]) -> str:
    import csv
    import io

    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "options": " ".join(o["name"] for o in row["options"])} for row in rows)
    return stream.getvalue()


def _text(rows: list[dict[str, Any]]) -> str:
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        lines.append(f"{kind}s")
        for row in (row for row in rows if row["kind"] == kind):
            lines.append(fill(f"{row['name']}: {row['summary']}", indent="  ", hanging=" " * 6))
            details = []
            for option in row["options"]:
                choices = f" ({', '.join(option['choices'])})" if option["choices"] else ""
                details.append(f"{option['name']}={option['default']}: {option['help']}{choices}")
            if row["unbiased"] is not None:
                details.append(", ".join(_properties(row)))
            if "problem" in row:
                details.append(f"cannot be used: {row['problem']}")
            if row["origin"] != "qsgd_lab":
                details.append(f"from {row['origin']}")
            lines += [fill(detail, indent=" " * 6, hanging=" " * 8) for detail in details]
    return "\n".join(lines) + "\n"


def _properties(row: dict[str, Any]) -> list[str]:
    words = ["unbiased" if row["unbiased"] else "biased"]
    words += [f"variance factor {row['variance_factor']:.4g}"] if row["variance_factor"] is not None else []
    words += [f"contraction {row['contraction']:.4g}"] if row["contraction"] is not None else []
    words += [f"{row['bits']:.3f} bits a coordinate"] if row["bits"] is not None else []
    return [*words, row["aggregates"]]


def _latex(rows: list[dict[str, Any]]) -> str:
    from qsgd_lab.report.formats.latex_numbers import escape

    def number(value: float | None) -> str:
        return "--" if value is None else f"{value:.4g}"

    head = r"Method & Kind & Unbiased & $\omega$ & $\delta$ & Bits/coord. & Source \\"
    body = [
        " & ".join(
            [
                escape(row["spec"]),
                row["kind"],
                {True: "yes", False: "no", None: "--"}[row["unbiased"]],
                number(row["variance_factor"]),
                number(row["contraction"]),
                number(row["bits"]),
                escape(row["source"]),
            ]
        )
        + r" \\"
        for row in rows
    ]
    lines = [
        r"\begin{tabular}{llllrrl}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"
