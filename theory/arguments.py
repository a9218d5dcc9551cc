"""The checks of arguments that all formulas share: one clear ValueError for whatever a formula excludes.

A formula does not notice an argument outside its domain: it returns a number, and the number is wrong. So
every public function of the theory passes its arguments through one of these functions first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.memory import machine_memory
from qsgd_lab.theory.arrays import Floats, broadcast

#: float64 holds every whole number up to here; beyond it "a whole number" could not be told.
LARGEST_WHOLE = 2**53

#: A table of so many levels still takes few megabytes.
MOST_TABLE_LEVELS = 2**20 - 1


def choice(name: str, value: object, allowed: Sequence[Any]) -> None:
    """Refuse a value that is not one of the allowed ones, such as "L2" where "l2" is meant.

    Raises
    ------
    ValueError
        If `value` is none of `allowed`.

    Examples
    --------
    >>> choice("norm", "L2", ("l2", "max"))
    Traceback (most recent call last):
    ValueError: norm is 'L2'; it must be 'l2' or 'max'
    """
    # Compared one by one, because an array compares to an array and has no truth value.
    if not any(type(value) is type(one) and value == one for one in allowed):
        *first, last = (repr(one) for one in allowed)
        words = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"{name} is {_shown(value)}; it must be {words}")


def whole(name: str, value: object, *, least: int = 1, most: int = LARGEST_WHOLE) -> int:
    """Return a whole number within its limits as an int; floats such as 512.0 count as whole.

    Raises
    ------
    ValueError
        If it is not one whole number between `least` and `most`.

    Examples
    --------
    >>> whole("num_levels", 7.0)
    7
    >>> whole("num_levels", 2.5)
    Traceback (most recent call last):
    ValueError: num_levels is 2.5; it must be a whole number of at least 1
    """
    limits = f"of at least {least}" if most == LARGEST_WHOLE else f"from {least} to {most}"
    found = _one_float(value)
    # NaN fails every comparison, and an infinity is not below `most`.
    if found is None or not least <= found <= most or found != math.floor(found):
        raise ValueError(f"{name} is {_shown(value)}; it must be a whole number {limits}")
    return int(found)


def table_levels(num_levels: object, name: str = "num_levels") -> int:
    """Return s, where a formula makes a table with a row for each level: from 1 to 2^20 - 1.

    Those of 20 bits, the most that the trade-off of bits and error takes.

    Raises
    ------
    ValueError
        If it is not one whole number in that range.
    """
    return whole(name, num_levels, most=MOST_TABLE_LEVELS)


def fits_memory(name: str, value: object, count: int, bytes_each: int) -> None:
    """Refuse an argument that asks for arrays of more than half of this machine's memory.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    value : object
    count : int
        Numbers that are listed.
    bytes_each : int
        That the function allocates for one of them, at its peak.

    Raises
    ------
    ValueError
        Before anything is allocated; where the system does not tell its memory, never.
    """
    memory, needed = machine_memory(), count * bytes_each
    if memory is not None and needed > memory / 2:
        raise ValueError(
            f"{name} is {_shown(value)}, for which {count} numbers would take {needed / 2**30:,.0f} GiB; "
            f"they must take at most half of this machine's {memory / 2**30:,.0f}"
        )


def optional_whole(name: str, value: object) -> int | None:
    """Return None, or a whole number of at least 1 (see `whole`)."""
    return None if value is None else whole(name, value)


def number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    infinite: bool = False,
) -> float:
    """Return one finite number within its limits as a float.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    value : object
    above, least, most : float, optional
        The number must be greater than `above`, at least `least`, and at most `most`.
    infinite : bool
        Whether plus infinity is accepted too.

    Raises
    ------
    ValueError
        If it is not one number, is NaN, or is outside its limits.

    Examples
    --------
    >>> number("step", -0.1, above=0)
    Traceback (most recent call last):
    ValueError: step is -0.1; it must be a number above 0
    """
    found = _one_float(value)
    if found is None or not _inside(np.float64(found), above, least, most, infinite):
        raise ValueError(f"{name} is {_shown(value)}; it must be {_limits(above, least, most, infinite)}")
    return found


def numbers(
    name: str,
    values: ArrayLike,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    is_whole: bool = False,
) -> Floats:
    """Return numbers of any shape, each within its limits, as a float64 array; parameters as in `number`.

    Raises
    ------
    ValueError
        If there is none, or one is not a number, not finite, out of its limits, or not whole with `is_whole`.
    """
    found = _float_array(name, values)
    good = _inside(found, above, least, most, False)
    if is_whole:
        good = good & (np.floor(found) == found)
    if found.size == 0:
        raise ValueError(f"{name} is empty; it must have at least one number")
    if not good.all():
        wanted = _limits(above, least, most, False, "whole number" if is_whole else "number")
        first = found[~good].reshape(-1)[0]
        raise ValueError(f"{name} is {first:g}; it must be {wanted}")
    return found


def size_and_levels(num_coordinates: ArrayLike, num_levels: ArrayLike) -> tuple[Floats, Floats]:
    """Return n and s broadcast, as float64.

    Raises
    ------
    ValueError
        If some n or s is not a whole number of at least 1.
    """
    n = numbers("num_coordinates", num_coordinates, least=1, most=LARGEST_WHOLE, is_whole=True)
    s = numbers("num_levels", num_levels, least=1, most=LARGEST_WHOLE, is_whole=True)
    n, s = broadcast(n, s)
    return n, s


def vector(name: str, values: ArrayLike) -> Floats:
    """Return a real array of any shape as one finite float64 vector, shape (n,), in C order.

    Raises
    ------
    ValueError
        If it is empty, or some coordinate is not a finite real number.
    """
    found = _float_array(name, values).reshape(-1)
    if found.size == 0:
        raise ValueError(f"{name} is empty; it must have at least one coordinate")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} has NaN or infinite coordinates; the formulas need finite ones")
    return found


def float32_vector(name: str, values: ArrayLike) -> NDArray[np.float32]:
    """Return the same as `vector` in float32, contiguous, and without a copy if it is that already.

    Raises
    ------
    ValueError
        As in `vector`, or if a coordinate exceeds the range of float32.
    """
    unmasked(name, values)
    given = np.asarray(values) if isinstance(values, np.ndarray) else vector(name, values)
    if given.dtype.kind not in "iuf" or given.size == 0:
        vector(name, given)  # says what is wrong
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(given.reshape(-1), dtype=np.float32)
    if not np.isfinite(found).all():
        raise ValueError(f"{name} has NaN or infinite coordinates in float32; it must have finite ones")
    return found


def nonzero_vector(name: str, values: ArrayLike) -> Floats:
    """Return the same as `vector`, and refuse the zero vector, which has no direction and no relative error.

    Raises
    ------
    ValueError
        As in `vector`, or if every coordinate is zero.
    """
    found = vector(name, values)
    if not found.any():
        raise ValueError(f"{name} is the zero vector; it must have a non-zero coordinate")
    return found


def matrix(name: str, values: ArrayLike) -> Floats:
    """Return real numbers as a finite float64 matrix, shape (a, b).

    Raises
    ------
    ValueError
        If it is empty, has not two dimensions, or some entry is not a finite real number.
    """
    found = numbers(name, values)
    if found.ndim != 2:
        raise ValueError(f"{name} has {found.ndim} dimensions; it must have two")
    return found


def unmasked(name: str, values: object) -> None:
    """Refuse a masked array, whose hidden entries would count.

    Raises
    ------
    ValueError
        If the array is masked.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; it must be a plain one, such as {name}.compressed()")


def divisor(name: str, value: object, of: str, total: int) -> int:
    """Return a whole number of at least 1 that divides another, as an int.

    Raises
    ------
    ValueError
        If `value` is not a whole number, or does not divide `total`, whose name is `of`.

    Examples
    --------
    >>> divisor("machine", 3, "nodes", 8)
    Traceback (most recent call last):
    ValueError: machine is 3; it must divide nodes, which is 8
    """
    found = whole(name, value)
    if total % found:
        raise ValueError(f"{name} is {found}; it must divide {of}, which is {total}")
    return found


def kept(k: object, num_coordinates: int) -> int:
    """Return k, the number of coordinates that a sparsifier keeps of n, as an int.

    Raises
    ------
    ValueError
        If k is not a whole number from 1 to n.
    """
    return whole("k", k, most=num_coordinates)


def sizes(name: str, lengths: Sequence[int]) -> list[int]:
    """Return the lengths of an array's axes as ints, each at least 0; there may be none.

    Raises
    ------
    ValueError
        If it is not a list of whole numbers of at least 0.
    """
    if np.ndim(lengths) != 1:
        raise ValueError(f"{name} is {_shown(lengths)}; it must be a list of whole numbers")
    return [whole(f"a length of {name}", length, least=0) for length in lengths]


def increasing(name: str, times: Sequence[int], most: int = LARGEST_WHOLE) -> NDArray[np.int64]:
    """Return times from 1 to `most` as int64, shape (R,), which must increase strictly; there may be none.

    Raises
    ------
    ValueError
        If they are not whole numbers, do not increase, or are out of range.

    Examples
    --------
    >>> increasing("schedule", [5, 3])
    Traceback (most recent call last):
    ValueError: schedule goes from 5 to 3; its times must increase
    """
    if np.ndim(times) != 1:
        raise ValueError(f"{name} is {_shown(times)}; it must be a list of whole numbers")
    found = np.array([whole(f"a time of {name}", time, most=most) for time in times], dtype=np.int64)
    falls = np.flatnonzero(np.diff(found) <= 0)
    if falls.size:
        at = falls[0]
        raise ValueError(f"{name} goes from {found[at]} to {found[at + 1]}; its times must increase")
    return found


def _one_float(value: object) -> float | None:
    """Return one real number as a float, or None if it is something else; True is not a number here."""
    if isinstance(value, int) and not isinstance(value, bool):
        # NumPy would make an object of an integer beyond 64 bits.
        return float(value) if abs(value) < 2**1023 else None
    array = np.asarray(None if isinstance(value, np.ma.MaskedArray) else value)
    return float(array) if array.ndim == 0 and array.dtype.kind in "iuf" else None


def _float_array(name: str, values: ArrayLike) -> Floats:
    """Return real numbers as float64; booleans, complex numbers, words and ragged lists are refused."""
    unmasked(name, values)
    try:
        found = np.asarray(values)
        if found.dtype.kind not in "iuf" and found.size:
            raise TypeError
        return found.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {_shown(values)}; it must have real numbers only") from None


def _inside(
    value: Any, above: float | None, least: float | None, most: float | None, infinite: bool
) -> NDArray[np.bool_]:
    """Whether each value is within its limits; NaN never is, because it fails every comparison."""
    good = np.isfinite(value) | (infinite & (value == math.inf))
    if above is not None:
        good = good & (value > above)
    if least is not None:
        good = good & (value >= least)
    if most is not None:
        good = good & (value <= most)
    return np.asarray(good)


def _limits(
    above: float | None, least: float | None, most: float | None, infinite: bool, noun: str = "number"
) -> str:
    """Return the limits in words."""
    words = [f"above {above:g}"] if above is not None else []
    words += [f"of at least {least:g}"] if least is not None else []
    # The reader knows the limit of float64.
    words += [f"at most {most:g}"] if most is not None and most < LARGEST_WHOLE else []
    finite = "" if infinite or words else "finite "
    return " ".join((f"a {finite}{noun}", " and ".join(words))).strip()


def _shown(value: object) -> str:
    """Return a value as it fits into one line of a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
