"""Chunks of levels to bits and back, in plain Python: slow, short, and sharing no code with the kernels.

Read this file to learn what the kernels write; call it with ``backend="reference"``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.elias import codeword
from qsgd_lab.coding.layouts import fixed_width
from qsgd_lab.errors import MessageError


def _sign(level: int) -> str:
    return "1" if level < 0 else "0"


def _spell_fixed(levels: list[int], width: int) -> str:
    return "".join(f"{level % 2**width:0{width}b}"[::-1] for level in levels)


def _spell_dense(levels: list[int], code: str) -> str:
    return "".join(codeword(abs(q) + 1, code) + (_sign(q) if q else "") for q in levels)


def _spell_signed(levels: list[int], code: str) -> str:
    return "".join(_sign(q) + codeword(abs(q) + 1, code) for q in levels)


def _spell_sparse(levels: list[int], code: str) -> str:
    text, previous = "", -1
    for position, q in enumerate(levels):
        if q:
            text += codeword(position - previous, code) + _sign(q) + codeword(abs(q), code)
            previous = position
    return text


def encode_chunk(levels: NDArray[np.signedinteger], num_levels: int, layout: str, code: str) -> bytes:
    """Return the payload of one chunk: its bits, LSB-first, padded with zeros to whole 32-bit words."""
    values = levels.tolist()
    if layout == "fixed":
        text = _spell_fixed(values, fixed_width(num_levels))
    else:
        spell = {"dense": _spell_dense, "dense-signed": _spell_signed, "sparse": _spell_sparse}[layout]
        text = spell(values, code)
    text += "0" * (-len(text) % 32)
    bits = np.frombuffer(text.encode(), np.uint8) - ord("0")
    return np.packbits(bits, bitorder="little").tobytes()


@lru_cache(maxsize=32)
def _integers_of(code: str, largest: int) -> dict[str, int]:
    return {codeword(k, code): k for k in range(1, largest + 1)}


class _Reader:
    """Takes symbols off a string of bits."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def bits(self, count: int) -> str:
        """Return the next bits."""
        self.position += count
        if self.position > len(self.text):
            raise MessageError("the chunk ends inside a symbol")
        return self.text[self.position - count : self.position]

    def integer(self, code: str, largest: int) -> int:
        """Return the integer of the next codeword, 1 to `largest`."""
        known, word = _integers_of(code, largest), ""
        while word not in known:
            if len(word) > 64:
                raise MessageError("the chunk holds a codeword that is of no level or distance")
            word += self.bits(1)
        return known[word]

    def signed(self, magnitude: int) -> int:
        """Return the level of a magnitude and the next bit."""
        return -magnitude if self.bits(1) == "1" else magnitude


def _read_fixed(reader: _Reader, width: int) -> int:
    value = int(reader.bits(width)[::-1], 2)
    return value - 2**width if value >= 2 ** (width - 1) else value


def _read_dense(reader: _Reader, num_levels: int, code: str) -> int:
    magnitude = reader.integer(code, num_levels + 1) - 1
    return reader.signed(magnitude) if magnitude else 0


def _read_signed(reader: _Reader, num_levels: int, code: str) -> int:
    negative = reader.bits(1) == "1"
    magnitude = reader.integer(code, num_levels + 1) - 1
    if negative and not magnitude:
        raise MessageError("the chunk holds a negative zero")
    return -magnitude if negative else magnitude


def _read_sparse(reader: _Reader, nonzeros: int, num_levels: int, code: str, size: int) -> list[int]:
    levels, position = [0] * size, -1
    for _ in range(nonzeros):
        position += reader.integer(code, size)
        if position >= size:
            raise MessageError("the chunk holds a position beyond its end")
        sign = reader.bits(1)
        magnitude = reader.integer(code, num_levels)
        levels[position] = -magnitude if sign == "1" else magnitude
    return levels


def decode_chunk(
    payload: bytes, size: int, nonzeros: int, num_levels: int, layout: str, code: str
) -> NDArray[np.int16]:
    """Return the levels of one chunk of `size` coordinates, int16.

    Raises
    ------
    MessageError
        If the payload is not exactly what `encode_chunk` writes for some levels.
    """
    reader = _Reader("".join(map(str, np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little"))))
    if layout == "sparse":
        levels = _read_sparse(reader, nonzeros, num_levels, code, size)
    elif layout == "fixed":
        levels = [_read_fixed(reader, fixed_width(num_levels)) for _ in range(size)]
    elif layout == "dense":
        levels = [_read_dense(reader, num_levels, code) for _ in range(size)]
    else:
        levels = [_read_signed(reader, num_levels, code) for _ in range(size)]
    rest = reader.text[reader.position :]
    if len(rest) >= 32 or "1" in rest:
        raise MessageError("the chunk has bits after its last symbol")
    if levels and max(map(abs, levels)) > num_levels:
        raise MessageError("the chunk holds a level beyond the number of levels")
    return np.array(levels, np.int16)
