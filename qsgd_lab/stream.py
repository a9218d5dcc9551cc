"""Which random words a tensor draws: a key, not a generator."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_WORD = 2**32


class Stream(NamedTuple):
    """The name of one sequence of random words; equal names give equal words, on every backend.

    Attributes
    ----------
    seed : int
        0 to 2**64 - 1.
    node, step, tensor : int
        0 to 2**32 - 1 each: whose gradient, of which step, of which tensor.
    """

    seed: int = 0
    node: int = 0
    step: int = 0
    tensor: int = 0

    def check(self) -> Stream:
        """Return the stream, its fields as Python integers.

        Raises
        ------
        ValueError
            If a field is not an integer of its range.
        """
        for name, value in zip(self._fields, self, strict=True):
            limit = 2**64 if name == "seed" else _WORD
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < limit:
                raise ValueError(f"{name} is {value!r}; it must be an integer from 0 to {limit - 1}")
        return Stream(*map(int, self))

    def kernel_key(self) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32, np.uint32]:
        """Return (low seed, high seed, step, tensor, node) as the kernels take it."""
        high, low = divmod(int(self.seed), _WORD)
        return (
            np.uint32(low),
            np.uint32(high),
            np.uint32(self.step),
            np.uint32(self.tensor),
            np.uint32(self.node),
        )
