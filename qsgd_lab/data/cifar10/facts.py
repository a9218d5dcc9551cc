"""What a copy of CIFAR-10 is, in figures that can be compared between machines.

Mean and deviation of each colour channel, exactly summed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.cifar10.find import Source
from qsgd_lab.data.cifar10.read import read_cifar10
from qsgd_lab.data.cifar10.split import train_validation_split
from qsgd_lab.data.split import split_sha256


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (means, standard deviations), one a channel, over all pixels of all images, of pixels in [0, 1].

    Parameters
    ----------
    images : uint8, shape (m, channels, height, width)
        Not empty.
    """
    value = np.arange(256) / 255
    means, deviations = [], []
    for channel in np.moveaxis(images, 1, 0):
        share = np.bincount(channel.ravel(), minlength=256) / channel.size
        means.append(float(share @ value))
        deviations.append(float(np.sqrt(share @ (value - means[-1]) ** 2)))
    return tuple(means), tuple(deviations)


def describe_cifar10(source: Source) -> dict[str, Any]:
    """Read a copy whole, check it, and return its facts as JSON-ready values.

    Raises
    ------
    DataMissingError, IntegrityError
        As `read_cifar10` does.
    """
    arrays = read_cifar10(source)
    train, validation = train_validation_split(arrays.train_labels)
    mean, std = channel_statistics(arrays.train_images[train])
    return {
        "path": str(source.path),
        "form": source.form,
        "training_images": len(train),
        "validation_images": len(validation),
        "test_images": len(arrays.test_labels),
        "arrays_sha256": arrays.sha256,
        "split_sha256": split_sha256((train, validation)),
        "channel_means": [round(value, 6) for value in mean],
        "channel_deviations": [round(value, 6) for value in std],
    }
