"""The key of a message: which random words its sender drew, and what the message is in an exchange."""

from __future__ import annotations

import struct
from enum import IntEnum
from functools import lru_cache
from operator import index
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.partition import MAX_TENSOR_SIZE
from qsgd_lab.wire.checks import Bytes, require

SHARED_NODE = 2**32 - 1  # whose words all nodes draw alike
STREAM_VERSION = 1

_FIELDS = struct.Struct("<QIIIBBH")
_FIRST = struct.Struct("<Q")
_WORD = 2**32
_RANGES = {
    "seed": 2**64,
    "node": _WORD,
    "step": _WORD - 1,
    "tensor": _WORD,
    "role": 5,
    "first": MAX_TENSOR_SIZE,
}


class Role(IntEnum):
    """What a message is in an exchange."""

    GRADIENT = 0
    MODEL_DIFFERENCE = 1
    FIRST_STATE = 2
    STATE_DIFFERENCE = 3
    MEAN = 4


class Purpose(IntEnum):
    """What random words are drawn for, so that purposes never share words."""

    ROUNDING = 0
    FIRST_SIGNS = 1
    SECOND_SIGNS = 2
    MASK = 3
    FIRST_CODEBOOK_SIGNS = 4
    SECOND_CODEBOOK_SIGNS = 5
    START = 6
    DELAY = 7
    PLUGIN = 15  # whatever a compressor from outside draws besides its rounding


class Key(NamedTuple):
    """The key of a message.

    Attributes
    ----------
    seed : int
        0 to 2**64 - 1.
    node : int
        0 to 2**32 - 1; `SHARED_NODE` for words that all nodes share.
    step : int
        0 to 2**32 - 2.
    tensor : int
        Number of the first tensor of the message.
    role : Role
    first : int
        Coordinates of the first tensor that come before this message; above 0 the message is a shard.
    """

    seed: int = 0
    node: int = 0
    step: int = 0
    tensor: int = 0
    role: int = Role.GRADIENT
    first: int = 0

    def check(self) -> Key:
        """Return the key, its fields as Python integers.

        Raises
        ------
        MessageError
            If a field is out of its range.
        """
        for name, value in zip(self._fields, self, strict=True):
            in_range = not isinstance(value, bool) and 0 <= index(value) < _RANGES[name]
            text = f"{name} of the key is {value}; it must be from 0 to {_RANGES[name] - 1}"
            require(in_range, "parameters", text)
        return Key(*(int(value) for value in self))

    def pack(self) -> bytes:
        """Return the 24 bytes, or 32 with `first`."""
        fields = _FIELDS.pack(self.seed, self.node, self.step, self.tensor, STREAM_VERSION, self.role, 0)
        return fields + (_FIRST.pack(self.first) if self.first else b"")


def key_bytes(key: Key | None) -> int:
    """Return the length of the key in a message."""
    return 0 if key is None else _FIELDS.size + (_FIRST.size if key.first else 0)


def parse_key(data: Bytes, with_first: bool) -> Key:
    """Read the key at the beginning of `data`.

    Raises
    ------
    MessageError
        If it is cut off, or a field is out of its range.
    """
    size = _FIELDS.size + (_FIRST.size if with_first else 0)
    require(data.size >= size, "truncated", "the message ends inside its key")
    seed, node, step, tensor, version, role, zero = _FIELDS.unpack(data[: _FIELDS.size].tobytes())
    require(version == STREAM_VERSION, "unknown", f"stream version {version} is not known")
    require(zero == 0, "zeros", "the last bytes of the key are not zero")
    first = int.from_bytes(data[_FIELDS.size : size].tobytes(), "little")
    require(first or not with_first, "canonical", "the key claims a shard that begins at 0")
    return Key(seed, node, step, tensor, role, first).check()


def check_place(key: Key, sizes: NDArray[np.int64]) -> None:
    """Check that the key's tensor numbers and its shard fit the tensors of a message."""
    fits = key.tensor + sizes.size <= _WORD
    require(fits, "parameters", "the last tensor number of the key exceeds 32 bits")
    require(sizes.size or not key.first, "parameters", "a shard has at least one tensor")
    end = key.first + int(sizes[0]) if key.first else 0
    require(end <= MAX_TENSOR_SIZE, "parameters", f"the shard ends at {end}, beyond {MAX_TENSOR_SIZE}")


def needed_key(key: Key | None, kind: str) -> Key:
    """Return the key of a message of a kind that needs one; a MessageError if it has none."""
    require(key is not None, "parameters", f"{kind} needs a key")
    return cast(Key, key)


def check_common_words(key: Key, num_coordinates: int) -> None:
    """Check that words which do not belong to tensors suffice for all coordinates."""
    end = key.first + num_coordinates
    text = f"one stream has words for {MAX_TENSOR_SIZE} coordinates, not {end}"
    require(end <= MAX_TENSOR_SIZE, "parameters", text)


@lru_cache(maxsize=64)
def purpose_key(seed: int, purpose: int, role: int = Role.GRADIENT) -> tuple[int, int]:
    """Return the two 32-bit key words of Philox for a purpose.

    The purpose 0 has the seed itself; any other the first two words of counter (p, 2^32-1, 2^32-1, 2^32-1),
    p = purpose, or purpose + 16 for a mean that is sent down.

    Examples
    --------
    >>> purpose_key(7, Purpose.ROUNDING)
    (7, 0)
    """
    low, high = seed & (_WORD - 1), seed >> 32
    shared = {Purpose.FIRST_CODEBOOK_SIGNS, Purpose.SECOND_CODEBOOK_SIGNS}
    number = int(purpose) + (16 if role == Role.MEAN and purpose not in shared else 0)
    if number == 0:
        return low, high
    counter, (k0, k1) = (number, _WORD - 1, _WORD - 1, _WORD - 1), (low, high)
    for _ in range(10):
        a, b = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = (b >> 32) ^ counter[1] ^ k0, b % _WORD, (a >> 32) ^ counter[3] ^ k1, a % _WORD
        k0, k1 = (k0 + 0x9E3779B9) % _WORD, (k1 + 0xBB67AE85) % _WORD
    return counter[0], counter[1]


def words(key: Key, purpose: int, count: int) -> NDArray[np.uint32]:
    """Return the words of `count` coordinates from the key's first one on for a purpose, uint32[count]."""
    from qsgd_lab.kernels.arguments import StreamKey
    from qsgd_lab.kernels.philox import GROUP, fill_groups

    group, skip = divmod(key.first, GROUP)
    drawn = np.empty(-(-(skip + count) // GROUP) * GROUP, np.uint32)
    k0, k1 = purpose_key(key.seed, purpose, key.role)
    stream = StreamKey(*map(np.uint32, (k0, k1, key.step, key.tensor, key.node, STREAM_VERSION)))
    fill_groups(drawn, group, skip + count, stream)
    return drawn[skip : skip + count]


def checked_key(key: Key | None) -> Key | None:
    """Return a key whose fields are in range.

    Raises
    ------
    MessageError
        If one is not.
    """
    try:
        return None if key is None else Key(*key).check()
    except TypeError:
        raise MessageError(f"the key is {key!r}; its fields must be integers", "parameters") from None
