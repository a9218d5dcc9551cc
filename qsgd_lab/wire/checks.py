"""Checks that writer and reader of version 2 share: the limits, and the errors when a rule does not hold.

Rules are written once, as functions that raise `MessageError`. The reader lets it pass; the writer turns it
into a `ValueError` with the same text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import LimitError, MessageError
from qsgd_lab.partition import Partition

MAX_COORDINATES = 2**48
MAX_TENSORS = 2**20
MAX_DIMENSIONS = 64

#: The pattern of the NaN that marks a bucket which held a NaN or an infinity.
NAN_BITS = np.uint32(0x7FC00000)

Bytes = NDArray[np.uint8]


def require(condition: Any, reason: str, text: str) -> None:
    """Raise a `MessageError`, for "limit" a `LimitError`, unless a condition holds."""
    if not condition:
        raise LimitError(text) if reason == "limit" else MessageError(text, reason)


@dataclass(frozen=True)
class Limits:
    """What a receiver allows.

    Attributes
    ----------
    max_coordinates : int or None
        The most coordinates of the outermost message.
    kinds : frozenset of str or None
        Names of the kinds allowed, inner messages included; None allows all.
    """

    max_coordinates: int | None = None
    kinds: frozenset[str] | None = None

    def check_kind(self, name: str) -> None:
        """Check that a kind is allowed."""
        text = f"kind {name} was not allowed; allowed are {', '.join(sorted(self.kinds or ()))}"
        require(self.kinds is None or name in self.kinds, "unknown", text)

    def check_coordinates(self, count: int) -> None:
        """Check that a message is not larger than its receiver allows."""
        check_bound(count, self.max_coordinates)


def check_bound(count: int, max_coordinates: int | None) -> None:
    """Check a message's number of coordinates against its receiver's bound.

    Raises
    ------
    LimitError
        If there are more.
    ValueError
        If the bound is not a whole number of at least 0; NaN would allow anything.
    """
    if max_coordinates is None:
        return
    is_whole = isinstance(max_coordinates, int | np.integer) and not isinstance(max_coordinates, bool)
    if not is_whole or max_coordinates < 0:
        raise ValueError(f"max_coordinates is {max_coordinates!r}; it must be a whole number of at least 0")
    if count > max_coordinates:
        raise LimitError(f"the message has {count} coordinates; at most {max_coordinates} were allowed")


class _Writing:
    """A class of its own: contextlib's generator takes three times as long."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if kind is None:
            return
        if isinstance(error, MessageError):
            raise ValueError(str(error)) from None
        if isinstance(error, struct.error | OverflowError):
            raise ValueError(f"a parameter does not fit its field: {error}") from None


_WRITING = _Writing()


def writing() -> _Writing:
    """Turn a rule that does not hold into a ValueError: what is to be written is the caller's argument."""
    return _WRITING


def up8(size: int) -> int:
    """Return a size rounded up to a multiple of 8."""
    return size + -size % 8


def check_zeros(data: Bytes, what: str) -> None:
    """Check that bytes which mean nothing are 0; `what` names them."""
    require(not (data.size and data.any()), "zeros", f"{what} is not zero")


def check_bits_after(data: Bytes, used: int, what: str) -> None:
    """Check that the bits of the last byte beyond the `used` bits of a string are 0; `what` is the last."""
    good = not used % 8 or int(data[used // 8]) >> used % 8 == 0
    require(good, "zeros", f"bits after {what} are not zero")


def bit_bytes(count: int) -> int:
    """Return the bytes of a string of bits, a multiple of 8."""
    return up8(-(-count // 8))


def pack_bits(bits: NDArray[np.bool_]) -> bytes:
    """Return bits as bytes, lowest first, zeros up to a multiple of 8 bytes."""
    return np.packbits(bits, bitorder="little").tobytes().ljust(bit_bytes(bits.size), b"\0")


def parse_bits(data: Bytes, count: int, what: str) -> NDArray[np.bool_]:
    """Return the bits that `data` begins with; a `MessageError` if it ends before or zeros do not follow."""
    filled, size = -(-count // 8), bit_bytes(count)
    require(data.size >= size, "truncated", f"the message ends inside {what}")
    check_bits_after(data, count, what)
    check_zeros(data[filled:size], f"the padding after {what}")
    return np.unpackbits(data[:filled], count=count, bitorder="little").view(bool)


def whole_numbers(values: Any, low: int, high: int, dtype: Any, what: str) -> NDArray[Any]:
    """Return integers as contiguous `dtype`, checked before a cast could hide what they were.

    Raises
    ------
    MessageError
        If they are not integers, or one is outside low..high; `what` names them.
    """
    good = not values.size or values.dtype.kind in "iu"
    require(good, "parameters", f"{what} are {values.dtype}; they must be integers")
    inside = not values.size or (values.min() >= low and values.max() <= high)
    require(inside, "code", f"{what} are not all in {low}..{high}")
    return np.ascontiguousarray(values, dtype)


def dead_scales(scales: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of scales that `check_scales` allows are +0 or NaN, shape (B,)."""
    bits = scales.view(np.uint32)  # a comparison of floats takes denormals for 0 where they are flushed
    dead: NDArray[np.bool_] = (bits == 0) | (bits > np.uint32(0x7F800000))
    return dead


def _survey(scales: NDArray[np.float32]) -> tuple[int, bool]:
    """Return the index of the first scale that is not allowed, or -1, and whether one is +0 or the NaN."""
    outcome: tuple[int, bool] = _survey_kernel()(scales.view(np.uint32))
    return outcome


@cache  # an import statement inside the function would take as long as the survey
def _survey_kernel() -> Any:
    from qsgd_lab.kernels.cpu.norms import survey_scales

    return survey_scales


def check_scales(scales: NDArray[np.float32]) -> bool:
    """Check the patterns of scales; return whether one of them is +0 or the NaN.

    Raises
    ------
    MessageError
        If one is negative, -0, infinite, or a NaN other than 0x7FC00000.
    """
    bad, dead = _survey(scales)
    if bad >= 0:
        bits = int(scales.view(np.uint32)[bad])
        text = f"norm {bad} is {scales[bad]} (bits {bits:08x}); it must be +0, finite and positive"
        raise MessageError(f"{text}, or the NaN 7fc00000", "canonical")
    return bool(dead)


def check_dead(norms: NDArray[np.float32], levels: NDArray[Any], parts: Partition) -> None:
    """Check the patterns of norms, and that buckets of norm 0 or NaN have no levels other than 0.

    Parameters
    ----------
    norms : float32, shape (B,)
    levels : int8 or int16, shape (n,)
    parts : Partition
        Its offsets are computed only where a norm is 0 or NaN: they count as memory of the reader.

    Raises
    ------
    MessageError
        If a rule does not hold.
    """
    if check_scales(norms):
        check_levels_of_dead(norms, levels, parts)


def check_levels_of_dead(norms: NDArray[np.float32], levels: NDArray[Any], parts: Partition) -> None:
    """Raise a `MessageError` if a bucket of norm 0 or NaN has levels other than 0."""
    from qsgd_lab.kernels.cpu.messages.decode import live_level

    bucket = live_level(levels, norms, parts.bucket_offsets)
    if bucket >= 0:
        text = f"bucket {bucket} has norm {norms[bucket]} and levels other than 0"
        raise MessageError(text, "canonical")


def storable_scales(scales: Any) -> NDArray[np.float32]:
    """Return scales as they are stored: contiguous float32, and every NaN that one of 0x7FC00000."""
    stored = np.ascontiguousarray(scales, dtype=np.float32).reshape(-1)
    nan = np.isnan(stored)
    return np.where(nan, NAN_BITS.view(np.float32), stored) if nan.any() else stored


def writable_scales(scales: Any) -> tuple[NDArray[np.float32], bool]:
    """Return scales as they are stored, and whether one is +0 or the NaN; one pass where no NaN is another.

    Raises
    ------
    MessageError
        If one is negative, -0 or infinite.
    """
    stored = np.ascontiguousarray(scales, dtype=np.float32).reshape(-1)
    bad, dead = _survey(stored)
    if bad < 0:
        return stored, dead
    stored = storable_scales(stored)
    return stored, check_scales(stored)
