"""The output of ``qsgd-lab inspect`` for a message of wire format 2."""

from __future__ import annotations

from typing import Any

import numpy as np

import qsgd_lab as ql
from qsgd_lab.cli.measure.rows_output import Table, as_text
from qsgd_lab.partition import Partition
from qsgd_lab.wire.envelope import open_sections
from qsgd_lab.wire.kind import Content
from qsgd_lab.wire.kinds import kind_of
from qsgd_lab.wire.message import open_content

FORMS = ("one flat array", "one array", "one array cut in tensors", "a list of arrays")
MOST_SHAPES = 8  # that the text shows


def describe_wire2(message: Any, max_coordinates: int | None = None) -> dict[str, Any]:
    """Return everything that is known of a message of version 2, JSON-ready.

    Raises
    ------
    MessageError
        If it is not one.
    """
    content = open_content(message, max_coordinates=max_coordinates)
    structure, sections = content.structure, open_sections(message)
    coordinates = structure.num_coordinates
    sizes = sections.bytes | {"total": len(memoryview(message).cast("B"))}
    bits = {part: 8 * size / coordinates if coordinates else None for part, size in sizes.items()}
    return {
        "version": 2,
        "kind": sections.kind.name,
        "payload": describe_payload(content),
        "coordinates": coordinates,
        "structure": FORMS[structure.form],
        "tensors": structure.num_tensors,
        "shapes": [list(shape) for shape in structure.shapes],
        "key": None if content.key is None else content.key._asdict(),
        "used_tensors": None if content.used is None else int(content.used.sum()),
        "bytes": sizes,
        "bits_per_coordinate": bits,
    }


def describe_payload(content: Content) -> dict[str, Any]:
    """Return what is known of a payload, JSON-ready: its numbers, and the types and lengths of its arrays."""
    payload = content.payload
    if isinstance(payload, ql.QuantizedGradient):
        counts = np.bincount(payload.levels.astype(np.int64) + payload.num_levels)
        return {
            "layout": getattr(payload, "layout", "fixed"),
            "s": payload.num_levels,
            "norm": payload.norm,
            "bucket_size": payload.partition.bucket_size,
            "norms": payload.norms.size,
            "not_finite_norms": int(np.isnan(payload.norms).sum()),
            "levels": {int(i) - payload.num_levels: int(counts[i]) for i in np.flatnonzero(counts)},
        }
    described: dict[str, Any] = {}
    for name in payload.__dataclass_fields__:
        value = getattr(payload, name)
        if isinstance(value, Content):
            described[name] = {"kind": kind_of(value.payload).name, **describe_payload(value)}
        elif isinstance(value, ql.QuantizedGradient):
            described[name] = describe_payload(Content(value, content.structure))
        elif isinstance(value, np.ndarray):
            described[name] = f"{value.size} of {value.dtype}"
        elif isinstance(value, bytes):
            described[name] = value.hex()
        elif isinstance(value, Partition):
            described["bucket_size"] = value.bucket_size
        elif name not in ("structure", "key"):  # which the message itself has
            described[name] = value._asdict() if hasattr(value, "_asdict") else value
    return described


def render_wire2(description: dict[str, Any], name: str) -> str:
    """Return the description as text, ending in a newline."""
    shapes = [str(tuple(shape)) for shape in description["shapes"][:MOST_SHAPES]]
    more = len(description["shapes"]) - len(shapes)
    lines = [
        f"{name}: version 2, {description['kind']}, {description['coordinates']} coordinates",
        f"{description['structure']}, {description['tensors']} tensors: shape {', '.join(shapes)}"
        + (f" and {more} more" if more else ""),
    ]
    if description["key"] is not None:
        lines.append(
            "key: " + ", ".join(f"{field} {int(value)}" for field, value in description["key"].items())
        )
    if description["used_tensors"] is not None:
        lines.append(f"{description['used_tensors']} tensors had a gradient")
    lines += [f"{field}: {value}" for field, value in description["payload"].items() if field != "levels"]
    rows = [
        [part, str(size), _figure(description["bits_per_coordinate"][part])]
        for part, size in description["bytes"].items()
    ]
    tables = [Table(("part", "bytes", "bits a coordinate"), rows, "Sizes", left=(0,), keys=1)]
    return as_text(["\n".join(lines) + "\n", *tables, *_levels(description["payload"].get("levels"))])


def _levels(levels: dict[int, int] | None) -> list[Table]:
    """Return the table of levels by magnitude, if there are any."""
    if not levels:
        return []
    counts: dict[int, int] = {}
    for level, count in levels.items():
        counts[abs(level)] = counts.get(abs(level), 0) + count
    total = sum(counts.values())
    rows = [[str(level), str(count), f"{100 * count / total:.3f}"] for level, count in sorted(counts.items())]
    return [Table(("|level|", "coordinates", "%"), rows, "Levels", keys=1)]


def _figure(bits: float | None) -> str:
    return "" if bits is None else f"{bits:.4f}"
