"""Turns of the layout `ranged` in vectors: sixteen states take a step together.

One builder writes the instructions for four forms, and the processor that kernels are compiled for decides
which: AVX-512 has vectors of sixteen states, with gathers and an instruction that expands words to lanes.
AVX2, SSSE3 and NEON have two vectors of eight, and move words between stream and lanes by one shuffle of
sixteen bytes, whose control comes from a table by the mask of the lanes. All forms write and read the stream
of the scalar loops in `ranged`, which serve where none is possible.

References
----------
Giesen: Interleaved entropy coders. 2014, arXiv:1402.3392.
"""

from __future__ import annotations

import re
from typing import Any

from llvmlite import binding, ir
from numba import config, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from qsgd_lab.kernels.jit import IS_COMPILED

STATES = 16
FORMS = {"avx512": 16, "avx2": 8, "ssse3": 8, "neon": 8}  #: Form -> lanes of its vectors.

_BIT, _BYTE, _SHORT, _WORD, _LONG = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_FLOAT = ir.FloatType()
_LINE = ir.VectorType(_BYTE, 16)  # what a byte shuffle moves: eight words of the stream
_EIGHT_SHORT = ir.VectorType(_SHORT, 8)

#: Sums that a processor does in vectors of 256 and 512 bits if it can, and a shuffle of bytes.
_PROBE = """
define <8 x i32> @sum8(<8 x i32> %x, <8 x i32> %y) {{ %z = add <8 x i32> %x, %y ret <8 x i32> %z }}
define <16 x i32> @sum16(<16 x i32> %x, <16 x i32> %y) #0 {{ %z = add <16 x i32> %x, %y ret <16 x i32> %z }}
define <16 x i8> @reverse(<16 x i8> %x) {{
  %y = shufflevector <16 x i8> %x, <16 x i8> undef, <16 x i32> <{order}>
  ret <16 x i8> %y
}}
attributes #0 = {{ "prefer-vector-width"="512" "min-legal-vector-width"="512" }}
"""


def form_for(triple: str, processor: str, features: str) -> str | None:
    """Return the form for a processor, or None if none is possible there.

    Parameters
    ----------
    triple, processor, features : str
        As LLVM names them; what it makes of a small program tells which instructions it may use.
    """
    if triple.startswith(("aarch64", "arm64")):
        return "neon"
    target = binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=processor, features=features, opt=2)
    order = ", ".join(f"i32 {15 - i}" for i in range(16))
    code = machine.emit_assembly(binding.parse_assembly(_PROBE.format(order=order)))
    if re.search(r"vpaddd.*zmm", code):
        return "avx512"
    if re.search(r"vpaddd.*ymm", code):
        return "avx2"
    return "ssse3" if "pshufb" in code else None


def _form() -> str | None:
    """Return the form for the processor that kernels are compiled for."""
    if not IS_COMPILED or config.BOUNDSCHECK:
        return None  # vectors are loaded without checks
    return form_for(*cpu_target.target_context.codegen().magic_tuple())


FORM = _form()  #: Cached kernels are keyed by the processor already.
HAS_VECTORS = FORM is not None


def _expanding(mask: int) -> list[int]:
    """Return the control that moves the k-th word to the k-th lane of a mask, and zero to the others."""
    control, word = [], 0
    for lane in range(8):
        taken = mask >> lane & 1
        control += [2 * word, 2 * word + 1] if taken else [255, 255]
        word += taken
    return control


def _compressing(mask: int) -> list[int]:
    """Return the control that moves the lanes of a mask to the end, in order."""
    lanes = [lane for lane in range(8) if mask >> lane & 1]
    return [255] * (16 - 2 * len(lanes)) + [2 * lane + half for lane in lanes for half in (0, 1)]


class _Turn:
    """The instructions of a turn, written into a function in one form."""

    def __init__(self, builder: Any, form: str) -> None:
        self.builder, self.form, self.lanes = builder, form, FORMS[form]
        self.vector = ir.VectorType(_WORD, self.lanes)

    def each(self, value: int) -> Any:
        """Return a vector of one number."""
        return ir.Constant(self.vector, [value] * self.lanes)

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        """Call one of LLVM's own functions."""
        module, kinds = self.builder.module, [argument.type for argument in arguments]
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(result, kinds), name)
        return self.builder.call(function, arguments)

    def place(self, pointer: Any, element: Any, offset: Any, kind: Any) -> Any:
        """Return a pointer to a value of a kind, `offset` elements beyond another pointer."""
        start = self.builder.bitcast(pointer, element.as_pointer())
        index = _LONG(offset) if isinstance(offset, int) else offset
        return self.builder.bitcast(self.builder.gep(start, [index]), kind.as_pointer())

    def load(self, pointer: Any, element: Any, offset: Any, count: int) -> Any:
        """Load a vector from any address."""
        place = self.place(pointer, element, offset, ir.VectorType(element, count))
        return self.builder.load(place, align=1)

    def store(self, vector: Any, pointer: Any, element: Any, offset: Any) -> None:
        """Store a vector to any address."""
        self.builder.store(vector, self.place(pointer, element, offset, vector.type), align=1)

    def part(self, vector: Any, lanes: Any) -> Any:
        """Return some lanes of a vector."""
        chosen = ir.Constant(ir.VectorType(_WORD, len(lanes)), list(lanes))
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), chosen)

    def join(self, first: Any, second: Any, lanes: Any) -> Any:
        """Return lanes of two vectors, those of the second counted on from the first's."""
        return self.builder.shuffle_vector(
            first, second, ir.Constant(ir.VectorType(_WORD, len(lanes)), list(lanes))
        )

    def gather(self, table: Any, index: Any) -> Any:
        """Return the words of a table at each lane's index, which is below 2^16."""
        build = self.builder
        base = build.bitcast(table, _BYTE.as_pointer())
        if self.form == "avx512":
            every = ir.Constant(ir.VectorType(_BIT, 16), [1] * 16)
            name = "llvm.x86.avx512.mask.gather.dpi.512"
            return self.call(name, self.vector, self.each(0), base, index, every, _WORD(4))
        if self.form == "avx2":
            name = "llvm.x86.avx2.gather.d.d.256"
            return self.call(name, self.vector, self.each(0), base, index, self.each(2**32 - 1), _BYTE(4))
        pairs = build.bitcast(index, ir.VectorType(_LONG, 4))  # two indices leave a vector at once
        found = ir.Constant(self.vector, ir.Undefined)
        for pair in range(4):
            both = build.extract_element(pairs, _WORD(pair))
            for half, at in enumerate((build.and_(both, _LONG(2**32 - 1)), build.lshr(both, _LONG(32)))):
                value = build.load(self.place(table, _WORD, at, _WORD), align=4)
                found = build.insert_element(found, value, _WORD(2 * pair + half))
        return found

    def gather_pairs(self, table: Any, symbols: Any, first: int) -> tuple[Any, Any]:
        """Return the low and the high words of 64 bits of a table at bytes from number `first` on."""
        build = self.builder
        if self.form == "avx512":
            index = build.zext(self.load(symbols, _BYTE, 0, 16), self.vector)
            base, kind = build.bitcast(table, _BYTE.as_pointer()), ir.VectorType(_LONG, 8)
            every = ir.Constant(ir.VectorType(_BIT, 8), [1] * 8)
            halves = [
                self.call(
                    "llvm.x86.avx512.mask.gather.dpq.512",
                    kind,
                    ir.Constant(kind, [0] * 8),
                    base,
                    self.part(index, range(low, low + 8)),
                    every,
                    _WORD(8),
                )
                for low in (0, 8)
            ]
        else:
            # In this order one shuffle within halves of 128 bits parts low and high words.
            halves = []
            for lanes in ((0, 1, 4, 5), (2, 3, 6, 7)):
                half = ir.Constant(ir.VectorType(_LONG, 4), ir.Undefined)
                for number, lane in enumerate(lanes):
                    symbol = build.load(self.place(symbols, _BYTE, first + lane, _BYTE), align=1)
                    at = build.zext(symbol, _LONG)
                    value = build.load(self.place(table, _LONG, at, _LONG), align=8)
                    half = build.insert_element(half, value, _WORD(number))
                halves.append(half)
        one, two = (build.bitcast(half, self.vector) for half in halves)
        if self.form == "avx512":
            low = self.join(one, two, range(0, 32, 2))
            return low, self.join(one, two, range(1, 32, 2))
        return self.join(one, two, (0, 2, 8, 10, 4, 6, 12, 14)), self.join(
            one, two, (1, 3, 9, 11, 5, 7, 13, 15)
        )

    def mask(self, lanes: Any) -> tuple[Any, Any]:
        """Return the mask of eight lanes and how many are set, int64."""
        build = self.builder
        if (
            self.form == "neon"
        ):  # no instruction collects lanes: one sum gives the mask, and above it the count
            weights = ir.Constant(_EIGHT_SHORT, [(1 << lane) + 256 for lane in range(8)])
            chosen = build.select(lanes, weights, ir.Constant(_EIGHT_SHORT, [0] * 8))
            total = build.zext(self.call("llvm.vector.reduce.add.v8i16", _SHORT, chosen), _LONG)
            return build.and_(total, _LONG(255)), build.lshr(total, _LONG(8))
        bits = build.zext(build.bitcast(lanes, _BYTE), _LONG)
        return bits, build.ctpop(bits)

    def shuffle(self, line: Any, rule: Any, mask: Any) -> Any:
        """Move the bytes of a line as the rule says for a mask."""
        build, module, name = self.builder, self.builder.module, f"qsgd_ranged_{rule.__name__.strip('_')}"
        table = module.globals.get(name)
        if table is None:
            kind = ir.ArrayType(_LINE, 256)
            table = ir.GlobalVariable(module, kind, name)
            table.linkage, table.global_constant, table.align = "internal", True, 16
            table.initializer = ir.Constant(kind, [ir.Constant(_LINE, rule(i)) for i in range(256)])
        control = build.load(build.gep(table, [_LONG(0), mask]), align=16)
        name = "llvm.aarch64.neon.tbl1.v16i8" if self.form == "neon" else "llvm.x86.ssse3.pshuf.b.128"
        return self.call(name, _LINE, line, control)

    def take(self, words: Any, at: Any, short: Any) -> tuple[Any, Any]:
        """Return the next words in the lanes that are short of one, zero in others, and how many they are."""
        build = self.builder
        if self.form == "avx512":
            found = build.zext(self.load(words, _SHORT, at, 16), self.vector)
            name = "llvm.x86.avx512.mask.expand.v16i32"
            spread = self.call(name, self.vector, found, self.each(0), short)
            return spread, build.zext(build.ctpop(build.bitcast(short, _SHORT)), _LONG)
        mask, count = self.mask(short)
        line = build.bitcast(self.load(words, _SHORT, at, 8), _LINE)
        spread = build.bitcast(self.shuffle(line, _expanding, mask), _EIGHT_SHORT)
        return build.zext(spread, self.vector), count

    def put(self, words: Any, before: Any, x: Any, full: Any) -> Any:
        """Put the low halves of full lanes in front of the words; return how many words there are now.

        Eight words are stored, of which those further in front mean nothing yet.
        """
        build = self.builder
        low = build.trunc(x, ir.VectorType(_SHORT, self.lanes))
        for first in range(self.lanes - 8, -1, -8):
            eight = range(first, first + 8)
            mask, count = self.mask(full if self.lanes == 8 else self.part(full, eight))
            line = build.bitcast(low if self.lanes == 8 else self.part(low, eight), _LINE)
            place = build.sub(_LONG(-8), before)
            self.store(self.shuffle(line, _compressing, mask), words, _SHORT, place)
            before = build.add(before, count)
        return before


def build_decode_turn(builder: Any, form: str, slots: Any, states: Any, words: Any, symbols: Any) -> Any:
    """Write the instructions that decode sixteen symbols; return how many words they take, int64.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    form : str
        Of `FORMS`.
    slots, states, words, symbols : pointers
        To 4096 uint32, 16 uint32, 16 uint16 of which the first are read, and 16 bytes.
    """
    turn, values, taken = _Turn(builder, form), [], _LONG(0)
    for first in range(0, STATES, turn.lanes):
        x = turn.load(states, _WORD, first, turn.lanes)
        entry = turn.gather(slots, builder.and_(x, turn.each(4095)))
        frequency = builder.and_(entry, turn.each(4095))
        offset = builder.and_(builder.lshr(entry, turn.each(12)), turn.each(4095))
        x = builder.add(builder.mul(frequency, builder.lshr(x, turn.each(12))), offset)
        short = builder.icmp_unsigned("==", builder.lshr(x, turn.each(16)), turn.each(0))
        found, count = turn.take(words, taken, short)
        x = builder.or_(builder.select(short, builder.shl(x, turn.each(16)), x), found)
        turn.store(x, states, _WORD, first)
        values.append(builder.lshr(entry, turn.each(24)))
        taken = builder.add(taken, count)
    whole = values[0] if turn.lanes == STATES else turn.join(*values, range(STATES))
    turn.store(builder.trunc(whole, _LINE), symbols, _BYTE, 0)
    return taken


def build_encode_turn(
    builder: Any, form: str, entries: Any, symbols: Any, states: Any, seen: Any, words: Any
) -> Any:
    """Write the instructions that encode sixteen symbols; return how many words they put in front, int64.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    form : str
        Of `FORMS`.
    entries, symbols, states, seen, words : pointers
        To 256 uint64, 16 bytes, 16 uint32, 16 uint32 in which the entries that occur are collected, and the
        first word so far, in front of which sixteen may be stored.
    """
    turn, put, met = _Turn(builder, form), _LONG(0), None
    for first in range(STATES - turn.lanes, -1, -turn.lanes):
        x = turn.load(states, _WORD, first, turn.lanes)
        entry, reciprocal = turn.gather_pairs(entries, symbols, first)
        reciprocal = builder.bitcast(reciprocal, ir.VectorType(_FLOAT, turn.lanes))
        frequency = builder.and_(entry, turn.each(4095))
        full = builder.icmp_signed(">=", builder.lshr(x, turn.each(20)), frequency)
        put = turn.put(words, put, x, full)
        x = builder.select(full, builder.lshr(x, turn.each(16)), x)
        # The quotient is below 2^20 and the reciprocal too small by 2^-22: right, or one too small.
        product = builder.fmul(builder.uitofp(x, reciprocal.type), reciprocal)
        quotient = builder.fptosi(product, turn.vector)
        rest = builder.sub(x, builder.mul(quotient, frequency))
        over = builder.icmp_signed(">=", rest, frequency)
        more = builder.select(over, builder.sub(turn.each(4096), frequency), turn.each(0))
        x = builder.add(builder.shl(quotient, turn.each(12)), rest)
        x = builder.add(x, builder.add(builder.lshr(entry, turn.each(20)), more))
        turn.store(x, states, _WORD, first)
        met = entry if met is None else builder.or_(met, entry)
    turn.store(builder.or_(met, turn.load(seen, _WORD, 0, turn.lanes)), seen, _WORD, 0)
    return put


def _pointers(context: Any, builder: Any, kinds: Any, args: Any) -> list[Any]:
    """Return pointers to elements of arrays: arguments are pairs of an array and an index."""
    return [
        builder.gep(context.make_array(kind)(context, builder, array).data, [index])
        for kind, array, index in zip(kinds[::2], args[::2], args[1::2], strict=True)
    ]


@intrinsic
def decode_turn(typing_context, slots, table, states, row, words, word, symbols, at):
    """Decode sixteen symbols; return how many words they took.

    `slots` (uint32) from element `table` on is the table, `states` (uint32) from `row` on the states, `words`
    (uint16) is read at `word`, sixteen of them, and `symbols` (uint8) written at `at`.
    """

    def codegen(context, builder, signature, args):
        pointers = _pointers(context, builder, signature.args, args)
        return build_decode_turn(builder, FORM, *pointers) if FORM else _LONG(0)

    index = types.int64
    return index(slots, index, states, index, words, index, symbols, index), codegen


@intrinsic
def encode_turn(typing_context, entries, table, symbols, at, states, row, seen, same_row, words, word):
    """Encode sixteen symbols; return how many words were put in front of `word` in `words` (uint16).

    `entries` (uint64) from element `table` on is the table, `symbols` (uint8) is read at `at`; `states` and
    `seen` (uint32) are those from `row` on.
    """

    def codegen(context, builder, signature, args):
        pointers = _pointers(context, builder, signature.args, args)
        return build_encode_turn(builder, FORM, *pointers) if FORM else _LONG(0)

    index = types.int64
    own = (entries, index, symbols, index, states, index, seen, index, words, index)
    return index(*own), codegen
