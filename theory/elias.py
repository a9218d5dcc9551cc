r"""Lengths of Elias's codes for positive integers, and concave bounds on them that hold for every integer.

Every length depends on t = floor(log2 k) alone. QSGD calls omega "Elias' recursive coding"; its statement
that the length is log k + log log k + ... + 1 is the right growth but not the length: each stage costs one
bit more (`paper_length_shape`: k = 16 gives 8, the code word has 11 bits).

    k        1      2      3       4       5       8         16
    gamma    1      3      3       5       5       7          9
    delta    1      4      4       5       5       8          9
    omega    1      3      3       6       6       7         11

The bounds are increasing and concave in log2 k, hence in k, so that Jensen's inequality carries them from
the mean of k to the mean length. They are what makes the code-length theorems explicit: no o(1) is left.

References
----------
Elias: Universal codeword sets and representations of the integers. IEEE Trans. Inf. Theory 21(2), 1975.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.theory.arguments import LARGEST_WHOLE, choice, numbers, unmasked, whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.concave import majorant_knots

Code = Literal["gamma", "delta", "omega"]

CODE_NAMES: tuple[Code, ...] = ("gamma", "delta", "omega")

#: Lines a + b log2(k) above every omega length: (W1) touches at k = 1, 4, 16; (W3), (W4) are flatter.
OMEGA_LINES = ((1.0, 2.5), (16 / 3, 17 / 12), (11.0, 17 / 16))

#: (W2) constant: 11 / log2(17), where k = 2^16 touches.
OMEGA_LOG_CONSTANT = 11 / np.log2(17)

#: The envelopes cover integers up to 2^4096.
_MAX_EXPONENT = 4096


def code_length(k: ArrayLike, code: Code = "omega") -> NDArray[np.int64]:
    """Return the length in bits of the code word of k.

    Parameters
    ----------
    k : array_like of int
        1 <= k < 2^62.
    code : {"gamma", "delta", "omega"}

    Raises
    ------
    ValueError
        If some k is not a whole number in that range, or the code is unknown.

    Examples
    --------
    >>> code_length([1, 2, 3, 4, 7, 8, 16, 65536], "omega")
    array([ 1,  3,  3,  6,  6,  7, 11, 28])
    """
    return length_at_power(floor_log2(k), code)


def length_at_power(exponent: ArrayLike, code: Code = "omega") -> NDArray[np.int64]:
    """Return the length of the code word of any k with floor(log2 k) = `exponent`, 0 <= `exponent` < 2^53."""
    choice("code", code, CODE_NAMES)
    exponents = numbers("exponent", exponent, least=0, is_whole=True)
    # From there on float64 no longer tells neighbouring exponents apart.
    if exponents.max() >= LARGEST_WHOLE:
        raise ValueError(f"exponent is {exponents.max():g}; it must be below 2^53")
    return _LENGTHS[code](exponents.astype(np.int64))


def floor_log2(k: ArrayLike) -> NDArray[np.int64]:
    """Return floor(log2 k) of integers 1 <= k < 2^62, exactly.

    Raises
    ------
    ValueError
        If some k is not a whole number in that range.
    """
    unmasked("k", k)
    given = np.asarray(k)
    # Integers stay integers: float64 would round those above 2^53.
    integers = given if given.dtype.kind in "iu" else numbers("k", k, is_whole=True)
    if integers.size and (integers.min() < 1 or integers.max() >= 2**62):
        worst = integers.min() if integers.min() < 1 else integers.max()
        raise ValueError(f"k is {worst:g}; Elias codes begin at 1, and lengths are known below 2^62")
    return _floor_log2(integers.astype(np.int64))


def _floor_log2(integers: NDArray[np.int64]) -> NDArray[np.int64]:
    exponents = np.frexp(integers.astype(np.float64))[1].astype(np.int64) - 1
    # Above 2^53 the conversion may have rounded up to the next power of two.
    return exponents - (np.left_shift(1, exponents) > integers)


def _gamma(t: NDArray[np.int64]) -> NDArray[np.int64]:
    return 2 * t + 1


def _delta(t: NDArray[np.int64]) -> NDArray[np.int64]:
    return t + 2 * _floor_log2(t + 1) + 1


def _omega(t: NDArray[np.int64]) -> NDArray[np.int64]:
    """|w(k)| = 1 + t + |w(t)| with t = floor(log2 k), and |w(1)| = 1."""
    length = np.ones_like(t)
    while (t > 0).any():
        length += np.where(t > 0, t + 1, 0)
        t = np.where(t > 0, _floor_log2(np.maximum(t, 1)), 0)
    return length


_LENGTHS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.int64]]] = {
    "gamma": _gamma,
    "delta": _delta,
    "omega": _omega,
}


def length_envelope(log2_k: ArrayLike, code: Code = "omega") -> Floats:
    """Return the least concave function of log2 k that is above every length (W5, "Phi" for omega).

    Parameters
    ----------
    log2_k : array_like
        From 0 to 4096; not necessarily of an integer k.
    code : {"gamma", "delta", "omega"}

    Raises
    ------
    ValueError
        If it is outside that range, or the code is unknown.

    Examples
    --------
    >>> length_envelope([0, 2, 4, 16, 32])
    array([ 1.,  6., 11., 28., 45.])
    """
    exponents = numbers("log2_k", log2_k, least=0, most=_MAX_EXPONENT)
    choice("code", code, CODE_NAMES)
    knots, lengths = _envelope(code)
    return np.asarray(np.interp(exponents, knots, lengths))


def coded_bits(counts: ArrayLike, code: Code = "omega") -> float:
    """Return the bits of so many code words by exponent: counts, shape (m,), of floor(log2 k) = 0, 1, ...

    Counts may be expected ones, so they need not be whole.
    """
    words = numbers("counts", counts, least=0).reshape(-1)
    return float(words @ length_at_power(np.arange(words.size), code))


@cache
def _envelope(code: Code) -> tuple[Floats, Floats]:
    exponents = np.arange(_MAX_EXPONENT + 1, dtype=np.float64)
    lengths = length_at_power(exponents, code).astype(np.float64)
    corners = majorant_knots(exponents, lengths)
    return exponents[corners], lengths[corners]


def omega_line_bound(log2_k: ArrayLike, line: int = 0) -> Floats:
    """Return the linear bound a + b log2 k, `line` of `OMEGA_LINES` (W1, W3, W4), on the omega length.

    Parameters
    ----------
    log2_k : array_like
        At least 0.
    line : {0, 1, 2}
    """
    intercept, slope = OMEGA_LINES[whole("line", line, least=0, most=len(OMEGA_LINES) - 1)]
    bound: Floats = intercept + slope * numbers("log2_k", log2_k, least=0)
    return bound


def omega_log_bound(log2_k: ArrayLike) -> Floats:
    """Return 1 + log2 k + c log2(1 + log2 k), c = 11 / log2 17, a bound on the omega length (W2).

    The explicit form of "(1 + o(1)) log k + 1". Proof: with t = floor(log2 k) the length is t + 1 + |w(t)|,
    and |w(t)| <= c log2(1 + t): below t = 32 by looking (the ratio is largest at t = 16), from there by
    induction. `log2_k` is at least 0.
    """
    exponents = numbers("log2_k", log2_k, least=0)
    bound: Floats = 1 + exponents + OMEGA_LOG_CONSTANT * np.log2(1 + exponents)
    return bound


def paper_length_shape(k: ArrayLike) -> Floats:
    """Return log2 k + log2 log2 k + ... + 1 (positive terms), the length as QSGD, section 3.2 words it.

    A lower bound in practice, one bit a stage short: 4 against 6 at k = 4, 24 against 28 at k = 65536.
    Every k is at least 1, not necessarily whole.
    """
    term = np.log2(numbers("k", k, least=1))
    total = np.ones_like(term)
    while (term > 0).any():
        total += np.maximum(term, 0)
        term = np.log2(np.maximum(term, 1))
    return total
