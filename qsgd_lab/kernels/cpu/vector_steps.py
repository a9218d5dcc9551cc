"""Two steps of vector loops that the compiler does not find itself, each where the processor has it.

A square and a sum become one instruction, and the values of few levels are looked up in a register. No result
depends on either: a square of float32 is exact in float64, so that it is rounded once in any case, and what
is looked up are the values that `level_value` gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from qsgd_lab.kernels.cpu.messages.ranged_turns import FORM
from qsgd_lab.kernels.fixed_point import level_value
from qsgd_lab.kernels.jit import IS_COMPILED, njit

LANES = 16
CAN_LOOK_UP = FORM == "avx512"
#: The largest s whose values are looked up: those of -16 to 15 fit two registers.
FEW_LEVELS = np.uint32(15 if CAN_LOOK_UP else 0)

_PROBE = """
declare double @llvm.fma.f64(double, double, double)
define double @f(double %x, double %y) {
  %z = call double @llvm.fma.f64(double %x, double %x, double %y)
  ret double %z
}
"""


def _fuses() -> bool:
    """Whether the processor that kernels are compiled for multiplies and adds in one instruction."""
    if not IS_COMPILED:
        return False
    triple, processor, features = cpu_target.target_context.codegen().magic_tuple()
    target = binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=processor, features=features, opt=2)
    code = machine.emit_assembly(binding.parse_assembly(_PROBE))
    return "vfmadd" in code or "fmadd" in code


_FUSES = _fuses()


@intrinsic
def _fused_square(typing_context, total, value):
    """Return total + value * value for float64, rounded once."""

    def codegen(context, builder, signature, args):
        return builder.fma(args[1], args[1], args[0])

    return types.float64(types.float64, types.float64), codegen


def _plain_square(total, value):
    return total + value * value


add_square = _fused_square if _FUSES else njit(cache=True, fastmath=False, forceinline=True)(_plain_square)


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    """Return the pointer to a vector at an element of an array."""
    source = context.make_array(kind)(context, builder, array)
    return builder.bitcast(builder.gep(source.data, [index]), vector.as_pointer())


def _values(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Return the values of sixteen levels: looked up by their lowest five bits, of -16 to 15."""
    floats = ir.VectorType(ir.FloatType(), LANES)
    doubles, integers = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(32), LANES)
    levels = builder.load(_place(context, builder, signature.args[0], args[0], args[1], integers), align=4)
    one = builder.insert_element(ir.Constant(doubles, ir.Undefined), args[2], ir.IntType(32)(0))
    each = builder.shuffle_vector(one, one, ir.Constant(integers, [0] * LANES))

    def products(first: int) -> Any:  # as `level_value`; the same in every turn, so taken once a loop
        return builder.fptrunc(
            builder.fmul(ir.Constant(doubles, [float(first + k) for k in range(LANES)]), each), floats
        )

    name = "llvm.x86.avx512.vpermi2var.ps.512"
    kind = ir.FunctionType(floats, [floats, integers, floats])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [products(0), levels, products(-LANES)])


@intrinsic
def _add_sixteen(typing_context, levels, i, step, total):
    """Add the values of levels i to i + 15 to a float32 total there."""

    def codegen(context, builder, signature, args):
        values = _values(context, builder, signature, args)
        place = _place(context, builder, signature.args[3], args[3], args[1], values.type)
        builder.store(builder.fadd(builder.load(place, align=4), values), place, align=4)
        return context.get_dummy_value()

    return types.void(levels, types.int64, types.float64, total), codegen


@intrinsic
def _add_and_keep_sixteen(typing_context, levels, i, step, total, residual):
    """Do so, and take the values from a float32 residual."""

    def codegen(context, builder, signature, args):
        values = _values(context, builder, signature, args)
        place = _place(context, builder, signature.args[3], args[3], args[1], values.type)
        builder.store(builder.fadd(builder.load(place, align=4), values), place, align=4)
        place = _place(context, builder, signature.args[4], args[4], args[1], values.type)
        builder.store(builder.fsub(builder.load(place, align=4), values), place, align=4)
        return context.get_dummy_value()

    return types.void(levels, types.int64, types.float64, total, residual), codegen


@njit(cache=True, fastmath=False, forceinline=True)
def _add_looked_up(levels, step, total):
    """Add the values of levels -15..15 (int32) to the receiver's total."""
    whole = total.size & ~(LANES - 1)
    for i in range(0, whole, LANES):
        _add_sixteen(levels, i, step, total)
    for i in range(whole, total.size):
        total[i] += level_value(levels[i], step)


@njit(cache=True, fastmath=False, forceinline=True)
def _add_and_keep_looked_up(levels, step, total, residual):
    """Add the values of levels -15..15 (int32) to the total and take them from what was to be sent."""
    whole = residual.size & ~(LANES - 1)
    for i in range(0, whole, LANES):
        _add_and_keep_sixteen(levels, i, step, total, residual)
    for i in range(whole, residual.size):
        value = level_value(levels[i], step)
        total[i] += value
        residual[i] -= value


@njit(cache=True, fastmath=False, forceinline=True)
def add_segment(levels, step, total):
    """Add the values of levels to the receiver's total."""
    for i in range(total.size):
        total[i] += level_value(levels[i], step)


@njit(cache=True, fastmath=False, forceinline=True)
def add_and_keep_segment(levels, step, total, residual):
    """Add the values of levels to the total and take them from what was to be sent."""
    for i in range(residual.size):
        value = level_value(levels[i], step)  # rounded to float32 once: what is sent is what is kept back
        total[i] += value
        residual[i] -= value


#: The same for s up to `FEW_LEVELS`.
add_few, add_and_keep_few = (
    (_add_looked_up, _add_and_keep_looked_up) if CAN_LOOK_UP else (add_segment, add_and_keep_segment)
)
