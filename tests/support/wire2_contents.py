"""Contents of messages of version 2: one generator for property tests and for the fuzzer."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.rotation import block_sizes, padded_size
from qsgd_lab.partition import Partition
from qsgd_lab.quantization import level_dtype
from qsgd_lab.wire.key import SHARED_NODE, Key
from qsgd_lab.wire.kind import Content
from qsgd_lab.wire.kinds.block_integers import BlockIntegers, num_codes
from qsgd_lab.wire.kinds.hsq import HyperSphere, code_type
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.kinds.masked import Masked
from qsgd_lab.wire.kinds.none import Nothing
from qsgd_lab.wire.kinds.private import Private, register
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.kinds.rotated import Rotated
from qsgd_lab.wire.kinds.select import select
from qsgd_lab.wire.kinds.sparse import BITMAP, FIXED, RICE, IndexCode, SparseValues
from qsgd_lab.wire.structure import Structure

KINDS = ("none", "raw", "levels", "rotated", "hsq", "sparse", "masked", "block-int", "select", "private")
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


def some_levels(rng: random.Random, structure: Structure) -> Levels:
    """Return levels with zero and NaN buckets among them."""
    s = rng.choice([1, 1, 2, 3, 7, 8, 127, 128, 32767])
    parts = Partition(structure.tensor_sizes, rng.choice([1, 4, 5, 512, 2**31, "tensor", "model"]))
    generator = np.random.default_rng(rng.getrandbits(32))
    levels = generator.integers(-s, s + 1, parts.num_coordinates).astype(level_dtype(s))
    norms = np.abs(generator.standard_normal(parts.num_buckets)).astype(np.float32)
    dead = generator.random(norms.size) < 0.2
    norms[dead] = generator.choice(np.array([0.0, NAN], np.float32), norms.size)[dead]
    levels[np.repeat(dead, np.diff(parts.bucket_offsets))] = 0
    layout = rng.choice(["fixed", "base3"]) if s == 1 else "fixed"
    return Levels(levels, norms, s, rng.choice(["l2", "max", "shared"]), parts, structure.shape, layout)


def dead_scales(generator, count: int):
    """Return scales, some of which are +0 or the NaN."""
    scales = np.abs(generator.standard_normal(count)).astype(np.float32)
    dead = generator.random(count) < 0.2
    scales[dead] = generator.choice(np.array([0.0, NAN], np.float32), count)[dead]
    return scales


def some_rotated(rng: random.Random, structure: Structure) -> Rotated:
    """Return codes on either grid, with zero and NaN blocks among them."""
    n, block, uniform = structure.num_coordinates, 2 ** rng.choice([0, 1, 3, 5, 12, 16]), rng.random() < 0.5
    bits = rng.randint(1, 8) if uniform else rng.choice([1, 2, 3, 4, 8])
    generator = np.random.default_rng(rng.getrandbits(32))
    half, count = 1 << (bits - 1), padded_size(n, block)
    codes = generator.integers(-half, half, count).astype(np.int8)
    scales = dead_scales(generator, block_sizes(n, block)[0])
    codes[np.repeat(~(scales > 0), block)[:count]] = 0
    offsets = None
    if uniform:
        steps = generator.integers(-(2**23), 2**23, scales.size, endpoint=True)
        offsets = np.where(scales > 0, (steps / 1024).astype(np.float32), scales)
    key = some_key(rng, structure)
    if structure.num_tensors and rng.random() < 0.3:
        key = key._replace(first=block * rng.choice([1, 5]))
    return Rotated(codes, scales, offsets, n, bits, block, rng.choice([1, 2]), key)


def some_integers(rng: random.Random, n: int) -> BlockIntegers:
    """Return integers of blocks, with zero and NaN blocks among them."""
    smooth, bits = rng.random() < 0.5, rng.choice([4, 8])
    block = rng.choice([32, 64, 128, 2**16]) if smooth else rng.choice([1, 5, 128, 512, 2**16])
    generator, most = np.random.default_rng(rng.getrandbits(32)), 2 ** (bits - 1) - 1
    codes = generator.integers(-most, most, num_codes(n, smooth), endpoint=True).astype(np.int8)
    scales = dead_scales(generator, -(-n // block))
    codes[np.repeat(~(scales > 0), block)[: codes.size]] = 0
    return BlockIntegers(codes, scales, n, bits, block, smooth)


def some_sphere(rng: random.Random, structure: Structure) -> HyperSphere:
    """Return codewords and norms of either kind, with zero and NaN norms among them."""
    n, segment = structure.num_coordinates, rng.choice([1, 2, 4, 7])
    codebook, bits = rng.choice([segment, segment + 2, min(13, 20 - segment)]), rng.choice([0, 0, 1, 6, 16])
    run = rng.choice([0, 1, 3]) if bits else 0
    generator = np.random.default_rng(rng.getrandbits(32))
    count = -(-n >> segment)
    codes = generator.integers(0, 1 << codebook, count).astype(code_type(codebook))
    norms, ranges = generator.standard_normal(count).astype(np.float32), None
    if bits:
        number = -(-count >> run)
        ranges = np.sort(generator.standard_normal((number, 2)).astype(np.float32), axis=1)
        ranges[generator.random(number) < 0.2] = NAN
        same = generator.random(number) < 0.2
        ranges[same, 1] = ranges[same, 0]
        norms = generator.integers(0, 1 << bits, count).astype(np.uint16)
        which = np.arange(count) >> run
        norms[~(ranges[:, 0] < ranges[:, 1])[which]] = 0
        codes[np.isnan(ranges[:, 0])[which]] = 0
    else:
        dead = generator.random(count) < 0.2
        norms[dead] = generator.choice(np.array([0.0, NAN], np.float32), count)[dead]
        codes[dead] = 0
    key = some_key(rng, structure)
    if structure.num_tensors and rng.random() < 0.3:
        key = key._replace(first=(1 << segment) * rng.choice([1, 5]))
    return HyperSphere(codes, norms, ranges, n, segment, codebook, bits, run, key)


def some_sparse(rng: random.Random, n: int) -> SparseValues:
    """Return sparse values under any index code."""
    n = rng.choice([n, n, max(n, 1) * 1000])
    count = rng.randrange(min(n, 300) + 1)
    indices = np.array(sorted(rng.sample(range(n), count)), np.int64)
    rice = IndexCode(RICE, rng.choice([0, 1, 5, 12]), rng.choice([5, 6, 12]))
    index = rng.choice([IndexCode(FIXED), rice, rice, IndexCode(BITMAP), None])
    flat = Structure.flat(count)
    values = some_levels(rng, flat) if rng.random() < 0.4 else some_values(rng, count)
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
    if name == "rotated":
        return some_rotated(rng, structure)
    if name == "block-int":
        return some_integers(rng, n)
    if name == "hsq":
        return some_sphere(rng, structure)
    if name == "sparse":
        return some_sparse(rng, n)
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
            ("private", "masked"),
            ("sparse", "raw"),
            ("rotated", "raw"),
            ("block-int", "rotated"),
            ("hsq", "none"),
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
    if name in {"rotated", "hsq"}:  # an inner message is no shard, and its numbers fit 32 bits
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
        can_begin_inside = name in {"none", "raw", "sparse"}
        key = some_key(rng, structure, first=can_begin_inside and rng.random() < 0.5)
    used = (
        np.array([rng.random() < 0.5 for _ in range(structure.num_tensors)], bool)
        if rng.random() < 0.4
        else None
    )
    return Content(payload, structure, key, used)
