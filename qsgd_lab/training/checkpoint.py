"""A run's whole state in one .npz file without pickles: arrays, and the scalars as JSON text.

The checkpoints of a run that are kept: the best on validation.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.files import replace_whole

Arrays = dict[str, NDArray[Any]]

#: Raised when what a run keeps changes; a checkpoint of another format is not taken up.
FORMAT = 5


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
    head = {"format": FORMAT, "key": key, "scalars": scalars, "sha256": _digest(arrays, scalars)}
    text = np.array(json.dumps(head))
    replace_whole(path, lambda file: np.savez(file, allow_pickle=False, _scalars=text, **arrays))


def load_checkpoint(path: Path, key: str) -> tuple[Arrays, dict[str, Any]] | None:
    """Return (arrays, scalars) of a checkpoint of this configuration, or None if none can be used.

    A damaged or foreign file, or one of another version, is not an error: the run then starts over. Which
    exceptions damage raises is up to NumPy, zipfile, zlib and json, so none of them is let through.
    """
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            path.open("rb") as stream,
            np.load(stream, allow_pickle=False) as stored,
        ):
            arrays = {name: stored[name] for name in stored.files}
        head = json.loads(str(arrays.pop("_scalars")))
        if (head["format"], head["key"]) != (FORMAT, key):
            return None
        if head["sha256"] != _digest(arrays, head["scalars"]):
            return None
        return arrays, head["scalars"]
    except Exception:
        return None


def _digest(arrays: Arrays, scalars: dict[str, Any]) -> str:
    """Return the SHA-256 of all names, types, shapes and values: a sound archive may hold other ones."""
    as_read = json.loads(json.dumps(scalars))  # keys are text, tuples are lists
    state = hashlib.sha256(json.dumps(as_read, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(json.dumps([name, array.dtype.str, list(arrays[name].shape)]).encode())
        state.update(array.tobytes())
    return state.hexdigest()


Snapshot = list[torch.Tensor]


class Selection:
    """The snapshots with the highest validation accuracies, of equal ones the earliest.

    Parameters
    ----------
    first : list of tensors
        The network before training: what there is while no epoch has ended.
    size : int
        How many are kept. An honest run needs one.

    Attributes
    ----------
    ranks : list of (float, int)
        (validation accuracy, epoch) of each snapshot, the best first; epoch 0 is before training.
    snapshots : list of list of tensors
    """

    def __init__(self, first: Snapshot, size: int = 1) -> None:
        self.size = size
        self.ranks: list[tuple[float, int]] = [(-1.0, 0)]
        self.snapshots: list[Snapshot] = [first]

    def wants(self, accuracy: float) -> bool:
        """Whether a snapshot with this validation accuracy would be kept."""
        return self.ranks[-1][1] == 0 or len(self.ranks) < self.size or accuracy > self.ranks[-1][0]

    def keep(self, accuracy: float, epoch: int, snapshot: Snapshot) -> None:
        """Keep a snapshot, and drop what it displaces."""
        if self.ranks[0][1] == 0:  # what was there before training
            self.ranks.clear()
            self.snapshots.clear()
        place = sum(accuracy <= rank[0] for rank in self.ranks)
        self.ranks.insert(place, (accuracy, epoch))
        self.snapshots.insert(place, snapshot)
        del self.ranks[self.size :], self.snapshots[self.size :]

    def arrays(self) -> Arrays:
        """Return the snapshots as arrays by name, for a checkpoint."""
        return {
            f"best{rank}-{index}": tensor.cpu().numpy()
            for rank, snapshot in enumerate(self.snapshots)
            for index, tensor in enumerate(snapshot)
        }

    def load(self, arrays: Arrays, ranks: Sequence[Sequence[Any]]) -> None:
        """Take up what `arrays` and `ranks` were when a checkpoint was written."""
        count = len(self.snapshots[0])
        self.ranks = [(float(accuracy), int(epoch)) for accuracy, epoch in ranks]
        self.snapshots = [
            [torch.from_numpy(arrays[f"best{rank}-{index}"]) for index in range(count)]
            for rank in range(len(self.ranks))
        ]
