"""The division of a gradient's coordinates into tensors and buckets.

The partition of a range of coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from operator import index

import numpy as np
from numpy.typing import NDArray

MAX_TENSOR_SIZE = 2**34  # as many coordinates as a stream has words
MAX_BUCKET_SIZE = 2**60  # as messages of version 1 can say


@dataclass(frozen=True)
class Partition:
    """Tensors and buckets of n coordinates; build it with `partition`.

    Attributes
    ----------
    tensor_sizes : tuple of int
        Coordinates of each tensor; they sum to n.
    bucket_size : int, "tensor" or "model"
        Coordinates that share a norm: an integer (buckets do not straddle tensors; a tensor's last one may be
        short), one bucket a tensor, or one for all.
    """

    tensor_sizes: tuple[int, ...]
    bucket_size: int | str

    @cached_property
    def num_coordinates(self) -> int:
        """The number of coordinates, n."""
        return sum(self.tensor_sizes)

    @cached_property
    def num_buckets(self) -> int:
        """The number of buckets, and of norms, B."""
        return self.bucket_offsets.size - 1

    @cached_property
    def tensor_offsets(self) -> NDArray[np.int64]:
        """Boundaries of the tensors, int64, shape (T + 1,), from 0 to n."""
        offsets = np.zeros(len(self.tensor_sizes) + 1, np.int64)
        offsets[1:] = self.tensor_sizes
        return np.cumsum(offsets, out=offsets)

    @cached_property
    def bucket_offsets(self) -> NDArray[np.int64]:
        """Boundaries of the buckets, int64, shape (B + 1,), from 0 to n. No bucket is empty."""
        tensors = self.tensor_offsets
        if self.bucket_size == "model":
            return np.unique(tensors[[0, -1]])
        if self.bucket_size == "tensor":
            return np.unique(tensors)
        if not isinstance(self.bucket_size, int):
            text = f"the bucket size is {self.bucket_size!r}; it must be an int, 'tensor' or 'model'"
            raise ValueError(text)
        size = min(self.bucket_size, MAX_TENSOR_SIZE)
        filled = np.ones(tensors.size, bool)
        np.not_equal(tensors[1:], tensors[:-1], out=filled[1:])
        tensors = tensors[filled]  # without empty tensors, which have no bucket
        lengths = np.diff(tensors)
        counts = -(-lengths // size)
        offsets = np.arange(counts.sum() + 1)
        offsets[:-1] -= np.repeat(np.cumsum(counts) - counts, counts)  # numbers of buckets in their tensors
        offsets[:-1] *= size
        offsets[:-1] += np.repeat(tensors[:-1], counts)
        offsets[-1] = tensors[-1]
        return offsets


@lru_cache(maxsize=64)
def _partition(tensor_sizes: tuple[int, ...], bucket_size: int | str) -> Partition:
    return Partition(tensor_sizes, bucket_size)


def partition(
    num_coordinates: int,
    bucket_size: int | str = 512,
    tensor_sizes: tuple[int, ...] | None = None,
) -> Partition:
    """Return the partition of `num_coordinates`; without `tensor_sizes` they are one tensor.

    Raises
    ------
    TypeError
        If a tensor size is not an integer.
    ValueError
        If the bucket size is neither an integer from 1 to 2**60 nor "tensor" nor "model", if a tensor size is
        negative or above 2**34, or if the sizes do not sum to `num_coordinates`.
    """
    valid_int = (
        isinstance(bucket_size, int | np.integer) and not isinstance(bucket_size, bool) and bucket_size > 0
    )
    if not valid_int and bucket_size not in ("tensor", "model"):
        raise ValueError(
            f"bucket_size is {bucket_size!r}; it must be a positive integer, 'tensor' or 'model'"
        )
    if valid_int and int(bucket_size) > MAX_BUCKET_SIZE:
        raise ValueError(
            f"bucket_size is {bucket_size}; 2**60 is the most: take 'tensor' for one bucket a tensor"
        )
    sizes = (num_coordinates,) if tensor_sizes is None else tuple(map(index, tensor_sizes))
    if any(size < 0 or size > MAX_TENSOR_SIZE for size in sizes):
        raise ValueError(f"tensor sizes must be from 0 to {MAX_TENSOR_SIZE}, got {sizes}")
    if sum(sizes) != num_coordinates:
        raise ValueError(
            f"tensor_sizes sum to {sum(sizes)}, but the gradient has {num_coordinates} coordinates"
        )
    return _partition(sizes, bucket_size if isinstance(bucket_size, str) else int(bucket_size))


def excerpt(parts: Partition, low: int, high: int) -> tuple[Partition, slice]:
    """Return the partition of coordinates low..high-1, and which buckets it meets.

    The range's buckets are the intersections of the whole's with it. Where it begins inside a bucket of fixed
    size, the rest of that bucket counts as a tensor of its own.

    Parameters
    ----------
    parts : Partition
    low, high : int
        0 <= low <= high <= n.

    Examples
    --------
    >>> excerpt(Partition((10, 6), 4), 3, 12)
    (Partition(tensor_sizes=(1, 6, 2), bucket_size=4), slice(0, 4, None))
    """
    if low == high:
        return Partition((0,), parts.bucket_size), slice(0, 0)
    buckets = parts.bucket_offsets
    first = int(np.searchsorted(buckets, low, side="right")) - 1
    last = int(np.searchsorted(buckets, high, side="left"))
    tensors = parts.tensor_offsets
    cuts = tensors[(tensors > low) & (tensors < high)].tolist()
    if isinstance(parts.bucket_size, int) and buckets[first] < low and buckets[first + 1] < high:
        cuts.append(int(buckets[first + 1]))
    edges = [low, *sorted(set(cuts)), high]
    sizes = tuple(b - a for a, b in pairwise(edges))
    return Partition(sizes, parts.bucket_size), slice(first, last)
