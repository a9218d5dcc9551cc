"""What the quantizer's CUDA kernels compile to, on a machine with a toolkit and no device."""

from __future__ import annotations

import ast
import re

import checkout
import ptx_compiler
import pytest

WHOLE = ("quantize", "accumulate", "dequantize")
WITH_NORMS = ("quantize", "accumulate")
NAMES = [
    *(f"{name}_whole_rows_with_norms-{levels}" for name in WITH_NORMS for levels in ("int8", "int16")),
    "block_totals",
    "fold_totals",
    "bucket_tables",
    "quantize_rows-int8",
    "quantize_rows-int16",
    "quantize_rows_with_norms",
    "accumulate_rows",
    "accumulate_rows_with_norms",
    "chunk_costs",
    "close_messages",
    "clear_shared_words",
    "quantize_pack_rows",
    "pack_levels",
    *(f"{name}_full_rows_{width}" for name in ("pack", "unpack") for width in (2, 4, 8)),
    *(f"pack_full_rows_with_norms_{width}" for width in (2, 4, 8)),
    *("pack_full_rows_4-float16", "pack_full_rows_4-bfloat16"),
    *(f"{name}_whole_rows-{levels}" for name in WHOLE for levels in ("int8", "int16")),
    "unpack_dequantize_rows",
    "dequantize_rows",
]
FILES = [
    *("norms", "quantize", "accumulate", "message_cost", "fixed_width"),
    *("full_rows", "full_rows_with_norms", "whole_rows", "whole_rows_mean"),
]
#: The kernels that square coordinates; theirs is the only contracted operation, and it is exact.
TAKE_NORMS = {
    "block_totals",
    "quantize_rows-int8",
    "quantize_rows-int16",
    "accumulate_rows",
    "quantize_pack_rows",
    *(f"pack_full_rows_{width}" for width in ("2", "4", "4-float16", "4-bfloat16", "8")),
    *(f"{name}_whole_rows-{levels}" for name in ("quantize", "accumulate") for levels in ("int8", "int16")),
}
#: By what a name has before a dash: those launched in blocks of at most 16 warps, and those of which 40 warps
#: fit on a multiprocessor.
MOST_REGISTERS = {
    **dict.fromkeys(
        ["accumulate_rows", "accumulate_rows_with_norms", "quantize_pack_rows", "block_totals"], 128
    ),
    "accumulate_whole_rows": 96,
    "accumulate_whole_rows_with_norms": 96,
    "chunk_costs": 96,
    **{name: 48 for name in NAMES if name.startswith(("pack_full", "unpack_full"))},
    "quantize_whole_rows": 48,
}


@pytest.fixture(scope="module")
def ptx_of():
    """Return a function from a kernel's name and a compute capability to its PTX, compiled once."""
    ptx_compiler.require_toolkit()
    import ptx_signatures

    kernels, compiled = ptx_signatures.quantizer_kernels(), {}
    assert sorted(kernels) == sorted(NAMES)

    def compile_once(name, capability):
        if (name, capability) not in compiled:
            compiled[name, capability] = ptx_compiler.compile_to_ptx(*kernels[name], capability)
        return compiled[name, capability]

    return compile_once


_FLOAT = re.compile(r"(fma|mad|mul|add|sub|div|sqrt|rcp)\.\S*f(32|64)\b")


def operations(ptx):
    """Return the operations of PTX that are floating-point, one for each line that has one."""
    lines = (line.strip() for line in ptx.splitlines())
    return [
        line.split()[0]
        for line in lines
        if re.match(r"(fma|mad|mul|add|sub|div|sqrt|rcp)\.\S*f(32|64)\b", line)
    ]


@pytest.mark.parametrize("capability", ptx_compiler.CAPABILITIES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_compiles(name, capability, ptx_of):
    """Each kernel becomes PTX for the capability; no flush to zero, no approximate division or root."""
    ptx = ptx_of(name, capability)

    assert f".target sm_{capability[0]}{capability[1]}" in ptx
    assert re.findall(r"\S*\.(?:ftz|approx)\.f(?:32|64)\S*", ptx) == []
    assert all(".rn" in op for op in operations(ptx) if op.startswith(("div", "sqrt", "fma")))


@pytest.mark.parametrize("capability", ptx_compiler.CAPABILITIES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_contracted_but_exact_squares(name, capability, ptx_of):
    """No fma of float32 anywhere; fma of float64 only squares float32 numbers, where the product is exact."""
    ptx = ptx_of(name, capability)
    contracted = [line.strip() for line in ptx.splitlines() if re.match(r"\s*(fma|mad)\.\S*f(32|64)\b", line)]
    widened = set(re.findall(r"cvt\.f64\.f32\s+(%fd\d+)", ptx))

    assert [line for line in contracted if "f32" in line.split()[0]] == []
    for line in contracted:
        _, factor_a, factor_b, _ = re.match(r"fma\.rn\.f64\s+(\S+), (\S+), (\S+), (\S+);", line).groups()
        assert factor_a == factor_b
        assert factor_a in widened
    assert bool(contracted) == (name in TAKE_NORMS)


def test_a_contracted_product_would_be_seen():
    """A kernel that adds to a float32 product does compile to an fma, so that the test above can fail."""
    ptx_compiler.require_toolkit()
    from numba import cuda, types

    @cuda.jit(cache=False, fastmath=False)
    def multiply_and_add(x, y):
        i = cuda.grid(1)
        y[i] = x[i] * x[i] + y[i]

    ptx = ptx_compiler.compile_to_ptx(multiply_and_add, types.void(*[types.float32[::1]] * 2), (9, 0))
    assert "fma.rn.f32" in ptx


@pytest.mark.parametrize("capability", ptx_compiler.CAPABILITIES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_registers(name, capability, ptx_of):
    """No kernel spills or keeps an array in memory; on 9.0, 48 registers do for the fastest, 64 for most."""
    used = ptx_compiler.assemble(ptx_of(name, capability), capability)

    assert (used.spilled, used.stack) == (0, 0)
    most = MOST_REGISTERS.get(name.partition("-")[0], 64)
    assert used.registers <= (most if capability >= (9, 0) else max(most, 64))


def test_every_kernel_is_compiled():
    """The list above names each kernel of the quantizer's files."""
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
