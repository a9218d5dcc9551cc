"""A data set as arrays, split once and for all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from qsgd_lab.data.augmentation import crop_and_flip
from qsgd_lab.data.normalisation import Normalisation


@dataclass(frozen=True)
class Part:
    """Images and labels of one part.

    Attributes
    ----------
    images : tensor, shape (m, 3, 32, 32)
        Float32 ready for a model or, with a `normalisation`, uint8 as stored: a quarter of the memory.
    labels : int64 tensor, shape (m,)
    normalisation : Normalisation or None
        What makes bytes ready for a model.
    """

    images: torch.Tensor
    labels: torch.Tensor
    normalisation: Normalisation | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self, chosen: torch.Tensor | slice, placements: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return some images, ready for a model, and their labels; made where the part lies.

        Parameters
        ----------
        chosen : int64 tensor or slice
            Which images.
        placements : uint8 tensor, shape (m, 3), optional
            Where each image of the part is cropped and whether it is flipped in this epoch
            (`augmentation.draw_placements`); without them images are taken as they are.

        Returns
        -------
        images : float32 tensor, shape (k, 3, 32, 32)
        labels : int64 tensor, shape (k,)
        """
        images = self.images[chosen]
        if placements is not None:
            images = crop_and_flip(images, placements[chosen])
        if self.normalisation is not None:
            images = self.normalisation.apply(images)
        return images, self.labels[chosen]

    def to(self, device: torch.device | str) -> Part:
        """Return the part on a device, whole."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


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
                digest.update(np.ascontiguousarray(array.cpu().numpy()).data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> Dataset:
        """Return the data set with all its parts on a device."""
        parts = {name: getattr(self, name).to(device) for name in ("train", "validation", "test")}
        return replace(self, **parts)
