"""The array type of the formulas, how their parameters broadcast, and how squares stay within float64."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

P = ParamSpec("P")
Result = TypeVar("Result")


def broadcast(*parameters: ArrayLike) -> tuple[Floats, ...]:
    """Return parameters of a formula as float64 arrays of one shape.

    Raises
    ------
    ValueError
        If their shapes do not broadcast.

    Examples
    --------
    >>> broadcast(2, [3, 4])
    (array([2., 2.]), array([3., 4.]))
    """
    return tuple(np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in parameters)))


def weighted_counts(indices: NDArray[np.int64], weights: Floats, size: int = 0) -> Floats:
    """Return the sums of the weights by index, shape (max(size, largest index + 1),).

    A part of other formulas, whose arguments are checked: indices are at least 0, one a weight.

    Examples
    --------
    >>> weighted_counts(np.array([0, 2, 2]), np.array([1.0, 0.5, 0.25]))
    array([1.  , 0.  , 0.75])
    """
    return np.bincount(indices, weights, minlength=size).astype(np.float64)


def split_scale(vector: Floats) -> tuple[Floats, int]:
    """Return (w, e) with v = 2^e w and the largest |w_i| in [1/2, 1); the zero vector gives e = 0.

    A power of two changes no digit of a coordinate. Squares of w neither overflow nor vanish, where those
    of v do beyond 1e154 and below 1e-162.

    Examples
    --------
    >>> split_scale(np.array([3.0, -4.0]))
    (array([ 0.375, -0.5  ]), 3)
    """
    # frexp of zero has exponent 0, so that the zero vector passes through.
    exponent = int(np.frexp(np.abs(vector).max())[1])
    return np.ldexp(vector, -exponent), exponent


def times_power_of_two(value: float, exponent: int, what: str) -> float:
    """Return value * 2^exponent, and refuse a result that float64 could only give as 0 or infinity.

    Parameters
    ----------
    value : float
    exponent : int
    what : str
        The name of the result, for the message.

    Raises
    ------
    ValueError
        If the result is not representable. A figure relative to ||v||^2 always is.
    """
    # The result is judged below, so NumPy need not warn.
    with np.errstate(over="ignore", under="ignore"):
        result = float(np.ldexp(value, exponent))
    if value != 0 and (result == 0 or np.isinf(result)):
        size = "large" if exponent > 0 else "small"
        raise ValueError(f"{what} is too {size} for float64; scale the vector, or take a relative figure")
    return result


def in_squared_units(values: Floats, figure: Callable[[Floats], float], what: str) -> float:
    """Return a figure in squared units of an array, right at every scale, and refuse one beyond float64.

    Parameters
    ----------
    values : ndarray of float64
        Of any shape, not empty.
    figure : callable
        Gives c^2 times as much for c times the values.
    what : str
        The name of the figure, for the message.

    Raises
    ------
    ValueError
        If the figure is too large or too small for float64.

    Examples
    --------
    >>> in_squared_units(np.array([3.0, 4.0]), lambda w: float(w @ w), "the squared norm")
    25.0
    """
    scaled, exponent = split_scale(values)
    return times_power_of_two(figure(scaled), 2 * exponent, what)


def representable(
    zeros: Mapping[str, float] | None = None,
) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Return a decorator of formulas of checked numbers that refuses what float64 cannot hold, in one line.

    Arithmetic errors, and an infinite or undefined number in the result, become a ValueError.

    Parameters
    ----------
    zeros : mapping of str to float, optional
        If given, a result of 0 is refused too, as one too small for float64, unless one of these parameters
        has its value here, where the formula is 0 exactly.

    Examples
    --------
    >>> @representable(zeros={})
    ... def square(x):
    ...     return x**2
    >>> square(3.0)
    9.0
    >>> square(1e200)
    Traceback (most recent call last):
    ValueError: square is beyond the range of float64 with these arguments; give less extreme ones
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Result:
            message = (
                f"{function.__name__} is beyond the range of float64 with these arguments; "
                "give less extreme ones"
            )
            try:
                # The result is judged below, so NumPy need not warn.
                with np.errstate(all="ignore"):
                    result = function(*args, **kwargs)
            except ArithmeticError:
                raise ValueError(message) from None
            found = np.asarray(result, dtype=np.float64)
            if not np.isfinite(found).all():
                raise ValueError(message)
            if zeros is not None and not found.all():
                given = signature.bind(*args, **kwargs).arguments
                if not any(
                    np.any(np.equal(given[name], zero)) for name, zero in zeros.items() if name in given
                ):
                    raise ValueError(message)
            return result

        return checked

    return decorate
