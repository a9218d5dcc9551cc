"""Operations that Numba has no words for: each is a PTX instruction or an LLVM operation of 32 bits.

Numba widens integers to 64 bits; two-operand intrinsics of 32 bits cannot be widened. Their plain Python
twins are in ``cuda.ops_python``; kernels take either from ``cuda.ops``.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

U32, I32, F32 = types.uint32, types.int32, types.float32
_LETTERS = {U32: "r", I32: "r", F32: "f", types.int16: "h"}
_WORD, _LONG = ir.IntType(32), ir.IntType(64)


def _pair_operation(name):
    """Return an intrinsic of an LLVM operation of two uint32."""

    @intrinsic
    def operation(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return getattr(builder, name)(args[0], args[1])

        return U32(U32, U32), codegen

    return operation


add, sub, mul = _pair_operation("add"), _pair_operation("sub"), _pair_operation("mul")
and_, or_, xor = _pair_operation("and_"), _pair_operation("or_"), _pair_operation("xor")
shl, shr, ashr = _pair_operation("shl"), _pair_operation("lshr"), _pair_operation("ashr")


def _call(text, result, params, context, builder, args):
    """Emit one PTX instruction; the compiler may still move and remove it."""
    kind = ir.FunctionType(context.get_value_type(result), [context.get_value_type(p) for p in params])
    constraint = ",".join([f"={_LETTERS[result]}", *(_LETTERS[p] for p in params)])
    return builder.call(ir.InlineAsm(kind, text, constraint, side_effect=False), args)


def _instruction_of_one(text, result, param):
    @intrinsic
    def operation(typingctx, a):
        def codegen(context, builder, signature, args):
            return _call(text, result, (param,), context, builder, args)

        return result(param), codegen

    return operation


def _instruction_of_two(text, kind):
    @intrinsic
    def operation(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return _call(text, kind, (kind, kind), context, builder, args)

        return kind(kind, kind), codegen

    return operation


def _instruction_of_three(text):
    @intrinsic
    def operation(typingctx, a, b, c):
        def codegen(context, builder, signature, args):
            return _call(text, U32, (U32, U32, U32), context, builder, args)

        return U32(U32, U32, U32), codegen

    return operation


truncated = _instruction_of_one("cvt.rzi.s32.f32 $0, $1;", I32, F32)
bits_of = _instruction_of_one("mov.b32 $0, $1;", U32, F32)
float_of = _instruction_of_one("mov.b32 $0, $1;", F32, U32)
least = _instruction_of_two("min.f32 $0, $1, $2;", F32)
largest = _instruction_of_two("max.u32 $0, $1, $2;", U32)
permuted = _instruction_of_three("prmt.b32 $0, $1, $2, $3;")
funnel_left = _instruction_of_three("shf.l.wrap.b32 $0, $1, $2, $3;")
funnel_right = _instruction_of_three("shf.r.wrap.b32 $0, $1, $2, $3;")
field = _instruction_of_three("bfe.u32 $0, $1, $2, $3;")


@intrinsic
def wide_product(typingctx, a, b):
    """Return (high, low) of the product of two uint32."""
    signature = types.UniTuple(U32, 2)(U32, U32)

    def codegen(context, builder, signature, args):
        product = builder.mul(builder.zext(args[0], _LONG), builder.zext(args[1], _LONG))
        high = builder.trunc(builder.lshr(product, ir.Constant(_LONG, 32)), _WORD)
        return context.make_tuple(builder, signature.return_type, [high, builder.trunc(product, _WORD)])

    return signature, codegen


@intrinsic
def real(typingctx, value):
    """Return a float32 as it is, the bits of a float16 (int16) or of a bfloat16 (uint16) as a float32."""

    def codegen(context, builder, signature, args):
        if value == F32:
            return args[0]
        if value == types.int16:
            return _call("cvt.f32.f16 $0, $1;", F32, (value,), context, builder, args)
        high = builder.shl(builder.zext(args[0], _WORD), ir.Constant(_WORD, 16))
        return builder.bitcast(high, ir.FloatType())

    return (F32(value), codegen) if value in (F32, types.int16, types.uint16) else None


@intrinsic
def shuffled(typingctx, value, source, clamp):
    """Return lane `source`'s float32, all lanes taking part; `clamp` is PTX's operand c."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.LiteralStructType([_WORD, ir.IntType(1)]), [_WORD] * 5)
        # Not by assembler: the compiler must know that lanes have to stay together.
        shuffle = cgutils.get_or_insert_function(builder.module, kind, "llvm.nvvm.shfl.sync.i32")
        bits = builder.bitcast(args[0], _WORD)
        everyone, by_index = ir.Constant(_WORD, 0xFFFFFFFF), ir.Constant(_WORD, 0)
        result = builder.call(shuffle, [everyone, by_index, bits, args[1], args[2]])
        return builder.bitcast(builder.extract_value(result, 0), ir.FloatType())

    return F32(F32, U32, U32), codegen


def _pointer(context, builder, kind, array, base, offset):
    """Return the address of element base + offset: int64, which is a row's, and uint32, a lane's."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(builder.gep(data, [base]), [builder.zext(offset, _LONG)])


@intrinsic
def load(typingctx, array, base, offset):
    """Return array[base + offset]."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(context, builder, array, *args))

    return array.dtype(array, types.int64, U32), codegen


@intrinsic
def load_four(typingctx, array, base, offset):
    """Return four neighbours in one access; their address must be a multiple of their size together."""
    signature = types.UniTuple(array.dtype, 4)(array, types.int64, U32)

    def codegen(context, builder, signature, args):
        four = ir.VectorType(context.get_data_type(array.dtype), 4).as_pointer()
        place = builder.bitcast(_pointer(context, builder, array, *args), four)
        loaded = builder.load(place, align=array.dtype.bitwidth // 2)
        parts = [builder.extract_element(loaded, ir.Constant(_WORD, i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, parts)

    return signature, codegen


@intrinsic
def load_reals(typingctx, array, base, offset):
    """Return four neighbours in one access, as `real` makes them; conditions as of `load_four`."""
    kind = array.dtype
    signature = types.UniTuple(F32, 4)(array, types.int64, U32)

    def codegen(context, builder, signature, args):
        four = ir.VectorType(context.get_data_type(kind), 4).as_pointer()
        place = builder.bitcast(_pointer(context, builder, array, *args), four)
        loaded = builder.load(place, align=kind.bitwidth // 2)
        parts = [builder.extract_element(loaded, ir.Constant(_WORD, i)) for i in range(4)]
        if kind == types.int16:
            parts = [_call("cvt.f32.f16 $0, $1;", F32, (kind,), context, builder, [one]) for one in parts]
        elif kind == types.uint16:
            high = ir.Constant(_WORD, 16)
            wide = [builder.shl(builder.zext(one, _WORD), high) for one in parts]
            parts = [builder.bitcast(one, ir.FloatType()) for one in wide]
        return context.make_tuple(builder, signature.return_type, parts)

    return signature, codegen


@intrinsic
def load_half(typingctx, array, offset):
    """Return element `offset` of a uint32 array seen as uint16."""

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        halves = builder.bitcast(data, ir.PointerType(ir.IntType(16), data.type.addrspace))
        return builder.load(builder.gep(halves, [builder.zext(args[1], _LONG)]))

    return types.uint16(array, U32), codegen


@intrinsic
def store(typingctx, array, base, offset, value):
    """Set array[base + offset]."""

    def codegen(context, builder, signature, args):
        builder.store(args[3], _pointer(context, builder, array, *args[:3]))
        return context.get_dummy_value()

    return types.void(array, types.int64, U32, array.dtype), codegen


@intrinsic
def store_four(typingctx, array, base, offset, a, b, c, d):
    """Set four neighbours in one access; conditions as of `load_four`."""

    def codegen(context, builder, signature, args):
        kind = ir.VectorType(context.get_data_type(array.dtype), 4)
        four = ir.Constant(kind, ir.Undefined)
        for i in range(4):
            four = builder.insert_element(four, args[3 + i], ir.Constant(_WORD, i))
        place = builder.bitcast(_pointer(context, builder, array, *args[:3]), kind.as_pointer())
        builder.store(four, place, align=array.dtype.bitwidth // 2)
        return context.get_dummy_value()

    return types.void(array, types.int64, U32, *[array.dtype] * 4), codegen
