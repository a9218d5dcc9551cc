"""Contents of messages of kinds of blocks: a part of `wire2_contents`."""

from __future__ import annotations

import random

import numpy as np

from qsgd_lab.kernels.rotation import block_sizes, padded_size
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kinds.block_integers import BlockIntegers, num_codes
from qsgd_lab.wire.kinds.hsq import HyperSphere, code_type
from qsgd_lab.wire.kinds.rotated import Rotated
from qsgd_lab.wire.structure import Structure

NAN = np.uint32(0x7FC00000).view(np.float32)


def dead_scales(generator, count: int):
    """Return scales, some of which are +0 or the NaN."""
    scales = np.abs(generator.standard_normal(count)).astype(np.float32)
    dead = generator.random(count) < 0.2
    scales[dead] = generator.choice(np.array([0.0, NAN], np.float32), count)[dead]
    return scales


def some_rotated(rng: random.Random, structure: Structure, key: Key) -> Rotated:
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


def some_sphere(rng: random.Random, structure: Structure, key: Key) -> HyperSphere:
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
        if number and rng.random() < 0.5:
            ranges[0] = generator.choice([0.0, 1.0]), 1.0  # a norm of level 0 is 0, or the range is a point
            norms[which == 0] *= ranges[0, 0] < 1
        low, high = ranges[which].astype(np.float64).T
        real = (low + norms * ((high - low) / (2**bits - 1))).astype(np.float32)
        codes[np.isnan(real) | (real == 0)] = 0
    else:
        dead = generator.random(count) < 0.2
        norms[dead] = generator.choice(np.array([0.0, NAN], np.float32), count)[dead]
        codes[dead] = 0
    if structure.num_tensors and rng.random() < 0.3:
        key = key._replace(first=(1 << segment) * rng.choice([1, 5]))
    return HyperSphere(codes, norms, ranges, n, segment, codebook, bits, run, key)
