"""Elias codewords built from their definitions, one bit at a time, sharing nothing with the package."""

from __future__ import annotations


def binary(k: int) -> str:
    """Return the binary digits of k >= 1, highest first."""
    digits = ""
    while k:
        digits = str(k % 2) + digits
        k //= 2
    return digits


def gamma(k: int) -> str:
    """Spell as many zeros as k has digits after the first, then its digits."""
    digits = binary(k)
    zeros = ""
    for _ in digits[1:]:
        zeros += "0"
    return zeros + digits


def delta(k: int) -> str:
    """Spell the number of digits in gamma, then the digits after the first."""
    digits = binary(k)
    return gamma(len(digits)) + digits[1:]


def omega(k: int) -> str:
    """Spell a zero; before it k's digits, before them those of their number less one, and so on down to 1."""
    return _omega_prefix(k) + "0"


def _omega_prefix(k: int) -> str:
    return "" if k == 1 else _omega_prefix(len(binary(k)) - 1) + binary(k)


SPELL = {"gamma": gamma, "delta": delta, "omega": omega}


def read(bits: str, position: int, code: str) -> tuple[int, int]:
    """Return the integer whose codeword begins at a position, and the position after it."""
    return {"gamma": _read_gamma, "delta": _read_delta, "omega": _read_omega}[code](bits, position)


def _read_gamma(bits: str, position: int) -> tuple[int, int]:
    zeros = 0
    while bits[position] == "0":
        zeros, position = zeros + 1, position + 1
    return int(bits[position : position + zeros + 1], 2), position + zeros + 1


def _read_delta(bits: str, position: int) -> tuple[int, int]:
    length, position = _read_gamma(bits, position)
    return int("1" + bits[position : position + length - 1], 2), position + length - 1


def _read_omega(bits: str, position: int) -> tuple[int, int]:
    k = 1
    while bits[position] == "1":
        k, position = int(bits[position : position + k + 1], 2), position + k + 1
    return k, position + 1
