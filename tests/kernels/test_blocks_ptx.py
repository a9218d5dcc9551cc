"""What the CUDA kernels of rotations and blocks compile to, on a machine with a toolkit and no device."""

from __future__ import annotations

import re

import ptx_compiler
import pytest
from numba import types

#: Sums of products of two float32 numbers, which float64 holds exactly, may be contracted.
EXACT_PRODUCTS = {"compress_rotations"}


def kernels():
    """Return name -> (kernel, signature)."""
    from qsgd_lab.kernels.cuda.methods import block_integers, rotated

    i64, u32, flag = types.int64, types.uint32, types.boolean
    floats, doubles, bytes_ = types.float32[::1], types.float64[::1], types.int8[::1]
    scheme = types.Tuple((types.int32, flag, flag))
    stream = types.Tuple((flag, u32, u32, u32, u32, u32, u32))
    keys, rest = types.uint32[:, ::1], types.UniTuple(u32, 3)
    rounds = types.UniTuple(i64, 3)
    signatures = {
        block_integers.compress_blocks: (floats, i64, i64, scheme, stream, floats, bytes_),
        block_integers.decode_blocks: (bytes_, floats, i64, flag, floats),
        rotated.compress_rotations: (
            *(floats, i64, i64, rounds, floats, doubles, keys, rest),
            *(floats, floats, bytes_),
        ),
        rotated.decode_rotations: (bytes_, floats, floats, i64, i64, i64, floats, keys, rest, floats),
    }
    return {one.py_func.__name__: (one, types.void(*given)) for one, given in signatures.items()}


@pytest.mark.parametrize(
    "name", ["compress_blocks", "decode_blocks", "compress_rotations", "decode_rotations"]
)
def test_kernels_compile_without_rounding_otherwise(name):
    """No fma but of exact products, no flush to zero, no approximate division; nothing spills."""
    ptx_compiler.require_toolkit()
    for capability in ptx_compiler.CAPABILITIES:
        ptx = ptx_compiler.compile_to_ptx(*kernels()[name], capability)
        used = ptx_compiler.assemble(ptx, capability)
        contracted = re.findall(r"\b(?:fma|mad)\.\S*f(?:32|64)\s.*", ptx)
        widened = set(re.findall(r"cvt\.f64\.f32\s+(%fd\d+)", ptx))
        widened |= set(re.findall(r"abs\.f64\s+(%fd\d+), (?:%fd\d+)", ptx))

        assert bool(contracted) == (name in EXACT_PRODUCTS)
        for line in contracted:
            _, factor_a, factor_b, _ = re.match(r"fma\.rn\.f64\s+(\S+), (\S+), (\S+), (\S+);", line).groups()
            assert {factor_a, factor_b} <= widened, line
        assert re.findall(r"\S*\.(?:ftz|approx)\.f(?:32|64)\S*", ptx) == []
        assert used.spilled == 0
        assert used.registers <= 128
