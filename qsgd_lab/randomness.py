"""Random numbers of a run other than the quantizer's, named by what they are for."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a generator is for; part of its key, so that purposes never share numbers."""

    INITIALISATION = 0
    DATA_ORDER = 1
    SPLIT = 2
    AUGMENTATION = 3
    DROPOUT = 4
    DROPOUT_IN_EVALUATION = 5  # only a flawed protocol evaluates with active dropout


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
