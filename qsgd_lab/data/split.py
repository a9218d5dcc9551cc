"""Splits of a data set that never change: by a keyed permutation, every class in equal shares."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.errors import IntegrityError
from qsgd_lab.stream import Purpose, generator

SPLIT_SEED = 0

Indices = NDArray[np.int64]


def stratified_split(labels: ArrayLike, sizes: Sequence[int]) -> list[Indices]:
    """Return disjoint index arrays of the given sizes and, last, the rest; classes spread evenly over each.

    Examples are shuffled and sorted by class; an even comb over that order takes from each class its share,
    to within one.

    Parameters
    ----------
    labels : integers, shape (m,)
    sizes : sequence of int
        Adding up to m at most.

    Returns
    -------
    list of int64 arrays
        One a size and one for the rest, each in ascending order.
    """
    labels = np.asarray(labels)
    shuffled = generator(SPLIT_SEED, Purpose.SPLIT).permutation(len(labels))
    rest = shuffled[np.argsort(labels[shuffled], kind="stable")]
    parts = []
    for size in sizes:
        chosen = np.zeros(len(rest), bool)
        chosen[np.linspace(0, len(rest), size, endpoint=False).astype(int)] = True
        parts.append(np.sort(rest[chosen]))
        rest = rest[~chosen]
    return [*parts, np.sort(rest)]


def checked_split(labels: ArrayLike, share: int, size: int, sha256: str) -> tuple[Indices, Indices]:
    """Return the indices of the training and of the validation part, each in ascending order.

    Parameters
    ----------
    labels : integers, shape (m,)
    share : int
        One input in so many is for validation.
    size, sha256 : int, str
        A permutation of 0 to size - 1 as NumPy must make it, by the digest of its little-endian int64.

    Raises
    ------
    IntegrityError
        If this version of NumPy permutes otherwise, which would make another split.
    """
    permutation = generator(SPLIT_SEED, Purpose.SPLIT).permutation(size)
    if hashlib.sha256(permutation.astype("<i8").data).hexdigest() != sha256:
        raise IntegrityError(
            f"NumPy {np.__version__} permutes otherwise than the split was made with; install the version "
            "that constraints.txt names"
        )
    validation, train = stratified_split(labels, (np.asarray(labels).size // share,))
    return train, validation


def split_sha256(parts: Iterable[Indices]) -> str:
    """Return the digest of a split: its index arrays in order, as little-endian int64."""
    digest = hashlib.sha256()
    for indices in parts:
        digest.update(np.ascontiguousarray(indices, "<i8").data)
    return digest.hexdigest()
