"""A generated language of brackets, for recurrent networks: its best accuracy is known to be 100 %.

A string has 32 places and 8 kinds of brackets (16 symbols: kind k opens as k and closes as 8 + k), at most 8
open at a time. Of two possible moves each is taken every second time; the kind of a new bracket is uniform.
The label of a place is the kind of the bracket that is to be closed next, 8 where none is open: a function of
what was read so far, which a network can compute only by remembering. A rule that sees the last symbol alone
is right at about two places in three.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.data.dataset import Dataset, Part
from qsgd_lab.stream import Purpose, generator

NUM_KINDS = 8
NUM_SYMBOLS = 2 * NUM_KINDS
NUM_CLASSES = NUM_KINDS + 1
LENGTH = 32
MOST_OPEN = 8
SIZES = (16_384, 1_024, 2_048)
_SEED = 0


def draw_strings(
    count: int, seed: int = _SEED, index: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw strings and their labels.

    Parameters
    ----------
    count : int
    seed, index : int
        Key of the random words.

    Returns
    -------
    symbols : int64, shape (count, 32)
        0 to 7 open, 8 to 15 close.
    labels : int64, shape (count, 32)
        The kind that closes next, 0 to 7; 8 where none is open.
    """
    # Raw words, because what NumPy makes of them may change between its versions: bit 63 opens or closes,
    # the three bits below it are the kind.
    words = generator(seed, Purpose.SYNTHETIC_DATA, index).bit_generator.random_raw(count * LENGTH)
    words = words.reshape(count, LENGTH)
    wants_to_open = (words >> np.uint64(63)).astype(bool)
    kinds = ((words >> np.uint64(60)) % np.uint64(NUM_KINDS)).astype(np.int64)
    stack = np.full((count, MOST_OPEN + 1), NUM_KINDS, np.int64)  # below the first bracket: none
    depth = np.zeros(count, np.int64)
    symbols = np.empty((count, LENGTH), np.int64)
    labels = np.empty((count, LENGTH), np.int64)
    row = np.arange(count)
    for place in range(LENGTH):
        opens = (wants_to_open[:, place] | (depth == 0)) & (depth < MOST_OPEN)
        top = stack[row, depth]
        symbols[:, place] = np.where(opens, kinds[:, place], NUM_KINDS + top)
        depth += np.where(opens, 1, -1)
        stack[row[opens], depth[opens]] = kinds[opens, place]
        labels[:, place] = stack[row, depth]
    return symbols, labels


def load_brackets() -> Dataset:
    """Return the bracket language: always the same strings, in three parts drawn apart."""
    parts = (
        Part(torch.from_numpy(symbols), torch.from_numpy(labels))
        for symbols, labels in (draw_strings(size, index=index) for index, size in enumerate(SIZES))
    )
    return Dataset("brackets", NUM_CLASSES, *parts, num_symbols=NUM_SYMBOLS)
