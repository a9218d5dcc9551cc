"""Which checkpoints of a run are kept: the best on validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from qsgd_lab.training.checkpoint import Arrays

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
