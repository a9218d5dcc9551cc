"""Contents of messages of version 2: one generator for property tests and for the fuzzer."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
from wire2_blocks import some_integers, some_rotated, some_sphere

from qsgd_lab.errors import MessageError
from qsgd_lab.partition import Partition
from qsgd_lab.quantization import level_dtype
from qsgd_lab.wire.key import SHARED_NODE, Key
from qsgd_lab.wire.kind import Content
from qsgd_lab.wire.kinds.exponential import ExponentialLevels
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.kinds.masked import Masked
from qsgd_lab.wire.kinds.natural import Powers
from qsgd_lab.wire.kinds.none import Nothing
from qsgd_lab.wire.kinds.one_bit import OneBit
from qsgd_lab.wire.kinds.private import Private, register
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.kinds.select import select
from qsgd_lab.wire.kinds.sparse import BITMAP, FIXED, RICE, IndexCode, SparseValues
from qsgd_lab.wire.ranged import RangedCode, chunk_range, escape_byte, sizes_of
from qsgd_lab.wire.ranged_choice import whole_frequencies
from qsgd_lab.wire.structure import Structure

KINDS = (
    "none",
    "raw",
    "levels",
    "rotated",
    "hsq",
    "sparse",
    "masked",
    "block-int",
    "natural",
    "one-bit",
    "select",
    "exponential",
    "private",
)
NAN = np.uint32(0x7FC00000).view(np.float32)


def check_private(private, max_coordinates):
    """Check a payload of the fuzzer's own kind: a float32 a coordinate."""
    size = 4 * private.structure.num_coordinates
    if private.payload.nbytes != size + -size % 8:
        raise MessageError("as many float32 as coordinates are needed", "length")


def private_values(private):
    """Return the float32 values of the fuzzer's own kind."""
    return np.frombuffer(private.payload, "<f4", private.structure.num_coordinates)


register("acme.f32", check_private, private_values)


def some_structure(rng: random.Random, most: int = 60, least_tensors: int = 0) -> Structure:
    """Return a structure of any form with a few coordinates."""
    form = (
        rng.choice(["list", "cut"]) if least_tensors else rng.choice(["flat", "array", "cut", "cut", "list"])
    )
    if form == "flat":
        return Structure.flat(rng.randrange(most))
    shape = tuple(rng.choice([0, 1, 1, 2, 3, 5]) for _ in range(rng.randrange(4)))
    if form == "array":
        return Structure.array(shape)
    tensors = rng.choice([0, 1, 2, 3, 9]) if not least_tensors else rng.choice([2, 3, 9])
    if form == "list":
        return Structure.arrays(
            [[rng.choice([0, 1, 2, 3]) for _ in range(rng.randrange(3))] for _ in range(tensors)]
        )
    sizes = [rng.choice([0, 0, 1, 2, 7, 300 if most > 300 else 11]) for _ in range(max(2, tensors))]
    if not least_tensors and rng.random() < 0.1:
        sizes = []
    shape = (sum(sizes),) if rng.random() < 0.7 or sum(sizes) % 2 else (2, sum(sizes) // 2, 1)
    return Structure.array(shape, sizes)


def some_key(rng: random.Random, structure: Structure, first: bool = False) -> Key:
    """Return a key that fits a structure."""
    start = rng.choice([1, 5, 512, 2**33]) if first and structure.num_tensors else 0
    node = rng.choice([0, 3, SHARED_NODE])
    return Key(
        rng.getrandbits(64),
        node,
        rng.randrange(1000),
        rng.choice([0, 7, 2**32 - 40]),
        rng.randrange(5),
        start,
    )


def some_values(rng: random.Random, count: int):
    """Return raw values of any type and any pattern."""
    data = np.frombuffer(rng.randbytes(4 * count), np.uint8)
    dtype = rng.choice([np.float32, np.float16, np.uint16])
    return data.view(dtype)[:count]


def some_levels(
    rng: random.Random, structure: Structure, *, inner: bool = False, layout: str | None = None
) -> Levels:
    """Return levels with zero and NaN buckets among them, in any layout unless one is named."""
    s = 1 if layout == "base3" else rng.choice([1, 1, 2, 3, 7, 8, 127, 128, 32767])
    parts = Partition(structure.tensor_sizes, rng.choice([1, 4, 5, 512, 2**31, "tensor", "model"]))
    generator = np.random.default_rng(rng.getrandbits(32))
    levels = generator.integers(-s, s + 1, parts.num_coordinates).astype(level_dtype(s))
    norms = np.abs(generator.standard_normal(parts.num_buckets)).astype(np.float32)
    dead = generator.random(norms.size) < 0.2
    norms[dead] = generator.choice(np.array([0.0, NAN], np.float32), norms.size)[dead]
    levels[np.repeat(dead, np.diff(parts.bucket_offsets))] = 0
    layout = layout or rng.choice(["fixed", "base3", "ranged"] if s == 1 else ["fixed", "ranged"])
    if layout == "ranged" and (inner or parts.num_coordinates > 10**5):
        layout = "fixed"
    norm = rng.choice(["l2", "max", "shared"])
    code = some_code(rng, levels.size, s) if layout == "ranged" else None
    return Levels(levels, norms, s, norm, parts, structure.shape, layout, code)


def some_code(rng: random.Random, count: int, s: int) -> RangedCode:
    """Return tables, shifts and classes that need not fit the levels; each table has the escape."""
    states, tables = rng.choice([1, 16]), rng.choice([1, 4, 8])
    chunk_bits = rng.randint(*chunk_range(s, states))
    sizes = sizes_of(count, s, chunk_bits, states)
    generator = np.random.default_rng(rng.getrandbits(32))
    frequencies = np.zeros((tables, 256), np.uint16)
    for row in frequencies:
        values = generator.choice(256, rng.randint(1, 40), replace=False)
        weights = np.zeros(256)
        weights[values] = generator.exponential(size=values.size)
        used = np.union1d(values, [0, escape_byte(sizes.form.field_bits)])
        row[used] = whole_frequencies(weights[used])
    shifts = generator.integers(0, 9 if s > 127 else 1, tables).astype(np.uint8)
    classes = generator.integers(0, tables, sizes.num_blocks).astype(np.uint8)
    return RangedCode(chunk_bits, states, shifts, frequencies, classes)


def some_exponential(rng: random.Random, structure: Structure) -> ExponentialLevels:
    """Return codes on a grid with or without 0, with zero and NaN buckets among them."""
    has_zero = rng.random() < 0.5
    s = rng.choice([1, 2, 3, 7, 8, 127, 128, 255] if has_zero else [1, 2, 4, 64, 128])
    parts = Partition(structure.tensor_sizes, rng.choice([1, 4, 5, 512, 2**31, "tensor", "model"]))
    norms, dead, generator = _some_norms(rng, parts)
    codes = generator.integers(-s, s + has_zero, parts.num_coordinates).astype(level_dtype(s))
    codes[dead] = 0
    return ExponentialLevels(codes, norms, s, has_zero, rng.choice(["l2", "max"]), parts)


def some_one_bit(rng: random.Random, structure: Structure) -> OneBit:
    """Return bits with one or two scales a bucket, with all kinds of degenerate buckets among them."""
    parts = Partition(structure.tensor_sizes, rng.choice([1, 2, 4, 512, 2**31, "tensor", "model"]))
    norms, dead, generator = _some_norms(rng, parts)
    bits = generator.random(parts.num_coordinates) < rng.choice([0, 0.5, 0.5, 1])
    if rng.random() < 0.5:
        bits[dead] = False
        return OneBit(bits, norms[:, None], parts)
    means = np.zeros((norms.size, 2), np.float32)
    for bucket, (low, high) in enumerate(pairwise(parts.bucket_offsets)):
        part = bits[low:high]
        if np.isnan(norms[bucket]):
            part[:] = False
            means[bucket] = NAN
            continue
        means[bucket] = (0 if part.all() else -1 - norms[bucket], norms[bucket] if part.any() else 0)
    return OneBit(bits, means, parts)


def _some_norms(rng: random.Random, parts: Partition):
    """Return norms, which coordinates are in buckets of norm 0 or NaN, and a generator."""
    generator = np.random.default_rng(rng.getrandbits(32))
    norms = np.abs(generator.standard_normal(parts.num_buckets)).astype(np.float32)
    dead = generator.random(norms.size) < 0.2
    norms[dead] = generator.choice(np.array([0.0, NAN], np.float32), norms.size)[dead]
    return norms, np.repeat(dead, np.diff(parts.bucket_offsets)), generator


def some_powers(rng: random.Random, count: int) -> Powers:
    """Return signed powers of two, zeros and NaN."""
    generator = np.random.default_rng(rng.getrandbits(32))
    codes = generator.choice(np.array([0, 1, 120, 127, 128, 254, 255], np.uint8), count)
    return Powers(codes, (generator.random(count) < 0.5) & (codes % 255 != 0))


def some_sparse(rng: random.Random, n: int) -> SparseValues:
    """Return sparse values under any index code."""
    n = rng.choice([n, n, max(n, 1) * 1000])
    count = rng.randrange(min(n, 300) + 1)
    indices = np.array(sorted(rng.sample(range(n), count)), np.int64)
    rice = IndexCode(RICE, rng.choice([0, 1, 5, 12]), rng.choice([5, 6, 12]))
    index = rng.choice([IndexCode(FIXED), rice, rice, IndexCode(BITMAP), None])
    flat = Structure.flat(count)
    values = some_levels(rng, flat, inner=True) if rng.random() < 0.4 else some_values(rng, count)
    return SparseValues(indices, values, n, index)


def some_payload(rng: random.Random, name: str, structure: Structure):
    """Return a payload of a kind with this structure (sparse may choose its own)."""
    n = structure.num_coordinates
    if name == "none":
        return Nothing(n)
    if name == "raw":
        return Raw(some_values(rng, n).reshape(structure.shape))
    if name == "levels":
        return some_levels(rng, structure)
    if name in {"ranged", "base3"}:
        return some_levels(rng, structure, layout=name)
    if name == "rotated":
        return some_rotated(rng, structure, some_key(rng, structure))
    if name == "block-int":
        return some_integers(rng, n)
    if name == "hsq":
        return some_sphere(rng, structure, some_key(rng, structure))
    if name == "sparse":
        return some_sparse(rng, n)
    if name == "natural":
        return some_powers(rng, n)
    if name == "one-bit":
        return some_one_bit(rng, structure)
    if name == "exponential":
        return some_exponential(rng, structure)
    if name == "masked":
        return Masked(some_values(rng, rng.randrange(n + 1)), n, some_key(rng, structure))
    if name == "private":
        body = rng.randbytes(4 * n) + bytes(4 * n % 8)
        return Private(
            "acme.f32", body, structure, None, bytes(rng.choice([0, 8])), rng.choice([128, 200, 254])
        )
    flags = [True, *(rng.random() < 0.5 for _ in range(structure.num_tensors - 2)), False]
    flags = np.array(flags)
    names = rng.choice(
        [
            ("raw", "none"),
            ("none", "levels"),
            ("levels", "raw"),
            ("ranged", "ranged"),
            ("private", "masked"),
            ("sparse", "raw"),
            ("rotated", "raw"),
            ("block-int", "rotated"),
            ("hsq", "none"),
            ("natural", "one-bit"),
            ("exponential", "natural"),
        ]
    )
    parts = [structure.part(flags), structure.part(~flags)]
    made = [_exact(rng, name, part) for name, part in zip(names, parts, strict=True)]
    keys = [None if rng.random() < 0.5 else some_key(rng, structure)._replace(tensor=3) for _ in made]
    keys = [getattr(payload, "key", None) or key for payload, key in zip(made, keys, strict=True)]
    made = [_with_key(payload, key) for payload, key in zip(made, keys, strict=True)]
    return select(structure, flags, *made, first_key=keys[0], second_key=keys[1])


def _exact(rng: random.Random, name: str, structure: Structure):
    """Return a payload with exactly this structure."""
    payload = some_payload(rng, name, structure)
    if name == "sparse":
        count = structure.num_coordinates // 3
        payload = SparseValues(np.arange(count) * 2, some_values(rng, count), structure.num_coordinates)
    if name in {"rotated", "hsq"}:  # an inner message is never a shard, and its numbers fit 32 bits
        payload = replace(payload, key=payload.key._replace(first=0, tensor=3))
    return payload


def _with_key(payload, key):
    if isinstance(payload, Private):
        return Private(
            payload.name, payload.payload, payload.structure, key, payload.parameters, payload.number
        )
    return payload


def some_content(rng: random.Random, name: str) -> Content:
    """Return what a message of a kind carries, with or without key and mask."""
    structure = some_structure(rng, least_tensors=2 if name == "select" else 0)
    payload = some_payload(rng, name, structure)
    if name == "sparse" and payload.num_coordinates != structure.num_coordinates:
        structure = Structure.flat(payload.num_coordinates)
    key = None
    if name in {"masked", "rotated", "hsq"}:
        key = payload.key
    elif rng.random() < 0.5 and name != "private":
        can_begin_inside = name in {"none", "raw", "sparse", "natural"}
        key = some_key(rng, structure, first=can_begin_inside and rng.random() < 0.5)
    used = (
        np.array([rng.random() < 0.5 for _ in range(structure.num_tensors)], bool)
        if rng.random() < 0.4
        else None
    )
    return Content(payload, structure, key, used)
