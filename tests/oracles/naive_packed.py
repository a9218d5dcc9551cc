"""Packed stores read and written the obvious way, with nothing but json: a line a run, its epochs inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def packed_bytes(folder: Path) -> bytes:
    """Return the packed file of a folder of runs that are all finished."""
    lines = []
    for run in sorted(path for path in folder.iterdir() if (path / "run.json").exists()):
        document = json.loads((run / "run.json").read_text(encoding="utf-8"))
        epochs = run / "epochs.jsonl"
        rows = epochs.read_text(encoding="utf-8").splitlines() if epochs.exists() else None
        document["epochs"] = None if rows is None else [json.loads(row) for row in rows]
        lines.append(json.dumps(document, sort_keys=True, separators=(",", ":")))
    return "".join(line + "\n" for line in lines).encode()


def documents(content: bytes) -> dict[str, dict[str, Any]]:
    """Return the lines of a packed file, parsed, by key."""
    return {document["key"]: document for document in map(json.loads, content.decode().splitlines())}


def files(document: dict[str, Any]) -> dict[str, bytes]:
    """Return what the folder of a run holds, by file name."""
    epochs = document["epochs"]
    record = {name: value for name, value in document.items() if name != "epochs"}
    written = {"run.json": (json.dumps(record, sort_keys=True, indent=1) + "\n").encode()}
    if epochs is not None:
        rows = [json.dumps(epoch, sort_keys=True) + "\n" for epoch in epochs]
        written["epochs.jsonl"] = "".join(rows).encode()
    return written
