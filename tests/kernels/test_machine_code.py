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
#: Products of Philox that only version 1 of the stream takes; without them the shorter way is version 2's.
DRAWN = ["IMAD.WIDE.U32"] * 40


def in_two_turns(stored):
    """Return the waypoints of kernels that draw and store eight coordinates, and eight more, in version 1."""
    return [*DRAWN[:20], *[stored] * 8, *DRAWN[:20], *[stored] * 8]


#: Kernel -> (what its loop holds, what the usual path passes, coordinates a lane and turn, most instructions
#: a coordinate). That of encoding writes four words; checksums are outside of its loop.
LOOPS = {
    "pack_full_rows_2": ("DFMA", [*NORM, *DRAWN, *["STG.E.U8"] * 4], 16, 27),
    "pack_full_rows_4": ("DFMA", [*NORM, *DRAWN, *["STG.E.U16"] * 4], 16, 27),
    "pack_full_rows_4 (version 2)": ("DFMA", [*NORM, *["STG.E.U16"] * 4], 16, 24),
    "pack_full_rows_8": ("DFMA", [*NORM, *DRAWN, *["STG.E desc"] * 4], 16, 27.1),
    "pack_full_rows_4-float16": ("DFMA", [*NORM, *DRAWN, *["STG.E.U16"] * 4], 16, 29.5),
    "pack_full_rows_4-bfloat16": ("DFMA", [*NORM, *DRAWN, *["STG.E.U16"] * 4], 16, 30),
    "pack_full_rows_with_norms_2": ("STG.E.U8", [*DRAWN, *["STG.E.U8"] * 4], 16, 25),
    "pack_full_rows_with_norms_4": ("STG.E.U16", [*DRAWN, *["STG.E.U16"] * 4], 16, 25),
    "pack_full_rows_with_norms_8": ("STG.E desc", [*DRAWN, *["STG.E desc"] * 4], 16, 25),
    "unpack_full_rows_2": ("STG.E.128", ["MUFU.RCP64H", "SHFL.IDX", *["STG.E.128"] * 8], 32, 8),
    "unpack_full_rows_4": ("STG.E.128", ["MUFU.RCP64H", "SHFL.IDX", *["STG.E.128"] * 8], 32, 8),
    "unpack_full_rows_8": ("STG.E.128", ["MUFU.RCP64H", *["STG.E.128"] * 8], 32, 8),
    "quantize_whole_rows-int8": ("DFMA", [*NORM, *in_two_turns("STG.E.U8")], 16, 30),
    "quantize_whole_rows-int16": ("DFMA", [*NORM, *in_two_turns("STG.E.U16")], 16, 30.5),
    "dequantize_whole_rows-int8": ("STG.E desc", ["MUFU.RCP64H", *["STG.E desc"] * 16], 16, 8),
    "dequantize_whole_rows-int16": ("STG.E desc", ["MUFU.RCP64H", *["STG.E desc"] * 16], 16, 8),
    "accumulate_whole_rows-int8": ("DFMA", [*SUM, *in_two_turns("STG.E desc")], 16, 40),
    "encode_dense_chunks": ("SHFL.UP", ["SHFL.IDX", *["ATOMS.OR"] * 4], 16, 13),
}


@pytest.mark.parametrize("name", LOOPS)
def test_instructions_a_coordinate(name):
    """The usual path of a loop takes no more machine instructions a coordinate than docs/gpu.md says."""
    ptx_compiler.require_toolkit()
    kernels = {**ptx_signatures.quantizer_kernels(), **ptx_codec_signatures.codec_kernels()}
    code = Code(machine_code(ptx_compiler.compile_to_ptx(*kernels[name.partition(" ")[0]], (9, 0))))
    holding, waypoints, coordinates, most = LOOPS[name]

    assert code.usual_path(holding, waypoints) / coordinates <= most
