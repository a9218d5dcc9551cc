"""A check: a law that the device's arrays must satisfy, tried on many inputs and launch shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: (warps a block, most blocks): from one warp that does everything to more blocks than run at a time.
LAUNCH_SHAPES = [
    (1, 1),
    (1, 3),
    (2, 7),
    (3, 132),
    (4, 2048),
    (5, 997),
    (8, 264),
    (16, 65535),
    (32, 61),
    (4, 65535),
]


#: With fewer warps than these, a gradient of more than 2^22 coordinates takes minutes and shows nothing new.
LARGE, ENOUGH_WARPS = 2**22, 256


def shape_for(number: int, size: int) -> tuple[int, int]:
    """Return the launch shape of the number-th case, for a gradient of `size` coordinates."""
    shapes = LAUNCH_SHAPES
    if size > LARGE:
        shapes = [(warps, blocks) for warps, blocks in shapes if warps * blocks >= ENOUGH_WARPS]
    return shapes[number % len(shapes)]


@dataclass(frozen=True)
class Scope:
    """How much is tried.

    Attributes
    ----------
    sizes : tuple of int
        Coordinates of the gradients that are compared with the CPU.
    large : int
        Coordinates of the one that is repeated under different launch shapes.
    repeats : int
    levels : tuple of int
        The s that every size is tried with in turn.
    device : str
        Torch's name of it.
    """

    sizes: tuple[int, ...] = (1, 31, 513, 4097, 100_003, 1_000_001)
    large: int = 2**26 + 77
    repeats: int = 100
    levels: tuple[int, ...] = tuple(range(1, 256))
    device: str = "cuda"


@dataclass(frozen=True)
class Outcome:
    """What became of one check.

    Attributes
    ----------
    name : str
    comparisons : int
        Arrays compared, byte for byte.
    coordinates : int
        Of the largest gradient among them.
    failure : str or None
        The first disagreement.
    """

    name: str
    comparisons: int
    coordinates: int
    failure: str | None


#: Yields (what is compared, how many coordinates, the device's array, the expected one).
Check = Callable[[Scope], Iterator[tuple[str, int, Any, NDArray[Any]]]]


def gradient(size: int, seed: int) -> NDArray[np.float32]:
    """Return a gaussian gradient with zeros, subnormals and huge numbers; at odd seeds NaN and infinity."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(size, dtype=np.float32)
    x[rng.random(size) < 0.1] = 0
    special = np.array([1e-40, -1.5e-45, 3e38, -3.4e38, 2.0**-64], np.float32)
    places = rng.integers(0, max(size, 1), min(size, 8))
    x[places] = rng.choice(special, places.size)
    if seed % 2 and size > 3:
        x[rng.integers(0, size, 3)] = np.array([np.nan, np.inf, -np.inf], np.float32)
    return x


def run_check(name: str, check: Check, scope: Scope) -> Outcome:
    """Run a check until its end or its first disagreement."""
    comparisons = coordinates = 0
    try:
        for what, size, actual, expected in check(scope):
            comparisons, coordinates = comparisons + 1, max(coordinates, size)
            found = in_host_memory(actual)
            if (
                found.shape != expected.shape
                or found.dtype != expected.dtype
                or not np.array_equal(_bytes(found), _bytes(expected))
            ):
                return Outcome(name, comparisons, coordinates, _difference(what, found, expected))
    except Exception as error:  # a kernel that cannot run is a failed check, not the end of all checks
        return Outcome(name, comparisons, coordinates, f"{type(error).__name__}: {error}"[:500])
    return Outcome(name, comparisons, coordinates, None)


def run_checks(checks: Sequence[tuple[str, Check]], scope: Scope) -> Iterator[Outcome]:
    """Yield the outcome of each check."""
    for name, check in checks:
        yield run_check(name, check, scope)


def in_host_memory(array: Any) -> NDArray[Any]:
    """Return a NumPy array of a torch tensor or NumPy array."""
    host: NDArray[Any] = array.detach().cpu().numpy() if hasattr(array, "detach") else np.asarray(array)
    return host


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _difference(what: str, found: NDArray[Any], expected: NDArray[Any]) -> str:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{what}: {found.dtype}{found.shape} instead of {expected.dtype}{expected.shape}"
    unequal = _bytes(found) != _bytes(expected)
    place = int(np.flatnonzero(unequal)[0]) // found.itemsize
    return f"{what}: element {place} is {found.flat[place]!r} instead of {expected.flat[place]!r}"
