"""A data set as arrays, split once and for all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch


@dataclass(frozen=True)
class Part:
    """Images, float32 of shape (m, 3, 32, 32), and labels, int64 of shape (m,)."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test parts. Choices are made on validation; test is read once a run."""

    name: str
    num_classes: int
    train: Part
    validation: Part
    test: Part

    @cached_property
    def sha256(self) -> str:
        """Digest of all arrays in order: what a run was really trained on."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            for array in (part.images, part.labels):
                digest.update(np.ascontiguousarray(array.numpy()).tobytes())
        return digest.hexdigest()
