"""How CIFAR-10's 50 000 official training images part into 45 000 and 5 000."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.split import SPLIT_SEED, Indices, stratified_split
from qsgd_lab.errors import IntegrityError
from qsgd_lab.stream import Purpose, generator

#: One image in ten is for validation.
VALIDATION_SHARE = 10
#: Digest of the permutation of 50 000 behind the split, as little-endian int64.
PERMUTATION_SHA256 = "34d9b36a87640c8bfe01efc6b1c8e829a1fa8749a758b02a5e3ba14e20586e2b"


def train_validation_split(labels: NDArray[np.uint8]) -> tuple[Indices, Indices]:
    """Return the indices of the training and of the validation images, each in ascending order.

    Parameters
    ----------
    labels : uint8, shape (m,)
        Of the official training images, in their order.

    Raises
    ------
    IntegrityError
        If this version of NumPy permutes otherwise, which would make another split.
    """
    permutation = generator(SPLIT_SEED, Purpose.SPLIT).permutation(50_000)
    if hashlib.sha256(permutation.astype("<i8").data).hexdigest() != PERMUTATION_SHA256:
        raise IntegrityError(
            f"NumPy {np.__version__} permutes otherwise than the split of CIFAR-10 was made with; install "
            "the version that constraints.txt names"
        )
    validation, train = stratified_split(labels, (len(labels) // VALIDATION_SHARE,))
    return train, validation
