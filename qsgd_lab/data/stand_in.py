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
    noise = torch.rand(entry.shape, generator=torch.Generator().manual_seed(0))
    normalisation = None
    if entry.num_symbols:
        one = (entry.num_symbols * noise).to(torch.int64)
    elif entry.stores_bytes:
        one = (255 * noise).to(torch.uint8)
        # Any figures do: the time of a normalisation does not depend on them.
        normalisation = Normalisation((0.5,) * entry.shape[0], (0.25,) * entry.shape[0])
    else:
        one = (noise - 0.5) * 2
    parts = (
        Part(
            one.expand(size, *entry.shape), _labels(size, entry.label_shape, entry.num_classes), normalisation
        )
        for size in entry.sizes
    )
    return Dataset(name, entry.num_classes, *parts, num_symbols=entry.num_symbols)


def _labels(size: int, label_shape: tuple[int, ...], num_classes: int) -> torch.Tensor:
    labels = torch.arange(size) % num_classes
    return labels.view(size, *(1 for _ in label_shape)).expand(size, *label_shape)
