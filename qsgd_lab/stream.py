"""The key of a tensor's random words: seed, node, step and tensor; a key, not a generator.

Random numbers of a run other than the quantizer's, named by what they are for.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

_WORD = 2**32

#: The arguments of kernels' `StreamKey`, in its order.
KernelKey = tuple[np.uint32, np.uint32, np.uint32, np.uint32, np.uint32, np.uint32]

#: Versions of the random words of rounding: 1 draws a word for each coordinate, 2 one for two coordinates.
STREAM_VERSIONS = (1, 2)


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

    def kernel_key(self, version: int = 1) -> KernelKey:
        """Return (low seed, high seed, step, tensor, node, version) as the kernels take it."""
        high, low = divmod(int(self.seed), _WORD)
        return (
            np.uint32(low),
            np.uint32(high),
            np.uint32(self.step),
            np.uint32(self.tensor),
            np.uint32(self.node),
            np.uint32(version),
        )


class Purpose(IntEnum):
    """What a generator is for; part of its key, so that purposes never share numbers."""

    INITIALISATION = 0
    DATA_ORDER = 1
    SPLIT = 2
    AUGMENTATION = 3
    DROPOUT = 4
    DROPOUT_IN_EVALUATION = 5  # only a flawed protocol evaluates with active dropout
    SYNTHETIC_DATA = 6
    NODE_SPLIT = 7
    GRADIENT_NOISE = 8


def generator(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Return a generator keyed by (seed, purpose, index), the same on every platform.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1.
    purpose : Purpose
    index : int
        Such as the epoch; 0 to 2**32 - 1.
    """
    key = np.array([seed, (int(purpose) << 32) | index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
