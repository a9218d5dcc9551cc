"""CIFAR-10: 45 000 images for training, 5 000 for validation, the official 10 000 for testing.

References
----------
Krizhevsky: Learning multiple layers of features from tiny images. Technical report, University of Toronto,
2009.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.data.cifar10.find import require_cifar10, search_folders
from qsgd_lab.data.cifar10.read import read_cifar10, train_validation_split
from qsgd_lab.data.cifar10.release import OFFICIAL, Release
from qsgd_lab.data.dataset import Dataset, Part
from qsgd_lab.data.normalisation import Normalisation


def load_cifar10(directory: str | Path | None = None, release: Release = OFFICIAL) -> Dataset:
    """Return CIFAR-10, or CIFAR-100 by its release, always split the same way; images stay bytes.

    Parameters
    ----------
    directory : path-like, optional
        The folder that holds an archive or an unpacked folder; by default the usual places
        (`places.search_folders`).
    release : Release
        What the files must be.

    Raises
    ------
    DataMissingError
        If no copy is there, or it cannot be read.
    IntegrityError
        If the copy is not the release.
    """
    folders = search_folders() if directory is None else [Path(directory)]
    arrays = read_cifar10(require_cifar10(folders, release))
    train, validation = train_validation_split(arrays.train_labels)
    # ``qsgd-lab data verify`` measures those of the part for training. (The often copied deviations near 0.2
    # are something else: means of each image's own deviation.)
    normalisation = Normalisation(mean=release.mean, std=release.std)
    return Dataset(
        release.dataset,
        release.num_classes,
        train=_part(arrays.train_images[train], arrays.train_labels[train], normalisation),
        validation=_part(arrays.train_images[validation], arrays.train_labels[validation], normalisation),
        test=_part(arrays.test_images, arrays.test_labels, normalisation),
    )


def _part(images: NDArray[np.uint8], labels: NDArray[np.uint8], normalisation: Normalisation) -> Part:
    return Part(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), normalisation)
