"""What the CUDA kernels of blocks of integers compile to, on a machine with a toolkit and no device."""

from __future__ import annotations

import re

import ptx_compiler
import pytest
from numba import types


def kernels():
    """Return name -> (kernel, signature)."""
    from qsgd_lab.kernels.cuda import block_integers

    i64, u32, flag = types.int64, types.uint32, types.boolean
    floats, bytes_ = types.float32[::1], types.int8[::1]
    scheme = types.Tuple((types.int32, flag, flag))
    stream = types.Tuple((flag, u32, u32, u32, u32, u32))
    return {
        "compress_blocks": (
            block_integers.compress_blocks,
            types.void(floats, i64, i64, scheme, stream, floats, bytes_),
        ),
        "decode_blocks": (block_integers.decode_blocks, types.void(bytes_, floats, i64, flag, floats)),
    }


@pytest.mark.parametrize("name", ["compress_blocks", "decode_blocks"])
def test_kernels_compile_without_contraction_or_spills(name):
    """No fma, no flush to zero, no approximate division; 64 registers do, and nothing is kept in memory."""
    ptx_compiler.require_toolkit()
    for capability in ptx_compiler.CAPABILITIES:
        ptx = ptx_compiler.compile_to_ptx(*kernels()[name], capability)
        used = ptx_compiler.assemble(ptx, capability)

        assert re.findall(r"\b(?:fma|mad)\.\S*f(?:32|64)\b.*", ptx) == []
        assert re.findall(r"\S*\.(?:ftz|approx)\.f(?:32|64)\S*", ptx) == []
        assert (used.spilled, used.stack) == (0, 0)
        assert used.registers <= 64
