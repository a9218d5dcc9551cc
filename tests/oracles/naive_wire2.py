"""A reader of messages of version 2 written from docs/wire-format-2.md alone: plain, slow, with every check.

`decode` returns nested dicts and lists, floats as the bits of float32; it raises `Refused` where a rule is
broken.
"""

from __future__ import annotations

import struct

import naive_ranged
import naive_wire2_blocks
import naive_wire2_powers

NAMES = {0: "none", 1: "raw", 2: "levels", 6: "sparse", 7: "masked", 10: "natural", 12: "one-bit"}
NAMES |= {13: "select", 14: "exponential"}
NAMES |= {3: "rotated", 5: "hsq", 9: "block-int"}
NAN = 0x7FC00000
SPARSE_INNER = 3


class Refused(Exception):  # noqa: N818 - it is the page's word
    """The message breaks a rule of the page."""


def need(condition) -> None:
    """Refuse the message unless a condition holds."""
    if not condition:
        raise Refused


def crc32c(data: bytes) -> int:
    """Return the CRC-32C, bit by bit; the fuzzer replaces it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def up8(size: int) -> int:
    """Return a size rounded up to a multiple of 8."""
    return -(-size // 8) * 8


def number(data: bytes) -> int:
    """Return a little-endian number."""
    return int.from_bytes(data, "little")


def numbers(data: bytes, width: int) -> list[int]:
    """Return little-endian numbers of some width."""
    return [number(data[i : i + width]) for i in range(0, len(data), width)]


class Tape:
    """Bytes that are taken from the front, and refused when they end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        need(size <= len(self.data) - self.at)
        self.at += size
        return self.data[self.at - size : self.at]

    def padded(self, size: int) -> bytes:
        """Return the next bytes, and skip the zeros after them up to a multiple of 8."""
        need(up8(size) <= len(self.data) - self.at)
        data = self.take(size)
        need(not any(self.take(up8(size) - size)))
        return data

    def left(self) -> int:
        """Return how many bytes are left."""
        return len(self.data) - self.at


def product(shape: list[int]) -> int:
    """Return the number of elements of a shape, if that of its lengths other than 0 is small enough."""
    p = 1
    for d in shape:
        need(d <= 2**48)
        if d:
            need(p <= 2**48 // d)
            p *= d
    return 0 if 0 in shape else p


def read_structure(tape: Tape, form: int, code: int, t: int, d: int, n: int):
    """Return sizes and shapes (of a list, one for each array)."""
    need(form <= 3 and code <= 3 and n <= 2**48 and t <= 2**20 and d <= 64)
    need([(t, d) == (1, 1), t == 1 and d != 1, t != 1, d == 0][form])
    width, begin = 1 << code, tape.at
    ranks = list(tape.take(t)) if form == 3 else []
    need(all(rank <= 64 for rank in ranks))
    count = [0, d, t + (d if d != 1 else 0), sum(ranks)][form]
    listed = numbers(tape.take(count * width), width)
    need(width == next(w for w in (1, 2, 4, 8) if max(listed, default=0) < 256**w))
    need(not any(tape.take(up8(tape.at - begin) - (tape.at - begin))))
    if form == 3:
        shapes, at = [], 0
        for rank in ranks:
            shapes.append(listed[at : at + rank])
            at += rank
        sizes = [product(shape) for shape in shapes]
    else:
        sizes = listed[:t] if form == 2 else [n]
        shape = [[n], listed, listed[t:] if d != 1 else [n], None][form]
        need(product(shape) == n)
        shapes = [shape]
    need(all(size <= 2**34 for size in sizes) and sum(sizes) == n)
    return sizes, shapes


def read_key(tape: Tape, with_first: bool, sizes: list[int]) -> dict:
    """Return the key."""
    seed, node, step, base, version, role, zero = struct.unpack("<QIIIBBH", tape.take(24))
    need(version == 1 and role <= 4 and zero == 0 and step != 2**32 - 1 and base + len(sizes) <= 2**32)
    first = 0
    if with_first:
        first = number(tape.take(8))
        need(first >= 1 and sizes and first + sizes[0] <= 2**34)
    return {"seed": seed, "node": node, "step": step, "base": base, "role": role, "first": first}


def decode(data: bytes, kinds=None, names=(), inner=False, max_coordinates=None) -> dict:
    """Return everything that a message says; `names` are the private kinds that are registered."""
    need(len(data) >= 40)
    magic, version, kind, flags, forms, t, d, p, head, total, n, front, payload = struct.unpack(
        "<4s4BIBBHQQII", data[:40]
    )
    need(magic == b"QSGD" and version == 2)
    need(crc32c(data[:14] + data[16:32]) & 0xFFFF == head)
    need(total >= 40 and total % 8 == 0 and total == len(data))
    name = NAMES.get(kind, "private" if 128 <= kind <= 254 else None)
    need(name is not None and (kinds is None or name in kinds))
    need(flags < 8 and (flags & 1 or not flags & 2))
    need(inner or max_coordinates is None or n <= max_coordinates)
    tape = Tape(data)
    tape.take(40)
    sizes, shapes = read_structure(tape, forms & 15, forms >> 4, t, d, n)
    parameters = tape.take(8 * p)
    key = read_key(tape, bool(flags & 2), sizes) if flags & 1 else None
    used = bits_of(tape.padded(-(-t // 8)), t) if flags & 4 else None
    found = {
        "kind": name,
        "number": kind,
        "n": n,
        "form": forms & 15,
        "sizes": sizes,
        "shapes": shapes,
        "key": key,
        "used": used,
    }
    needed = {"none": 0, "raw": 1, "levels": 2, "sparse": 2, "masked": 2, "select": 0}
    needed |= {"natural": 1, "one-bit": 1, "exponential": 2}
    needed |= dict.fromkeys(naive_wire2_blocks.SIDES, 1)
    need(p == needed[name] if name in needed else p >= 2)
    sides = {"levels": read_norms, "sparse": read_directory}
    sides |= naive_wire2_powers.SIDES
    sides |= naive_wire2_blocks.SIDES
    side = sides.get(name, no_side)(tape, parameters, found)
    need(crc32c(data[:32] + data[36 : tape.at]) == front)
    need(crc32c(data[tape.at :]) == payload)
    read = {"none": read_none, "raw": read_raw, "levels": read_levels, "sparse": read_sparse}
    read |= {"masked": read_masked, "select": read_select, "private": read_private}
    read |= naive_wire2_blocks.READERS
    read |= naive_wire2_powers.READERS
    found |= read[name](tape, parameters, found, side, kinds, names)
    need(tape.left() == 0)
    return found


def bits_of(data: bytes, count: int) -> list[int]:
    """Return the first bits of a byte string, all others of which are 0."""
    bits = [byte >> i & 1 for byte in data for i in range(8)]
    need(not any(bits[count:]))
    return bits[:count]


def field(bits: list[int], at: int, width: int) -> int:
    """Return a field, lowest bit first."""
    return sum(bits[at + i] << i for i in range(width))


def no_side(tape, parameters, found):
    """Return nothing: most kinds have no side data."""


def read_none(tape, parameters, found, side, kinds, names):
    """Kind 0."""
    return {}


def raw_values(data: bytes, kind: int) -> list[int]:
    """Return the bits of float32 of values of a type."""
    if kind == 0:
        return numbers(data, 4)
    halves = numbers(data, 2)
    return [half << 16 for half in halves] if kind == 2 else [widen(half) for half in halves]


def widen(half: int) -> int:
    """Return the bits of the float32 of a float16."""
    sign, exponent, fraction = half >> 15 << 31, half >> 10 & 31, half & 1023
    if exponent == 31:
        return sign | 0x7F800000 | fraction << 13
    if exponent == 0:
        if fraction == 0:
            return sign
        top = fraction.bit_length() - 1
        return sign | (top - 24 + 127) << 23 | (fraction - (1 << top)) << (23 - top)
    return sign | (exponent - 15 + 127) << 23 | fraction << 13


def read_raw(tape, parameters, found, side, kinds, names):
    """Kind 1."""
    need(parameters[0] <= 2 and not any(parameters[1:]))
    return {"values": raw_values(tape.padded(found["n"] * (4 if parameters[0] == 0 else 2)), parameters[0])}


def level_parameters(parameters, found):
    """Return layout, s, bucket size and scope of kind 2, checked."""
    fields = struct.unpack("<4BHBBI4B", parameters)
    layout, a, b, states, s, norm, grid, bucket, scope, chunk, tables, g = fields
    need(layout in (0, 1, 4) and not any([a, b, g]) and 1 <= s <= 32767 and norm <= 2 and grid == 0)
    if layout == 4:
        need(states in (0, 4) and tables in (1, 4, 8))
        least, most = naive_ranged.chunk_limits(s, 1 << states)
        need(least <= chunk <= most)
    else:
        need(not states and not chunk and not tables)
    need((layout != 1 or s == 1) and bucket <= 2**31 and scope <= 1 and not (scope and bucket))
    check_shard(found, bucket, scope)
    return layout, s, bucket, scope


def check_shard(found, bucket, scope):
    """Check where a message with buckets may begin."""
    key = found["key"]
    if key and scope:
        need(key["first"] + found["n"] <= 2**34)
    if key and key["first"]:
        need(bucket and key["first"] % bucket == 0)


def buckets(found, bucket, scope) -> list[int]:
    """Return the sizes of the buckets."""
    if scope:
        return [found["n"]] if found["n"] else []
    if bucket == 0:
        return [size for size in found["sizes"] if size]
    return [min(bucket, size - at) for size in found["sizes"] for at in range(0, size, bucket)]


def read_norms(tape, parameters, found):
    """Return the bits of the norms of kind 2."""
    layout, s, bucket, scope = level_parameters(parameters, found)
    if layout == 4:
        return read_ranged_side(tape, parameters, found, buckets(found, bucket, scope))
    least = -(-found["n"] // 5) if layout else -(-found["n"] * (1 + s.bit_length()) // 8)
    need(least <= tape.left())
    norms = numbers(tape.padded(4 * len(buckets(found, bucket, scope))), 4)
    need(all(norm == NAN or norm < 0x7F800000 for norm in norms))
    return norms


def chunk_sizes(parameters, n):
    """Return the coordinates of each chunk of the layout ranged."""
    size = 1 << parameters[13]
    return [min(size, n - at) for at in range(0, n, size)]


def read_ranged_side(tape, parameters, found, sizes):
    """Return norms, lengths, tables and classes of the layout ranged."""
    s, states = number(parameters[4:6]), 1 << parameters[3]
    chunks = chunk_sizes(parameters, found["n"])
    begin = tape.at
    norms = numbers(tape.take(4 * len(sizes)), 4)
    need(all(norm == NAN or norm < 0x7F800000 for norm in norms))
    lengths = [4 * words for words in numbers(tape.take(2 * len(chunks)), 2)]
    need(all(length >= 4 * states for length in lengths))
    tables = naive_ranged.read_tables(tape.take, parameters[14], s, need)
    width = {1: 0, 4: 2, 8: 3}[len(tables)]
    blocks = [-(-naive_ranged.symbol_count(count, s, states) // 512) for count in chunks]
    bits = bits_of(tape.take(-(-sum(blocks) * width // 8)), sum(blocks) * width)
    classes = [field(bits, i * width, width) for i in range(sum(blocks))]
    need(all(kind < len(tables) for kind in classes))
    need(not any(tape.take(up8(tape.at - begin) - (tape.at - begin))))
    return norms, lengths, tables, classes, blocks


def read_ranged(tape, parameters, n, s, side):
    """Return the levels of the layout ranged."""
    _, lengths, tables, classes, blocks = side
    levels, at = [], 0
    begin = tape.at
    for count, length, own in zip(chunk_sizes(parameters, n), lengths, blocks, strict=True):
        kinds = classes[at : at + own]
        at += own
        data = tape.take(length)
        levels += naive_ranged.decode_chunk(data, count, s, 1 << parameters[3], tables, kinds, need)
    need(not any(tape.take(up8(tape.at - begin) - (tape.at - begin) + 32)))
    return levels


def read_levels(tape, parameters, found, norms, kinds, names):
    """Kind 2."""
    layout, s, bucket, scope = level_parameters(parameters, found)
    n = found["n"]
    if layout == 4:
        levels, norms = read_ranged(tape, parameters, n, s, norms), norms[0]
    elif layout:
        data = tape.padded(-(-n // 5))
        need(all(byte <= 242 for byte in data))
        digits = [byte // 3**i % 3 for byte in data for i in range(5)]
        need(not any(digits[n:]))
        levels = [(0, 1, -1)[digit] for digit in digits[:n]]
    else:
        w = 1 + s.bit_length()
        bits = bits_of(tape.padded(-(-n * w // 8)), n * w)
        levels = [field(bits, i * w, w) for i in range(n)]
        levels = [level - 2**w if level >= 2 ** (w - 1) else level for level in levels]
    need(all(abs(level) <= s for level in levels))
    values, at = [], 0
    for norm, size in zip(norms, buckets(found, bucket, scope), strict=True):
        part = levels[at : at + size]
        at += size
        if norm in (0, NAN):
            need(not any(part))
            values += [norm] * size
        else:
            step = struct.unpack("<f", struct.pack("<I", norm))[0] / s
            values += [number(struct.pack("<f", level * step)) for level in part]
    return {"levels": levels, "norms": norms, "s": s, "values": values, "layout": layout}


def sparse_parameters(parameters, found):
    """Return the parameters of kind 6, checked."""
    k, code, rice, log_entries, value_type, zero = struct.unpack("<Q4BI", parameters)
    need(k <= found["n"] and code in (0, 4, 5) and value_type <= 3 and zero == 0)
    need((rice <= 40 and 5 <= log_entries <= 12) if code == 4 else rice == log_entries == 0)
    return k, code, rice, 1 << log_entries, value_type


def read_directory(tape, parameters, found):
    """Return the first positions and lengths of the chunks of kind 6."""
    k, code, _, entries, _ = sparse_parameters(parameters, found)
    if code != 4:
        return None
    chunks = -(-k // entries)
    need(up8(10 * chunks) <= tape.left())
    data = tape.padded(10 * chunks)
    return numbers(data[: 8 * chunks], 8), numbers(data[8 * chunks :], 2)


def read_sparse(tape, parameters, found, side, kinds, names):
    """Kind 6."""
    k, code, rice, entries, value_type = sparse_parameters(parameters, found)
    n, inner = found["n"], None
    if value_type == SPARSE_INNER:
        inner = read_inner(tape, kinds, names)
        need(inner["kind"] == "levels" and inner["layout"] < 2 and inner["form"] == 0 and inner["n"] == k)
        need(inner["key"] is None and inner["used"] is None)
        values = inner["values"]
    else:
        values = raw_values(tape.padded(k * (4 if value_type == 0 else 2)), value_type)
    if code == 5:
        bits = bits_of(tape.padded(-(-n // 8)), n)
        positions = [i for i, bit in enumerate(bits) if bit]
    elif code == 0:
        w = max(0, n - 1).bit_length()
        bits = bits_of(tape.padded(-(-k * w // 8)), k * w)
        positions = [field(bits, i * w, w) for i in range(k)]
    else:
        positions = read_rice(tape, *side, k, rice, entries)
    need(len(positions) == k and all(a < b for a, b in zip([-1, *positions], [*positions, n], strict=True)))
    need(not any(tape.take(8)))
    return {"positions": positions, "sent": values}


def read_rice(tape, firsts, words, k, rice, entries):
    """Return positions of Rice codes."""
    data, at, positions = tape.padded(4 * sum(words)), 0, []
    for chunk, first in enumerate(firsts):
        bits, end = bits_of(data[at : at + 4 * words[chunk]], 32 * words[chunk]), 32 * words[chunk]
        at += 4 * words[chunk]
        place, position = 0, first
        positions.append(position)
        for _ in range(min(entries, k - chunk * entries) - 1):
            zeros = 0
            while True:
                need(place < end)
                place += 1
                if bits[place - 1]:
                    break
                zeros += 1
            need(place + rice <= end)
            position += (zeros << rice) + field(bits, place, rice) + 1
            place += rice
            positions.append(position)
        need(not any(bits[place:]) and end - place < 32)
    return positions


def read_masked(tape, parameters, found, side, kinds, names):
    """Kind 7."""
    zero, value_type, zeros, k = struct.unpack("<BB6sQ", parameters)
    need(zero == 0 and not any(zeros) and value_type <= 2 and k <= found["n"] and found["key"])
    need(found["key"]["first"] + found["n"] <= 2**34)
    return {"sent": raw_values(tape.padded(k * (4 if value_type == 0 else 2)), value_type)}


def read_inner(tape, kinds, names) -> dict:
    """Return the inner message that comes next."""
    need(tape.left() >= 40)
    total = number(tape.data[tape.at + 16 : tape.at + 24])
    need(total <= tape.left())
    return decode(tape.take(total), kinds, names, inner=True)


def read_select(tape, parameters, found, side, kinds, names):
    """Kind 13."""
    t, form = len(found["sizes"]), found["form"]
    need(t >= 2 and form in (2, 3) and not (found["key"] and found["key"]["first"]))
    flags = bits_of(tape.padded(-(-t // 8)), t)
    need(flags[0] and not all(flags))
    parts = [read_inner(tape, kinds, names) for _ in range(2)]
    need([part["kind"] for part in parts] != ["none", "none"])
    for part, flag in zip(parts, (1, 0), strict=True):
        places = [i for i in range(t) if flags[i] == flag]
        need(part["kind"] != "select" and part["used"] is None)
        need(part["sizes"] == [found["sizes"][i] for i in places])
        if form == 3:
            need(part["form"] == 3 and part["shapes"] == [found["shapes"][i] for i in places])
        else:
            need(part["form"] in (0, 2) and part["shapes"] == [[part["n"]]])
        if part["key"]:
            need(not part["key"]["first"] and part["key"]["base"] + 1 + places[-1] <= 2**32)
    return {"flags": flags, "parts": parts}


def read_private(tape, parameters, found, side, kinds, names):
    """Kinds 128 to 254."""
    name = parameters[:16].rstrip(b"\0")
    need(name and set(name) <= set(b"abcdefghijklmnopqrstuvwxyz0123456789.-") and name[:1].isalpha())
    need(name.decode() in names)
    return {"name": name.decode(), "own": parameters[16:], "body": tape.take(tape.left())}


def philox(counter, key):
    """Return the four words of a counter under a key."""
    (a, b, c, d), (x, y) = counter, key
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (q >> 32) ^ b ^ x, q % 2**32, (p >> 32) ^ d ^ y, p % 2**32
        x, y = (x + 0x9E3779B9) % 2**32, (y + 0xBB67AE85) % 2**32
    return a, b, c, d


def mask(key: dict, k: int, n: int) -> list[int]:
    """Return the positions of a mask."""
    purpose = 3 + (16 if key["role"] == 4 else 0)
    seed = (key["seed"] % 2**32, key["seed"] >> 32)
    pair = philox((purpose, 2**32 - 1, 2**32 - 1, 2**32 - 1), seed)[:2]

    def word(i):
        group, place = divmod(key["first"] + i, 512)
        block = 128 * group + place % 128
        return philox((block, key["step"], key["base"], key["node"]), pair)[place // 128]

    return sorted(sorted(range(n), key=lambda i: (word(i), i))[:k])


def dense(found: dict) -> list[int]:
    """Return the bits of float32 of all values."""
    n = found["n"]
    if "values" in found:
        return found["values"]
    if found["kind"] == "rotated":
        return naive_wire2_blocks.dense_rotated(found)
    if found["kind"] == "hsq":
        return naive_wire2_blocks.dense_sphere(found)
    values = [0] * n
    if found["kind"] in ("sparse", "masked"):
        masked = found["kind"] == "masked"
        positions = mask(found["key"], len(found["sent"]), n) if masked else found["positions"]
        for position, value in zip(positions, found["sent"], strict=True):
            values[position] = value
    elif found["kind"] == "select":
        streams = {1: dense(found["parts"][0]), 0: dense(found["parts"][1])}
        values, at = [], {0: 0, 1: 0}
        for flag, size in zip(found["flags"], found["sizes"], strict=True):
            values += streams[flag][at[flag] : at[flag] + size]
            at[flag] += size
    return values
