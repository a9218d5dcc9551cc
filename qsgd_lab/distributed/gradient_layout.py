"""Places of the gradients in a bucket: DDP fills buckets in reverse, later in the order of arrival."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.wire.envelope import message_length as length_of_version_2


class Run(NamedTuple):
    """Consecutive parameters of a bucket that travel in one message, or in float32.

    Attributes
    ----------
    first : int
        Index of the first parameter; those of the others follow.
    places : list of slice
        Of each parameter in the bucket's buffer.
    kept : slice
        Of all of them in the vector of all parameters, which the residual is.
    is_raw : bool
    """

    first: int
    places: list[slice]
    kept: slice
    is_raw: bool

    def parts(self) -> Iterator[tuple[slice, slice]]:
        """Yield where each parameter is in the bucket, and in the vector of all."""
        at = self.kept.start
        for place in self.places:
            kept = slice(at, at + place.stop - place.start)
            yield place, kept
            at = kept.stop

    def take(self, bucket: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the parameters' values: a view of the bucket where they are one piece, else a copy."""
        if len(self.places) == 1:
            return bucket[self.places[0]]
        return np.concatenate([bucket[place] for place in self.places])

    def put(self, values: NDArray[np.float32], bucket: NDArray[np.float32]) -> None:
        """Write the parameters' values into the bucket."""
        for place, kept in self.parts():
            bucket[place] = values[kept.start - self.kept.start : kept.stop - self.kept.start]


def runs_of(
    indices: Sequence[int], sizes: Sequence[int], starts: NDArray[np.int64], is_raw: Sequence[bool]
) -> list[Run]:
    """Return the parameters of a bucket in the model's order, cut where one is missing.

    Random words are keyed by parameter, so that how DDP fills its buckets changes no value.

    Parameters
    ----------
    indices, sizes : sequence of int
        Of the bucket's parameters, in the order of its buffer: place in the model, coordinates.
    starts : int64, shape (P + 1,)
        Where each parameter of the model begins in the vector of all.
    is_raw : sequence of bool, length P
        Which parameters go in float32.
    """
    ends = np.cumsum(sizes)
    order = sorted(zip(indices, ends - sizes, ends, strict=True))
    raw = [is_raw[index] for index, _, _ in order]
    follows = [b[0] == a[0] + 1 for a, b in pairwise(order)]
    cuts = [i + 1 for i, goes_on in enumerate(follows) if not goes_on or raw[i] != raw[i + 1]]
    runs = []
    for begin, end in pairwise([0, *cuts, len(order)]):
        members = order[begin:end]
        first, last = members[0][0], members[-1][0]
        places = [slice(int(a), int(b)) for _, a, b in members]
        runs.append(Run(first, places, slice(int(starts[first]), int(starts[last + 1])), raw[begin]))
    return runs


def message_length(data: Any) -> int:
    """Return the length of the message that bytes begin with, of either version of the format.

    Raises
    ------
    MessageError
        If there are fewer bytes than a message has.
    """
    if data.size < 32:
        raise MessageError("it ends too early", "truncated")
    if data[4] == 2:
        return length_of_version_2(data[:32])
    return int.from_bytes(bytes(data[16:24]), "little")
