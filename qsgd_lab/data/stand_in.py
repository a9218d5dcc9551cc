"""Made-up images in the shapes of a data set: for timing, where the data set itself need not be there."""

from __future__ import annotations

import torch

from qsgd_lab.data.dataset import Dataset, Part
from qsgd_lab.data.normalisation import Normalisation
from qsgd_lab.data.registry import dataset_entry


def stand_in(name: str) -> Dataset:
    """Return noise in place of a data set: as many images, of the same type; every image is the same one.

    One image is held, and repeated by stride, so that no memory goes into it.

    Parameters
    ----------
    name : str
        Key of `qsgd_lab.data.DATASETS`.
    """
    entry = dataset_entry(name)
    channels = entry.shape[0]
    # Any figures do: the time of a normalisation does not depend on them.
    normalisation = Normalisation((0.5,) * channels, (0.25,) * channels) if entry.stores_bytes else None
    noise = torch.rand(entry.shape, generator=torch.Generator().manual_seed(0))
    image = (255 * noise).to(torch.uint8) if entry.stores_bytes else (noise - 0.5) * 2
    parts = (
        Part(image.expand(size, -1, -1, -1), torch.arange(size) % entry.num_classes, normalisation)
        for size in entry.sizes
    )
    return Dataset(name, entry.num_classes, *parts)
