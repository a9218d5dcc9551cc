"""What the codec's CUDA kernels compile to, on a machine with a toolkit and no device."""

from __future__ import annotations

import ast
import re
from functools import cache

import checkout
import ptx_compiler
import pytest

NAMES = [
    "scan_lengths",
    "gather_chunks",
    "write_around",
    "enter_equal_chunks",
    "piece_states",
    "seal_header",
    "copy_bytes",
    "decode_to_values",
    "encode_dense_chunks",
    "decode_dense_chunks",
    "find_levels-int8",
    "find_levels-int16",
    "encode_chunks-int8",
    "encode_chunks-int16",
    "measure_chunks-int8",
    "measure_chunks-int16",
    "decode_chunks-int8",
    "decode_chunks-int16",
]
FILES = [
    "scan",
    "encode",
    "message_frame",
    "checksum",
    "decode",
    "sizes",
    "decode_chunk",
    "dense_encode",
    "dense_decode",
]
MOST_REGISTERS = 128  # so that a block of 16 warps fits


@cache
def ptx_of(name, capability):
    """Return the PTX of a kernel by its name; skip without a toolkit."""
    ptx_compiler.require_toolkit()
    from ptx_codec_signatures import codec_kernels

    return ptx_compiler.compile_to_ptx(*codec_kernels()[name], capability)


@pytest.mark.parametrize("capability", ptx_compiler.CAPABILITIES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_compiles(name, capability):
    """Each kernel becomes PTX for the capability; values are made without any contracted operation."""
    ptx = ptx_of(name, capability)

    assert f".target sm_{capability[0]}{capability[1]}" in ptx
    assert re.findall(r"\b(?:fma|mad)\.\S*f(?:32|64)\b", ptx) == []
    assert re.findall(r"\S*\.(?:ftz|approx)\.f(?:32|64)\S*", ptx) == []


@pytest.mark.parametrize("capability", ptx_compiler.CAPABILITIES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_registers_and_shared_memory(name, capability):
    """No kernel spills or keeps an array in memory, and a block of 16 warps finds registers and memory."""
    used = ptx_compiler.assemble(ptx_of(name, capability), capability)

    assert (used.spilled, used.stack) == (0, 0)
    assert used.registers <= MOST_REGISTERS
    assert used.shared <= 48 * 1024


def test_codewords_are_reversed_by_one_instruction():
    """The decoder's reversal of bits, written as shifts and masks, is recognised as the device's own."""
    assert "brev.b" in ptx_of("decode_chunks-int8", (9, 0))


def test_every_kernel_is_compiled():
    """The list above names each kernel of the codec's files."""
    defined = set()
    for file in FILES:
        (path,) = (checkout.ROOT / "qsgd_lab" / "kernels" / "cuda").rglob(f"{file}.py")
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and any(
                "cuda.jit" in ast.unparse(decorator) and "device=True" not in ast.unparse(decorator)
                for decorator in node.decorator_list
            ):
                defined.add(node.name)

    assert {name.partition("-")[0] for name in NAMES} == defined
