"""How many machine instructions the hot CUDA kernels take a coordinate; no device is needed to count them."""

from __future__ import annotations

import ptx_codec_signatures
import ptx_compiler
import ptx_signatures
import pytest
from machine_code import Code, machine_code

NORM = ["DFMA", "MUFU.RSQ64H", "STG.E desc", "MUFU.RCP"]  # an l2 norm, stored, and a division
#: Of error feedback's pass, for a node: gradient and residual added, norm, scale, step; residuals are stored.
SUM = ["FADD", "DFMA", "MUFU.RSQ64H", "MUFU.RCP", "MUFU.RCP64H"]
#: Kernel -> (what its loop holds, what the usual path passes, coordinates a lane and turn, most instructions
#: a coordinate). That of encoding writes four words; checksums are outside of its loop.
LOOPS = {
    "pack_full_rows_2": ("DFMA", [*NORM, *["STG.E.U8"] * 4], 16, 27),
    "pack_full_rows_4": ("DFMA", [*NORM, *["STG.E.U16"] * 4], 16, 27),
    "pack_full_rows_8": ("DFMA", [*NORM, *["STG.E desc"] * 4], 16, 27),
    "unpack_full_rows_2": ("STG.E.128", ["MUFU.RCP64H", "SHFL.IDX", *["STG.E.128"] * 8], 32, 8),
    "unpack_full_rows_4": ("STG.E.128", ["MUFU.RCP64H", "SHFL.IDX", *["STG.E.128"] * 8], 32, 8),
    "unpack_full_rows_8": ("STG.E.128", ["MUFU.RCP64H", *["STG.E.128"] * 8], 32, 8),
    "pack_full_rows_4-float16": ("DFMA", [*NORM, *["STG.E.U16"] * 4], 16, 29),
    "pack_full_rows_4-bfloat16": ("DFMA", [*NORM, *["STG.E.U16"] * 4], 16, 29),
    "pack_full_rows_with_norms_2": ("STG.E.U8", ["STG.E.U8"] * 4, 16, 25),
    "pack_full_rows_with_norms_4": ("STG.E.U16", ["STG.E.U16"] * 4, 16, 25),
    "pack_full_rows_with_norms_8": ("STG.E desc", ["STG.E desc"] * 4, 16, 25),
    "quantize_whole_rows-int8": ("DFMA", [*NORM, *["STG.E.U8"] * 16], 16, 30),
    "quantize_whole_rows-int16": ("DFMA", [*NORM, *["STG.E.U16"] * 16], 16, 30),
    "dequantize_whole_rows-int8": ("STG.E desc", ["MUFU.RCP64H", *["STG.E desc"] * 16], 16, 8),
    "dequantize_whole_rows-int16": ("STG.E desc", ["MUFU.RCP64H", *["STG.E desc"] * 16], 16, 8),
    "accumulate_whole_rows-int8": ("DFMA", [*SUM, *["STG.E desc"] * 16], 16, 39),
    "encode_dense_chunks": ("SHFL.UP", ["SHFL.IDX", *["ATOMS.OR"] * 4], 16, 13),
}


@pytest.mark.parametrize("name", LOOPS)
def test_instructions_a_coordinate(name):
    """The usual path of a loop takes no more machine instructions a coordinate than docs/gpu.md says."""
    ptx_compiler.require_toolkit()
    kernels = {**ptx_signatures.quantizer_kernels(), **ptx_codec_signatures.codec_kernels()}
    code = Code(machine_code(ptx_compiler.compile_to_ptx(*kernels[name], (9, 0))))
    holding, waypoints, coordinates, most = LOOPS[name]

    assert code.usual_path(holding, waypoints) / coordinates <= most
