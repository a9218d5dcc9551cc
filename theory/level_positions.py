"""Positions of a vector's coordinates between the quantizer's levels: the start of every exact formula.

With s levels, a bucket of norm N and a coordinate v_i, the position is x_i = s |v_i| / N in [0, s].
Stochastic rounding takes level floor(x_i) + 1 with probability p_i = x_i - floor(x_i) and level floor(x_i)
otherwise, independently over the coordinates; one level is worth N / s. Everything here is float64 and
free of any backend.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import choice, fits_memory, optional_whole, vector, whole
from qsgd_lab.theory.arrays import Floats


@dataclass(frozen=True)
class LevelPositions:
    """A vector seen from the quantizer: positions between levels, and the norm of each bucket.

    Attributes
    ----------
    positions : ndarray of float64, shape (n,)
        x_i = s |v_i| / norm of its bucket, in levels; 0 in a zero bucket.
    norms : ndarray of float64, shape (B,)
        One norm a bucket, in the units of the vector.
    num_levels : int
        s, the number of levels above zero.
    bucket_size : int
        d, the number of coordinates a bucket has; the last may be shorter.

    Notes
    -----
    Properties are computed when asked for and not kept, because a vector may be large.
    """

    positions: Floats
    norms: Floats
    num_levels: int
    bucket_size: int

    @property
    def lower_levels(self) -> Floats:
        """floor(x_i), shape (n,): the level below (or at) the coordinate, as float64."""
        return np.floor(self.positions)

    @property
    def up_probabilities(self) -> Floats:
        """p_i = x_i - floor(x_i), shape (n,): the probability of the level above."""
        return self.positions - self.lower_levels

    @property
    def bernoulli_variances(self) -> Floats:
        """p_i (1 - p_i), shape (n,): the variance of the level, in squared levels."""
        p = self.up_probabilities
        return p * (1 - p)

    @property
    def nonzero_probabilities(self) -> Floats:
        """P(level_i > 0) = min(1, x_i), shape (n,)."""
        return np.minimum(self.positions, 1.0)

    @property
    def nearest_levels(self) -> Floats:
        """The level that rounding to nearest takes, floor(x_i + 1/2), shape (n,), as float64."""
        return np.floor(self.positions + 0.5)

    def rounded(self) -> LevelPositions:
        """Return the positions that rounding to nearest takes: then nothing is left to chance."""
        return dataclasses.replace(self, positions=self.nearest_levels)

    @property
    def steps(self) -> Floats:
        """What one level is worth at each coordinate, norm / s, shape (n,), in the units of the vector."""
        return self.per_coordinate(self.norms / self.num_levels)

    def per_coordinate(self, per_bucket: Floats) -> Floats:
        """Repeat a value a bucket, shape (B,), at each of its coordinates, shape (n,)."""
        if per_bucket.size == 1:
            return np.broadcast_to(per_bucket, self.positions.shape)
        # The last bucket may be short, so the repeats are cut to the vector.
        return np.repeat(per_bucket, self.bucket_size)[: self.positions.size]

    def bucket_sums(self, per_coordinate: Floats) -> Floats:
        """Add up a value a coordinate, shape (n,), within each bucket, shape (B,)."""
        return np.add.reduceat(per_coordinate, np.arange(0, self.positions.size, self.bucket_size))

    @property
    def bucket_lengths(self) -> Floats:
        """The number of coordinates in each bucket, shape (B,)."""
        return bucket_lengths(self.positions.size, self.bucket_size)


def level_positions(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> LevelPositions:
    """Place a vector between the quantizer's levels (QSGD, section 3.1: the "u" of Q_s, times s).

    Parameters
    ----------
    gradient : array_like, any shape, real and finite
        Read in C order as one vector of n >= 1 coordinates; computed in float64.
    num_levels : int
        s >= 1.
    norm : {"l2", "max"}
        What a bucket is scaled by.
    bucket_size : int, optional
        d >= 1; None is one bucket for the whole vector.

    Raises
    ------
    ValueError
        If the vector is empty or not finite, or a parameter is out of range.

    Examples
    --------
    >>> level_positions([3.0, 4.0], 5).positions
    array([3., 4.])
    """
    found, s = vector("gradient", gradient), whole("num_levels", num_levels)
    choice("norm", norm, NORMS)
    size = min(optional_whole("bucket_size", bucket_size) or found.size, found.size)
    unit, norms = _scale_buckets(found, size, norm)
    # A coordinate that is all of its bucket may come out a rounding above s.
    return LevelPositions(np.minimum(s * unit, s), norms, s, size)


def bucket_lengths(num_coordinates: int, bucket_size: int | None) -> Floats:
    """Return the number of coordinates in each bucket, shape (B,), the last one possibly short.

    `bucket_kinds` says the same without a list.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the list would take more than half of this machine's memory.

    Examples
    --------
    >>> bucket_lengths(10, 4)
    array([4., 4., 2.])
    """
    lengths, counts = bucket_kinds(num_coordinates, bucket_size)
    fits_memory("num_coordinates", num_coordinates, int(counts.sum()), 8)
    return np.repeat(lengths, counts.astype(np.int64))


def bucket_kinds(num_coordinates: int, bucket_size: int | None) -> tuple[Floats, Floats]:
    """Return (lengths, counts) of the full buckets and, if there is one, of the short last bucket.

    Examples
    --------
    >>> bucket_kinds(2**30 + 1, 512)
    (array([512.,   1.]), array([2.097152e+06, 1.000000e+00]))
    """
    n = whole("num_coordinates", num_coordinates)
    size = min(optional_whole("bucket_size", bucket_size) or n, n)
    full, rest = divmod(n, size)
    kinds = [(size, full), (rest, 1)] if rest else [(size, full)]
    lengths, counts = np.array(kinds, dtype=np.float64).T
    return lengths, counts


def _scale_buckets(vector: Floats, size: int, norm: Norm) -> tuple[Floats, Floats]:
    """Return |v_i| / norm of its bucket, shape (n,), and the norms, shape (B,)."""
    num_buckets = -(-vector.size // size)
    padded = np.zeros(num_buckets * size)
    padded[: vector.size] = np.abs(vector)
    buckets = padded.reshape(num_buckets, size)
    # Dividing by the largest coordinate first keeps squares of very large or very small numbers in range.
    peaks = buckets.max(axis=1)
    buckets /= np.where(peaks > 0, peaks, 1.0)[:, None]
    relative_norms = (
        np.sqrt(np.einsum("bd,bd->b", buckets, buckets)) if norm == "l2" else np.ones(num_buckets)
    )
    buckets /= np.where(peaks > 0, relative_norms, 1.0)[:, None]
    return padded[: vector.size], peaks * relative_norms
