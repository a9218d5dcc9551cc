"""Kinds 10, 12 and 14 of wire format 2, read as docs/wire-format-2.md says: a part of `naive_wire2`."""

from __future__ import annotations

import struct

import naive_wire2 as page


def read_natural(tape, parameters, found, side, kinds, names):
    """Kind 10."""
    page.need(not any(parameters))
    n = found["n"]
    codes, signs = tape.padded(n), page.bits_of(tape.padded(-(-n // 8)), n)
    page.need(not any(sign and code in (0, 255) for code, sign in zip(codes, signs, strict=True)))
    values = [
        page.NAN if code == 255 else sign << 31 | code << 23 for code, sign in zip(codes, signs, strict=True)
    ]
    return {"values": values}


def one_bit_parameters(parameters, found):
    """Return mode, bucket size and scope of kind 12, checked."""
    mode, scope, a, b, bucket = struct.unpack("<4BI", parameters)
    page.need(mode <= 1 and scope <= 1 and a == b == 0 and bucket <= 2**31 and not (scope and bucket))
    page.check_shard(found, bucket, scope)
    return mode, bucket, scope


def read_pairs(tape, parameters, found):
    """Return the bits of (value of 0, value of 1) of each bucket of kind 12."""
    mode, bucket, scope = one_bit_parameters(parameters, found)
    count = len(page.buckets(found, bucket, scope))
    page.need(-(-found["n"] // 8) <= tape.left())
    scales = page.numbers(tape.padded(4 * count * (mode + 1)), 4)
    if mode == 0:
        page.need(all(scale == page.NAN or scale < 0x7F800000 for scale in scales))
        return [(scale if scale in (0, page.NAN) else scale | 1 << 31, scale) for scale in scales]
    pairs = list(zip(scales[::2], scales[1::2], strict=True))
    for low, high in pairs:
        page.need((low == page.NAN) == (high == page.NAN))
        page.need(low == page.NAN or (high < 0x7F800000 and (low == 0 or 0x80000000 < low < 0xFF800000)))
    return pairs


def read_one_bit(tape, parameters, found, pairs, kinds, names):
    """Kind 12."""
    mode, bucket, scope = one_bit_parameters(parameters, found)
    n = found["n"]
    bits, values, at = page.bits_of(tape.padded(-(-n // 8)), n), [], 0
    for (low, high), size in zip(pairs, page.buckets(found, bucket, scope), strict=True):
        part = bits[at : at + size]
        at += size
        if high == page.NAN or (mode == 0 and high == 0):
            page.need(not any(part))
        elif mode == 1:
            page.need((low == 0) == all(part) and (high == 0 or any(part)))
        values += [high if bit else low for bit in part]
    return {"values": values}


def exponential_parameters(parameters, found):
    """Return whether there is no zero, s, bucket size and scope of kind 14, checked."""
    without, a, b, c, s, norm, d, bucket, scope, e, f, g = struct.unpack("<4BHBBI4B", parameters)
    page.need(without <= 1 and not any([a, b, c, d, e, f, g]) and norm <= 1)
    page.need(s in (1, 2, 4, 8, 16, 32, 64, 128) if without else 1 <= s <= 255)
    page.need(bucket <= 2**31 and scope <= 1 and not (scope and bucket))
    page.check_shard(found, bucket, scope)
    return without, s, bucket, scope


def read_exponential_norms(tape, parameters, found):
    """Return the bits of the norms of kind 14."""
    without, s, bucket, scope = exponential_parameters(parameters, found)
    page.need(-(-found["n"] * (1 + (s - without).bit_length()) // 8) <= tape.left())
    norms = page.numbers(tape.padded(4 * len(page.buckets(found, bucket, scope))), 4)
    page.need(all(norm == page.NAN or norm < 0x7F800000 for norm in norms))
    return norms


def read_exponential(tape, parameters, found, norms, kinds, names):
    """Kind 14."""
    without, s, bucket, scope = exponential_parameters(parameters, found)
    n, w = found["n"], 1 + (s - without).bit_length()
    bits = page.bits_of(tape.padded(-(-n * w // 8)), n * w)
    codes = [page.field(bits, i * w, w) for i in range(n)]
    codes = [code - 2**w if code >= 2 ** (w - 1) else code for code in codes]
    page.need(all(-s <= code <= s - without for code in codes))
    values, at = [], 0
    for norm, size in zip(norms, page.buckets(found, bucket, scope), strict=True):
        part = codes[at : at + size]
        at += size
        if norm in (0, page.NAN):
            page.need(not any(part))
            values += [norm] * size
            continue
        scale = struct.unpack("<f", struct.pack("<I", norm))[0]
        for code in part:
            if without:
                level = 2.0 ** (code + 1 - s) if code >= 0 else -(2.0 ** (-code - s))
            else:
                level = 0.0 if code == 0 else 2.0 ** (abs(code) - s) * (1 if code > 0 else -1)
            values.append(page.number(struct.pack("<f", scale * level)))
    return {"values": values}


SIDES = {"one-bit": read_pairs, "exponential": read_exponential_norms}
READERS = {"natural": read_natural, "one-bit": read_one_bit, "exponential": read_exponential}
