"""Exact sizes of quantized gradients from counts of their levels, without coding anything.

A dense Elias message sends, for each coordinate, the codeword of |level| + 1 and, where the level is not 0, a
sign; its length depends on the levels only through how many reach each power of two. Counting those gives the
exact size under every code at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.message_costs import MessageCosts, length_steps
from qsgd_lab.ledger import Size
from qsgd_lab.levels import FLOAT_BITS, MAX_BITS, magnitude_bits

NUM_CLASSES = MAX_BITS + 1  # |level| + 1 is at most 2^15


def dense_bits(reached: NDArray[np.int64], num_norms: int, code: str) -> int:
    """Return the exact bits of a dense message under an Elias code: codewords, signs and norms.

    Parameters
    ----------
    reached : int64
        Entry j counts the coordinates with |level| + 1 >= 2**j.
    num_norms : int
    code : str

    Raises
    ------
    ValueError
        If the code is not a key of `qsgd_lab.coding.elias.LENGTHS`.
    """
    return _dense_bits(reached, num_norms)[list(LENGTHS).index(code)]


def _dense_bits(reached: NDArray[Any], num_norms: int) -> list[int]:
    """Return the bits by code, in the order of LENGTHS: codewords grow by `length_steps` at powers of 2."""
    signs = reached[1:2].sum()  # of levels other than 0; there is no such entry in an empty count
    codewords = length_steps()[:, : reached.size] @ reached.astype(np.int64)
    sizes: list[int] = (codewords + signs + num_norms * FLOAT_BITS).tolist()
    return sizes


def quantized_size(
    num_levels: int, num_norms: int, reached: NDArray[Any], costs: MessageCosts | None = None
) -> Size:
    """Return the size of messages under every form, norms included.

    Parameters
    ----------
    num_levels : int
        s.
    num_norms : int
        Buckets of all messages together.
    reached : int64
        As for `dense_bits`.
    costs : MessageCosts, optional
        What the messages cost in their shortest form, where that is known.

    Returns
    -------
    Size
        Forms: "fixed", "gamma", "delta", "omega" (levels at fixed width, or their dense codewords, and
        norms); with `costs` also "auto", the shortest of these and of the sparse forms message by message,
        and "message", the whole of what `qsgd_lab.encode` would send, with header, directory and checksums.
    """
    count = int(reached[0])  # every coordinate has |level| + 1 >= 1
    bits = {"fixed": count * (magnitude_bits(num_levels) + 1) + num_norms * FLOAT_BITS}
    bits |= dict(zip(LENGTHS, _dense_bits(reached, num_norms), strict=True))
    if costs is not None:
        bits |= {"auto": costs.shortest_bits, "message": costs.message_bits}
    return Size(count, bits)
