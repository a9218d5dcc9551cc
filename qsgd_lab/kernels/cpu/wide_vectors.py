"""Vectors of 512 bits for single functions.

The compiler prefers 256 bits on processors that have 512, which protects programs that seldom use vectors
from a slower clock. Loops that round and add coordinates are a quarter faster with 512 bits, coders are not:
so a function asks for itself. A processor without such vectors ignores it, and no result depends on it.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qsgd_lab.kernels.jit import IS_COMPILED

_PREFERENCE = '"prefer-vector-width"="512"'


@intrinsic
def _prefer_wide_vectors(typing_context):
    """Let the compiler use vectors of 512 bits in the function that calls this one."""

    def codegen(context, builder, signature, args):
        # The attribute set's own `add` refuses names that llvmlite does not know.
        set.add(builder.function.attributes, _PREFERENCE)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _prefetch(typing_context, array, index):
    """Ask for the cache line of an element of an array, which need not exist."""

    def codegen(context, builder, signature, args):
        source = context.make_array(signature.args[0])(context, builder, args[0])
        byte_pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        pointer = builder.bitcast(builder.gep(source.data, [args[1]]), byte_pointer)
        kind = ir.FunctionType(ir.VoidType(), [byte_pointer, word, word, word])
        name = "llvm.prefetch.p0i8"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, [pointer, word(0), word(3), word(1)])  # to read, into all levels, data
        return context.get_dummy_value()

    if not isinstance(array, types.Array) or array.ndim != 1:
        return None
    return types.void(array, types.int64), codegen


def _nothing(*_):
    pass


prefer_wide_vectors = _prefer_wide_vectors if IS_COMPILED else _nothing
prefetch = _prefetch if IS_COMPILED else _nothing
