"""A data set as arrays, split once and for all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from qsgd_lab.data.augmentation import crop_and_flip
from qsgd_lab.data.normalisation import Normalisation
from qsgd_lab.inputs import Inputs


@dataclass(frozen=True)
class Part:
    """Inputs and labels of one part.

    Attributes
    ----------
    images : tensor, shape (m, ...)
        Float32 ready for a model or, with a `normalisation`, uint8 as stored: a quarter of the memory. Of
        sequences, int64 symbols.
    labels : int64 tensor, shape (m, ...)
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
        """Return some images, ready for a model, and their labels; made where the part is.

        Parameters
        ----------
        chosen : int64 tensor or slice
            Which images.
        placements : uint8 tensor, shape (m, 3), optional
            Where each image of the part is cropped and whether it is flipped in this epoch
            (`augmentation.draw_placements`); without them images are taken as they are.

        Returns
        -------
        images : float32 or int64 tensor, shape (k, ...)
        labels : int64 tensor, shape (k, ...)
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
    """Training, validation and test parts. Choices are made on validation; test is read once a run.

    Attributes
    ----------
    name : str
    num_classes : int
    train, validation, test : Part
    num_symbols : int
        Inputs are sequences of symbols from 0 to so many, exclusive; 0 for others.
    """

    name: str
    num_classes: int
    train: Part
    validation: Part
    test: Part
    num_symbols: int = field(default=0, kw_only=True)

    @property
    def inputs(self) -> Inputs:
        """What a network is given."""
        shape, label_shape = self.train.images.shape[1:], self.train.labels.shape[1:]
        return Inputs(tuple(shape), self.num_classes, self.num_symbols, tuple(label_shape))

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
