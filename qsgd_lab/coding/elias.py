"""Elias gamma, delta and omega: prefix codes of the positive integers.

====  =======  ========  =======
 k    gamma    delta     omega
====  =======  ========  =======
 1    1        1         0
 2    010      0100      100
 3    011      0101      110
 4    00100    01100     101000
 5    00101    01101     101010
 8    0001000  00100000  1110000
====  =======  ========  =======

Codes start at 1. A codeword is written in its reading order; in a stream, bit i is bit ``i % 8`` of byte ``i
// 8``.

Lengths of the Elias codewords of positive integers; codes start at 1.

====  =====  =====  =====
 k    gamma  delta  omega
====  =====  =====  =====
 1      1      1      1
 2      3      4      3
 3      3      4      3
 4      5      5      6
 7      5      5      6
 8      7      8      7
16      9      9     11
====  =====  =====  =====

All three depend on floor(log2 k) alone, which is what makes exact accounting without coding possible.

References
----------
Elias: Universal codeword sets and representations of the integers. IEEE Trans. Inf. Theory 21(2), 1975.

Examples
--------
>>> [codeword(k, "omega") for k in (1, 2, 3, 4, 5, 8)]
['0', '100', '110', '101000', '101010', '1110000']
>>> [codeword(k, "gamma") for k in (1, 2, 3, 4, 5, 8)]
['1', '010', '011', '00100', '00101', '0001000']
>>> [codeword(k, "delta") for k in (1, 2, 3, 4, 5, 8)]
['1', '0100', '0101', '01100', '01101', '00100000']
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.constants import LANE_BITS

#: Code -> its number in messages and kernels.
CODES = {"gamma": 1, "delta": 2, "omega": 3}


def _gamma(k: int) -> str:
    binary = f"{k:b}"
    return "0" * (len(binary) - 1) + binary


def _delta(k: int) -> str:
    binary = f"{k:b}"
    return _gamma(len(binary)) + binary[1:]


def _omega(k: int) -> str:
    groups = "0"
    while k > 1:
        binary = f"{k:b}"
        groups = binary + groups
        k = len(binary) - 1
    return groups


_SPELL: dict[str, Callable[[int], str]] = {"gamma": _gamma, "delta": _delta, "omega": _omega}


def check_code(code: str) -> None:
    """Check the name of an Elias code.

    Raises
    ------
    ValueError
        If it is not a key of `CODES`.
    """
    if code not in CODES:
        raise ValueError(f"unknown code {code!r}; known: {', '.join(CODES)}")


def codeword(k: int, code: str) -> str:
    """Return the codeword of `k` as a string of 0 and 1, in reading order.

    Raises
    ------
    ValueError
        If `k` is below 1 or the code unknown.
    """
    check_code(code)
    if k < 1:
        raise ValueError(f"Elias codes start at 1, got {k}")
    return _SPELL[code](int(k))


def write_integers(values: Any, code: str) -> NDArray[np.uint8]:
    """Return the codewords of an array of integers, one after another.

    Parameters
    ----------
    values : integer array, each from 1 to 2**64 - 1
    code : {"gamma", "delta", "omega"}

    Returns
    -------
    uint8, shape (ceil(bits / 8),)
        Unused bits of the last byte are 0.

    Raises
    ------
    ValueError
        If a value is below 1 or the code unknown.
    TypeError
        If the array does not hold integers.
    """
    from qsgd_lab.kernels import elias

    check_code(code)
    array = np.asarray(values).reshape(-1)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"values are {array.dtype}; Elias codes take integers")
    if array.size and array.min() < 1:
        raise ValueError(f"Elias codes start at 1, got {array.min()}")
    integers = np.ascontiguousarray(array, dtype=np.uint64)  # checked above: a cast would wrap negatives
    bits = elias.measure_integers(integers, CODES[code])
    stream = np.zeros(-(-bits // 8) + 8, np.uint8)  # stores of eight bytes run over the end
    elias.write_integers(integers, CODES[code], stream)
    return stream[:-8]


def read_integers(stream: Any, count: int, code: str) -> NDArray[np.uint64]:
    """Return the first `count` integers of a stream of codewords.

    Parameters
    ----------
    stream : bytes-like
    count : int
        At most as many as the stream has bits.
    code : {"gamma", "delta", "omega"}

    Raises
    ------
    MessageError
        If the stream ends before, or a codeword is of more than 2**64 - 1.
    ValueError
        If `count` is negative or the code unknown.
    """
    from qsgd_lab.kernels import elias

    check_code(code)
    if count < 0:
        raise ValueError(f"count is {count}; it must not be negative")
    data = np.frombuffer(stream, np.uint8)
    if count > 8 * data.size:  # before anything of the size that the caller claims is allocated
        raise MessageError(f"a stream of {data.size} bytes cannot hold {count} codewords")
    padded = np.concatenate([data, np.zeros(8, np.uint8)])  # loads of eight bytes run over the end
    values = np.empty(count, np.uint64)
    if elias.read_integers(padded, 8 * data.size, CODES[code], values) < 0:
        raise MessageError(f"the stream does not hold {count} codewords of the {code} code")
    return values


_LANE_BITS = int(LANE_BITS)


def _floor_log2(k: int) -> int:
    if k < 1:
        raise ValueError(f"Elias codes start at 1, got {k}")
    return int(k).bit_length() - 1


def gamma_length(k: int) -> int:
    """Return the bits of the gamma codeword of k: 2 floor(log2 k) + 1."""
    return 2 * _floor_log2(k) + 1


def delta_length(k: int) -> int:
    """Return the bits of the delta codeword of k: floor(log2 k) and the gamma codeword of its successor."""
    exponent = _floor_log2(k)
    return exponent + gamma_length(exponent + 1)


def omega_length(k: int) -> int:
    """Return the bits of the omega codeword of k, the recursive code of the QSGD paper.

    |w(1)| = 1 and |w(k)| = 1 + t + |w(t)| with t = floor(log2 k).
    """
    exponent = _floor_log2(k)
    return 1 if exponent == 0 else 1 + exponent + omega_length(exponent)


#: Code -> length of a codeword in bits.
LENGTHS: dict[str, Callable[[int], int]] = {
    "gamma": gamma_length,
    "delta": delta_length,
    "omega": omega_length,
}


@lru_cache(maxsize=16)
def lengths_side_by_side(largest: int, extra: int) -> NDArray[np.uint64]:
    """Return by k, 0 to `largest`, its codewords' lengths, 21 bits each, with `extra` added unless k = 0."""
    lanes = [[0, *(length(k) + extra for k in range(1, largest + 1))] for length in LENGTHS.values()]
    return sum(
        (np.array(lane, np.uint64) << np.uint64(_LANE_BITS * i) for i, lane in enumerate(lanes)),
        np.zeros(largest + 1, np.uint64),
    )
