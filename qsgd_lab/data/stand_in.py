"""Made-up images in the shapes of a data set: for timing, where the data set itself need not be there."""

from __future__ import annotations

import torch

from qsgd_lab.data.cifar10.load import NORMALISATION
from qsgd_lab.data.dataset import Dataset, Part

NUM_CLASSES = 10

#: Name -> images for training, validation and testing, and whether they are stored as bytes.
SHAPES = {"digits": ((1257, 180, 360), False), "cifar10": ((45_000, 5_000, 10_000), True)}


def stand_in(name: str) -> Dataset:
    """Return noise in place of a data set: as many images, of the same type; every image is the same one.

    One image is held, and repeated by stride, so that no memory goes into it.

    Parameters
    ----------
    name : str
        Key of `qsgd_lab.data.DATASETS`.
    """
    sizes, bytes_ = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 32, 32, generator=generator)
    image = (255 * noise).to(torch.uint8) if bytes_ else (noise - 0.5) * 2
    parts = (
        Part(
            image.expand(size, -1, -1, -1),
            torch.arange(size) % NUM_CLASSES,
            NORMALISATION if bytes_ else None,
        )
        for size in sizes
    )
    return Dataset(name, NUM_CLASSES, *parts)
