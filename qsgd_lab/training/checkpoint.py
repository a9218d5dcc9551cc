"""A run's whole state in one .npz file without pickles: arrays, and the scalars as JSON text."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

#: Raised when what a run keeps changes; a checkpoint of another format is not taken up.
FORMAT = 3


def save_checkpoint(path: Path, key: str, arrays: Arrays, scalars: dict[str, Any]) -> None:
    """Write a checkpoint atomically; a file that is already there survives any failure.

    Parameters
    ----------
    path : Path
    key : str
        Of the configuration that the state belongs to.
    arrays : dict of str to array
    scalars : dict
        JSON-ready.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    text = np.array(json.dumps({"format": FORMAT, "key": key, "scalars": scalars}))
    try:
        with part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, _scalars=text, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path, key: str) -> tuple[Arrays, dict[str, Any]] | None:
    """Return (arrays, scalars) of a checkpoint of this configuration, or None if none can be used.

    A damaged or foreign file, or one of another version, is not an error: the run then starts over.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        head = json.loads(str(arrays.pop("_scalars")))
        if (head["format"], head["key"]) != (FORMAT, key):
            return None
        return arrays, head["scalars"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
