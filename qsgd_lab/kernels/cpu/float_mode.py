"""The processor's flush-to-zero mode, switched off while a kernel computes.

A thread may round denormal numbers to zero, such as after ``torch.set_flush_denormal(True)``, and threads
that it starts inherit the mode. Norms and values near 1e-38 would then depend on it. A kernel that computes
with floats begins with ``mode = keep_denormals()`` and ends with ``set_float_mode(mode)``: some nanoseconds.
On processors other than x86-64 and 64-bit Arm, and in plain Python, nothing is switched.
"""

from __future__ import annotations

import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from qsgd_lab.kernels.jit import IS_COMPILED, njit

_IS_X86 = platform.machine() in ("x86_64", "AMD64")
_IS_ARM = platform.machine() in ("aarch64", "arm64")
#: Bits of the control register that flush: inputs (6) and results (15) of MXCSR, or both (24) of FPCR.
_FLUSH = np.uint64((1 << 6 | 1 << 15) if _IS_X86 else 1 << 24)
_NO_MODE = np.uint64(0)

_WORD = ir.IntType(32)
_VOID = ir.VoidType()


def _x86_instruction(builder, name, pointer):
    """Call an instruction that loads or stores MXCSR."""
    byte_pointer = ir.IntType(8).as_pointer()
    function_type = ir.FunctionType(_VOID, [byte_pointer])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(pointer, byte_pointer)])


@intrinsic
def _get_mode(typing_context):
    """Return the control register, uint64."""

    def codegen(context, builder, signature, args):
        if not _IS_X86:
            read = ir.FunctionType(ir.IntType(64), [])
            return builder.asm(read, "mrs $0, fpcr", "=r", [], side_effect=True)
        slot = cgutils.alloca_once(builder, _WORD)
        _x86_instruction(builder, "stmxcsr", slot)
        return builder.zext(builder.load(slot), ir.IntType(64))

    return types.uint64(), codegen


@intrinsic
def _set_mode(typing_context, mode):
    """Set the control register."""

    def codegen(context, builder, signature, args):
        # A barrier for the compiler on either side: no load or store of a kernel's numbers moves across.
        barrier = ir.FunctionType(_VOID, [])
        builder.asm(barrier, "", "~{memory}", [], side_effect=True)
        if _IS_X86:
            slot = cgutils.alloca_once(builder, _WORD)
            builder.store(builder.trunc(args[0], _WORD), slot)
            _x86_instruction(builder, "ldmxcsr", slot)
        else:
            write = ir.FunctionType(_VOID, [ir.IntType(64)])
            builder.asm(write, "msr fpcr, $0", "r", [args[0]], side_effect=True)
        builder.asm(barrier, "", "~{memory}", [], side_effect=True)
        return context.get_dummy_value()

    return types.void(types.uint64), codegen


@njit(cache=True, fastmath=False, forceinline=True)
def _keep_denormals():
    mode = _get_mode()
    if mode & _FLUSH:
        _set_mode(mode & ~_FLUSH)
    return mode


@njit(cache=True, fastmath=False, forceinline=True)
def _set_float_mode(mode):
    if mode & _FLUSH:
        _set_mode(mode)


@njit(cache=True, fastmath=False)
def _no_mode():
    return _NO_MODE


@njit(cache=True, fastmath=False)
def _keep_mode(mode):
    pass


_IS_SWITCHED = IS_COMPILED and (_IS_X86 or _IS_ARM)
#: Switch the mode off for this thread; return the control register as it was, for `set_float_mode`.
keep_denormals = _keep_denormals if _IS_SWITCHED else _no_mode
#: Set the mode of this thread back.
set_float_mode = _set_float_mode if _IS_SWITCHED else _keep_mode
