"""The number of levels s of "b bits", under each convention of the field.

Public systems use one label for different quantizers. Here ``bits=b`` is a b-bit magnitude index with the
sign apart, so that s = 2**b - 1 and a coordinate costs b + 1 bits at fixed width; ``bits=1`` is ternary. The
other conventions are there to compare with work that used them.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Literal

MAX_BITS = 15
MAX_LEVELS = 2**MAX_BITS - 1  # levels are int16 at most
#: Bits of a coordinate, or of a norm, that is sent in float32.
FLOAT_BITS = 32

Norm = Literal["l2", "max"]
#: The norms that levels are relative to.
NORMS: tuple[Norm, ...] = ("l2", "max")

#: Name -> s as a function of b. Adding a row adds a choice everywhere.
CONVENTIONS: dict[str, Callable[[int], int]] = {
    # This library, and the 2023 report's text: a magnitude index of b bits, the sign apart.
    "magnitude": lambda b: 2**b - 1,
    # The literature's "4-bit QSGD", s = 7: sign and magnitude share the b bits.
    "sign-inside": lambda b: 2 ** (b - 1) - 1,
    # HSQ's code and those derived from it, the 2023 report's ResNets among them. Levels 0..s are one more
    # than b bits can hold: at fixed width a coordinate costs b + 2 bits, not b + 1.
    "power-of-two": lambda b: 2**b,
}


def num_levels(bits: int, convention: str = "magnitude") -> int:
    """Return s, the number of levels above zero.

    Parameters
    ----------
    bits : int
        b, 1 to 15.
    convention : str
        A key of `CONVENTIONS`.

    Raises
    ------
    ValueError
        If the convention is unknown, b out of range, or s would be 0 or above 32767.

    Examples
    --------
    >>> num_levels(3), num_levels(4, "sign-inside"), num_levels(3, "power-of-two")
    (7, 7, 8)
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; known: {', '.join(CONVENTIONS)}")
    if isinstance(bits, bool) or not isinstance(bits, Integral) or not 1 <= bits <= MAX_BITS:
        raise ValueError(
            f"bits is {bits!r}; it must be an integer from 1 to {MAX_BITS} (32 means fp32: do not quantize)"
        )
    levels = CONVENTIONS[convention](int(bits))
    if not 1 <= levels <= MAX_LEVELS:
        raise ValueError(
            f"{bits} bits under {convention!r} give {levels} levels; 1 to {MAX_LEVELS} are possible"
        )
    return levels


def magnitude_bits(levels: int) -> int:
    """Return the bits of a fixed-width magnitude index in 0..s, its sign apart.

    Examples
    --------
    >>> [magnitude_bits(s) for s in (1, 3, 7, 8, 127)]
    [1, 2, 3, 4, 7]
    """
    return int(levels).bit_length()


def num_classes(num_levels: int) -> int:
    """Return how many powers of two are at most s + 1: the length of the kernels' class counts."""
    return int(num_levels + 1).bit_length()
