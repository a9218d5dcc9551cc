"""The partition of a range of coordinates."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from qsgd_lab.partition import Partition


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
