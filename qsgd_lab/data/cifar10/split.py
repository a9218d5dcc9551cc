"""The split of CIFAR-10's 50 000 official training images into 45 000 and 5 000."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.split import Indices, checked_split

#: One image in ten is for validation.
VALIDATION_SHARE = 10
#: Digest of the permutation of 50 000 behind the split.
PERMUTATION_SHA256 = "34d9b36a87640c8bfe01efc6b1c8e829a1fa8749a758b02a5e3ba14e20586e2b"


def train_validation_split(labels: NDArray[np.uint8]) -> tuple[Indices, Indices]:
    """Return the indices of the training and of the validation images, see `checked_split`."""
    return checked_split(labels, VALIDATION_SHARE, 50_000, PERMUTATION_SHA256)
