"""Kinds 3, 5 and 9 of wire format 2, read as docs/wire-format-2.md says: a part of `naive_wire2`.

Floats are Python's, rounded to float32 after every operation.
"""

from __future__ import annotations

import re
import struct
from functools import cache

import checkout
import naive_wire2 as page

NAN = 0x7FC00000


def real(bits: int) -> float:
    """Return the number of the bits of a float32."""
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def rounded(x: float) -> float:
    """Return a number rounded to float32; too large ones become infinite."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return float("inf") if x > 0 else float("-inf")


def bits_of_real(x: float) -> int:
    """Return the bits of the float32 of a number."""
    return struct.unpack("<I", struct.pack("<f", rounded(x)))[0]


@cache
def book(b: int) -> list[float]:
    """Return the centroids that the page prints."""
    text = (checkout.ROOT / "docs" / "wire-format-2.md").read_text(encoding="utf-8")
    block = text.split("### 3 rotated")[1].split("```")[1]
    found = re.split(r"b = (\d)", block)
    words = dict(zip(found[1::2], found[2::2], strict=True))[str(b)].split()
    return [real(int(word, 16)) for word in words]


def check_scales(scales) -> None:
    """Refuse what is not a scale."""
    page.need(all(scale == NAN or scale < 0x7F800000 for scale in scales))


def two_complement(tape, count: int, width: int) -> list[int]:
    """Return fields in two's complement."""
    bits = page.bits_of(tape.padded(-(-count * width // 8)), count * width)
    fields = [page.field(bits, i * width, width) for i in range(count)]
    return [field - 2**width if field >= 2 ** (width - 1) else field for field in fields]


def transform(y: list[float]) -> list[float]:
    """Return H y."""
    y, h = list(y), 1
    while h < len(y):
        for i in range(0, len(y), 2 * h):
            for j in range(i, i + h):
                y[j], y[j + h] = rounded(y[j] + y[j + h]), rounded(y[j] - y[j + h])
        h *= 2
    return y


def purpose_pair(key: dict, purpose: int) -> tuple[int, int]:
    """Return the words of Philox's key for a purpose."""
    purpose += 16 if key["role"] == 4 else 0
    seed = (key["seed"] % 2**32, key["seed"] >> 32)
    return page.philox((purpose, 2**32 - 1, 2**32 - 1, 2**32 - 1), seed)[:2]


def minus(key: dict, purpose: int, i: int) -> bool:
    """Return whether the sign of position i is minus."""
    counter = (i // 128, key["step"], key["base"], key["node"])
    return bool(page.philox(counter, purpose_pair(key, purpose))[i // 32 % 4] >> i % 32 & 1)


def rotated_parameters(parameters, found):
    """Return grid, b, d and R of kind 3, checked."""
    grid, b, log_d, rounds, *zeros = parameters
    page.need(grid <= 1 and b in ((1, 2, 3, 4, 8) if grid == 0 else range(1, 9)))
    page.need(log_d <= 16 and rounds in (1, 2) and not any(zeros) and found["key"])
    page.need(found["key"]["first"] + found["n"] <= 2**34 and found["key"]["first"] % 2**log_d == 0)
    return grid, b, 2**log_d, rounds


def rotated_shape(n: int, d: int):
    """Return the number of blocks and the padded size of the last one."""
    count, e = -(-n // d), 1
    while n and e < n - (count - 1) * d:
        e *= 2
    return count, e if n else 0


def read_rotated_scales(tape, parameters, found):
    """Return scales and offsets of kind 3, as bits."""
    grid, b, d, _ = rotated_parameters(parameters, found)
    count, e = rotated_shape(found["n"], d)
    coded = -(-(d * (count - 1) + e) * b // 8) if count else 0
    page.need(page.up8(4 * count * (1 + grid)) + page.up8(coded) == tape.left())
    words = page.numbers(tape.padded(4 * count * (1 + grid)), 4)
    scales, offsets = (words[::2], words[1::2]) if grid else (words, None)
    check_scales(scales)
    for scale, offset in zip(scales, offsets or [], strict=False):
        if scale in (0, NAN):
            page.need(offset == scale)
        else:
            steps = real(offset) * 1024
            page.need(abs(steps) <= 8192 * 1024 and steps == int(steps) and offset != 2**31)
    return scales, offsets


def read_rotated(tape, parameters, found, side, kinds, names):
    """Kind 3."""
    _, b, d, rounds = rotated_parameters(parameters, found)
    scales, offsets = side
    count, e = rotated_shape(found["n"], d)
    codes = two_complement(tape, d * (count - 1) + e if count else 0, b)
    sizes = [d] * (count - 1) + [e] * bool(count)
    blocks, at = [], 0
    for scale, size in zip(scales, sizes, strict=True):
        blocks.append(codes[at : at + size])
        page.need(scale not in (0, NAN) or not any(blocks[-1]))
        at += size
    return {"scales": scales, "offsets": offsets, "blocks": blocks, "b": b, "d": d, "rounds": rounds}


def dense_rotated(found: dict) -> list[int]:
    """Return the bits of the values of kind 3."""
    values = []
    for number, codes in enumerate(found["blocks"]):
        begin, scale = number * found["d"], found["scales"][number]
        if scale in (0, NAN):
            values += [scale] * len(codes)
            continue
        if found["offsets"] is None:
            centroids = book(found["b"])
            y = [centroids[q] if q >= 0 else -centroids[-1 - q] for q in codes]
        else:
            y = [rounded(real(found["offsets"][number]) + q) for q in codes]
        for r in range(found["rounds"], 0, -1):
            y = transform(y)
            places = range(found["key"]["first"] + begin, found["key"]["first"] + begin + len(y))
            y = [-x if minus(found["key"], r, i) else x for x, i in zip(y, places, strict=True)]
        values += [bits_of_real(real(scale) * x) for x in y]
    return values[: found["n"]]


def integer_parameters(parameters, found):
    """Return b, whether there is a smoother, and d of kind 9, checked."""
    b, smoother, zero, d = struct.unpack("<BBHI", parameters)
    page.need(b in (4, 8) and smoother in (0, 5) and zero == 0 and 1 <= d <= 65536)
    page.need(d % 2**smoother == 0 and (not found["key"] or found["key"]["first"] % d == 0))
    return b, bool(smoother), d


def read_integer_scales(tape, parameters, found):
    """Return the scales of kind 9, as bits."""
    b, smooth, d = integer_parameters(parameters, found)
    count, codes = -(-found["n"] // d), -(-found["n"] // 32) * 32 if smooth else found["n"]
    page.need(page.up8(4 * count) + page.up8(-(-codes * b // 8)) == tape.left())
    scales = page.numbers(tape.padded(4 * count), 4)
    check_scales(scales)
    return scales


def read_integers(tape, parameters, found, scales, kinds, names):
    """Kind 9."""
    b, smooth, d = integer_parameters(parameters, found)
    codes = two_complement(tape, -(-found["n"] // 32) * 32 if smooth else found["n"], b)
    page.need(all(code != -(2 ** (b - 1)) for code in codes))
    values = []
    for number, scale in enumerate(scales):
        own = codes[number * d : (number + 1) * d]
        if scale in (0, NAN):
            page.need(not any(own))
            values += [scale] * len(own)
            continue
        if smooth:
            own = [x for i in range(0, len(own), 32) for x in transform(own[i : i + 32])]
        values += [bits_of_real(real(scale) * x) for x in own]
    return {"scales": scales, "values": values[: found["n"]]}


def sphere_parameters(parameters, found):
    """Return d, K, w, the segments a range and G of kind 5, checked."""
    log_d, log_k, w, log_run, *zeros = parameters
    page.need(1 <= log_d <= 10 and log_d <= log_k and log_d + log_k <= 20 and not any(zeros))
    page.need(w <= 16 and log_run <= 16 and (w or not log_run) and found["key"])
    page.need(found["key"]["first"] + found["n"] <= 2**34 and found["key"]["first"] % 2**log_d == 0)
    return 2**log_d, log_k, w, 2**log_run, -(-found["n"] // 2**log_d)


def read_sphere_norms(tape, parameters, found):
    """Return the norms or ranges of kind 5, as bits."""
    _, log_k, w, run, count = sphere_parameters(parameters, found)
    numbers = 2 * -(-count // run) if w else count
    coded = page.up8(-(-count * log_k // 8)) + page.up8(-(-count * w // 8))
    page.need(page.up8(4 * numbers) + coded == tape.left())
    words = page.numbers(tape.padded(4 * numbers), 4)
    page.need(all(word == NAN or (word != 2**31 and word >> 23 & 255 != 255) for word in words))
    return words


def fields(tape, count: int, width: int) -> list[int]:
    """Return fields."""
    bits = page.bits_of(tape.padded(-(-count * width // 8)), count * width)
    return [page.field(bits, i * width, width) for i in range(count)]


def read_sphere(tape, parameters, found, words, kinds, names):
    """Kind 5."""
    d, log_k, w, run, count = sphere_parameters(parameters, found)
    codes, norms = fields(tape, count, log_k), words
    if w:
        levels, norms = fields(tape, count, w), []
        for g in range(count):
            low, high = words[2 * (g // run) : 2 * (g // run) + 2]
            page.need((low == NAN) == (high == NAN) and (low == NAN or real(low) <= real(high)))
            page.need(low != high or levels[g] == 0)
            step = (real(high) - real(low)) / (2**w - 1)
            norms.append(low if low in (NAN, high) else bits_of_real(real(low) + levels[g] * step))
    dead = [code for code, norm in zip(codes, norms, strict=True) if norm == NAN or real(norm) == 0]
    page.need(not any(dead))
    return {"codes": codes, "norms": norms, "d": d}


def dense_sphere(found: dict) -> list[int]:
    """Return the bits of the values of kind 5."""
    values, d = [], found["d"]
    key = {"seed": found["key"]["seed"], "role": 0, "node": 2**32 - 1, "step": 0, "base": 0}
    for code, norm in zip(found["codes"], found["norms"], strict=True):
        u = real(norm)
        if norm == NAN or u == 0:
            values += [norm if norm == NAN else 0] * d
            continue
        y = [1.0 if i == code % d else 0.0 for i in range(d)]
        for purpose in (5, 4):
            y = transform(y)
            places = range(code // d * d, code // d * d + d)
            y = [-x if minus(key, purpose, i) else x for x, i in zip(y, places, strict=True)]
        values += [bits_of_real(u * (x / d)) for x in y]
    return values[: found["n"]]


SIDES = {"rotated": read_rotated_scales, "block-int": read_integer_scales, "hsq": read_sphere_norms}
READERS = {"rotated": read_rotated, "block-int": read_integers, "hsq": read_sphere}
