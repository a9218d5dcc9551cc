"""``qsgd-lab inspect``: what a message is made of.

It prints a message's header, sizes and levels, and the entropy of the levels.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import numpy as np

import qsgd_lab as ql
from qsgd_lab.cli.measure.rows_output import Table, as_text
from qsgd_lab.cli.messages.files import load_message, message_argument, named
from qsgd_lab.cli.messages.inspect_wire2 import describe_wire2, render_wire2
from qsgd_lab.coding.message import open_frame, version_of

WIRE_2 = 2


@click.command()
@message_argument
@click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--max-coordinates", type=click.IntRange(0), help="Refuse messages of more coordinates.")
def inspect(message_file: Path, output_format: str, max_coordinates: int | None) -> None:
    """Print a message's header, the sizes of its parts, and its levels against their entropy.

    The whole message is decoded, so that it is also checked.

    \b
    Example:
      qsgd-lab inspect grad.qsgd
      qsgd-lab inspect grad.qsgd --format json
    """
    message = load_message(message_file)
    with named(message_file):
        description = describe(message, max_coordinates)
    click.echo(render(description, str(message_file), output_format), nl=False)


def describe(message: Any, max_coordinates: int | None = None) -> dict[str, Any]:
    """Return everything that is known of a message, JSON-ready.

    Raises
    ------
    MessageError
        If it is not one.
    """
    if version_of(message) == WIRE_2:
        return describe_wire2(message, max_coordinates)
    frame = open_frame(message)
    quantized = ql.decode(message, max_coordinates=max_coordinates)
    counts = np.bincount(quantized.levels.astype(np.int64) + quantized.num_levels)
    coordinates = len(quantized)
    sizes = dataclasses.asdict(frame.sizes) | {"total": frame.sizes.total}
    return {
        "header": dataclasses.asdict(frame.header),
        "shape": list(frame.index.shape),
        "tensors": len(frame.index.partition.tensor_sizes),
        "norms": quantized.norms.size,
        "chunks": frame.header.num_chunks,
        "bytes": sizes,
        "bits_per_coordinate": {
            **{part: 8 * size / coordinates if coordinates else None for part, size in sizes.items()},
            "entropy_of_levels": entropy(counts) if coordinates else None,
        },
        "not_finite_norms": int(np.isnan(quantized.norms).sum()),
        "levels": {int(i) - quantized.num_levels: int(counts[i]) for i in np.flatnonzero(counts)},
        "bytes_by_layout_and_code": {
            f"{layout} {code}": size
            for (layout, code), size in ql.message_sizes(
                quantized, chunk_size=frame.header.chunk_size
            ).items()
        },
    }


def entropy(counts: Any) -> float:
    """Return the bits that an ideal code for independent levels of these frequencies takes on average."""
    present = counts[counts > 0]
    shares = present / present.sum()
    return float(max(0.0, -(shares * np.log2(shares)).sum()))


def render(description: dict[str, Any], name: str, output_format: str) -> str:
    """Return the description as ``text`` or ``json``, ending in a newline."""
    if output_format == "json":
        return json.dumps({"file": name, **description}, indent=1, allow_nan=False) + "\n"
    if description.get("version") == WIRE_2:
        return render_wire2(description, name)
    return as_text(
        [_summary(description, name), _sizes(description), _levels(description), _alternatives(description)]
    )


def _summary(description: dict[str, Any], name: str) -> str:
    header = description["header"]
    code = "" if header["code"] == "none" else f", {header['code']} code"
    bucket = header["bucket_size"]
    buckets = f"buckets of {bucket}" if isinstance(bucket, int) else f"one bucket a {bucket}"
    lines = [
        f"{name}: {header['num_coordinates']} coordinates, shape {tuple(description['shape'])}",
        f"{header['layout']} layout{code}; s = {header['num_levels']}, {header['norm']} norm, {buckets}; "
        f"{description['chunks']} chunks of {header['chunk_size']}",
    ]
    if description["not_finite_norms"]:
        lines.append(
            f"{description['not_finite_norms']} norms are NaN: those buckets held NaN or an infinity"
        )
    return "\n".join(lines) + "\n"


def _sizes(description: dict[str, Any]) -> Table:
    rows = [
        [part, str(size), _figure(description["bits_per_coordinate"][part])]
        for part, size in description["bytes"].items()
    ]
    rows.append(["entropy of levels", "", _figure(description["bits_per_coordinate"]["entropy_of_levels"])])
    return Table(("part", "bytes", "bits a coordinate"), rows, "Sizes", left=(0,), keys=1)


def _figure(bits: float | None) -> str:
    return "" if bits is None else f"{bits:.4f}"


def _levels(description: dict[str, Any]) -> Table:
    """Return the histogram by magnitude; above 16 magnitudes, in powers of two."""
    counts: dict[int, int] = {}
    for level, count in description["levels"].items():
        counts[abs(level)] = counts.get(abs(level), 0) + count
    total = max(1, sum(counts.values()))
    grouped = counts if len(counts) <= 16 else _by_powers(counts)
    rows = [[str(name), str(count), f"{100 * count / total:.3f}"] for name, count in sorted(grouped.items())]
    header = "|level|" if grouped is counts else "|level| from (up to twice as much)"
    return Table((header, "coordinates", "%"), rows, "Levels", keys=1)


def _by_powers(counts: dict[int, int]) -> dict[int, int]:
    grouped: dict[int, int] = {}
    for magnitude, count in counts.items():
        power = 2 ** (magnitude.bit_length() - 1) if magnitude else 0
        grouped[power] = grouped.get(power, 0) + count
    return grouped


def _alternatives(description: dict[str, Any]) -> Table:
    ranked = sorted(description["bytes_by_layout_and_code"].items(), key=lambda item: item[1])
    rows = [[name.removesuffix(" none"), str(size)] for name, size in ranked]
    return Table(("layout and code", "bytes"), rows, "The same gradient otherwise", left=(0,), keys=1)
