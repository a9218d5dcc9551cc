"""PTX arithmetic as C++: integers of 16 to 64 bits that wrap around, floats rounded to nearest, bits."""

from __future__ import annotations

from instructions import (
    ARITHMETIC,
    BIT_OPERATORS,
    C_TYPES,
    Instructions,
    UnsupportedError,
    is_float,
    width_of,
)

ROUNDINGS = {"rz", "rm", "rp", "full"}


class Arithmetic(Instructions):
    """Adds the operations on numbers."""

    def _add(self, parts, ops, kind, line):
        if is_float(kind):
            return self._float(parts, ops, kind)
        unsigned = f"u{kind[1:]}"
        sum_ = f"{self.read(ops[1], unsigned)} {ARITHMETIC[parts[0]]} {self.read(ops[2], unsigned)}"
        return self.write(ops[0], kind, f"({unsigned})({sum_})")

    _sub = _add

    def _float(self, parts, ops, kind):
        if ROUNDINGS & set(parts):
            raise UnsupportedError(".".join(parts))
        a = [self.read(op, kind) for op in ops[1:]]
        if parts[0] in ("mad", "fma"):
            suffix = "f" if kind == "f32" else ""
            return self.write(ops[0], kind, f"__builtin_fma{suffix}({a[0]}, {a[1]}, {a[2]})")
        return self.write(ops[0], kind, f"{a[0]} {ARITHMETIC[parts[0]]} {a[1]}")

    def _fma(self, parts, ops, kind, line):
        return self._float(parts, ops, kind)

    def _mul(self, parts, ops, kind, line):
        if is_float(kind):
            return self._float(parts, ops, kind)
        bits, sign, adds = width_of(kind), kind[0] if kind[0] == "s" else "u", parts[0] == "mad"
        wide = f"{sign}{2 * bits}"
        product = f"({wide}){self.read(ops[1], kind)} * ({wide}){self.read(ops[2], kind)}"
        if "wide" in parts:
            value = f"({product}) + {self.read(ops[3], wide)}" if adds else product
            return self.write(ops[0], wide, value)
        if "hi" in parts:
            value = f"({C_TYPES[kind]})(({product}) >> {bits})"
            return self.write(ops[0], kind, f"{value} + {self.read(ops[3], kind)}" if adds else value)
        unsigned = f"u{bits}"
        value = f"({unsigned})({self.read(ops[1], unsigned)} * {self.read(ops[2], unsigned)})"
        if adds:
            value = f"({unsigned})({value} + {self.read(ops[3], unsigned)})"
        return self.write(ops[0], kind, value)

    _mad = _mul

    def _div(self, parts, ops, kind, line):
        if is_float(kind):
            if "rn" not in parts:
                raise UnsupportedError(".".join(parts))
            return self._float(parts, ops, kind)
        c_type, is_div = C_TYPES[kind], parts[0] == "div"
        value = "x / y" if is_div else "x % y"
        if kind[0] == "s":  # the least number over -1 is its own negative, and leaves 0
            value = f"(y == ({c_type})-1 ? ({c_type})({'0 - (u64)x' if is_div else '0'}) : {value})"
        return (
            f"{{{c_type} x = {self.read(ops[1], kind)}, y = {self.read(ops[2], kind)};"
            f'if (y == 0) {{ fail(c, "division by zero", {line}, 0, 0); y = 1; }}'
            f"{self.write(ops[0], kind, value)}}}"
        )

    _rem = _div

    def _rcp(self, parts, ops, kind, line):
        if "rn" not in parts:
            raise UnsupportedError(".".join(parts))
        return self.write(ops[0], kind, f"1 / {self.read(ops[1], kind)}")

    def _sqrt(self, parts, ops, kind, line):
        if "rn" not in parts:
            raise UnsupportedError(".".join(parts))
        suffix = "f" if kind == "f32" else ""
        return self.write(ops[0], kind, f"__builtin_sqrt{suffix}({self.read(ops[1], kind)})")

    def _neg(self, parts, ops, kind, line):
        value = self.read(ops[1], kind if is_float(kind) else f"u{kind[1:]}")
        return self.write(ops[0], kind, f"-{value}" if is_float(kind) else f"({C_TYPES[kind]})(0 - {value})")

    def _abs(self, parts, ops, kind, line):
        if is_float(kind):
            mask = "0x7fffffffu" if kind == "f32" else "0x7fffffffffffffffull"
            return f"{self.name(ops[0])} = {self.bits(ops[1], kind)} & {mask};"
        value, c_type = self.read(ops[1], kind), C_TYPES[kind]
        return self.write(ops[0], kind, f"({value} < 0 ? ({c_type})(0 - (u64){value}) : {value})")

    def _min(self, parts, ops, kind, line):
        a, b = self.read(ops[1], kind), self.read(ops[2], kind)
        if is_float(kind):
            return self.write(ops[0], kind, f"__builtin_f{parts[0]}{'f' if kind == 'f32' else ''}({a}, {b})")
        return self.write(ops[0], kind, f"{a} {'<' if parts[0] == 'min' else '>'} {b} ? {a} : {b}")

    _max = _min

    def _and(self, parts, ops, kind, line):
        value = f"{self.read(ops[1], kind)} {BIT_OPERATORS[parts[0]]} {self.read(ops[2], kind)}"
        return self.write(ops[0], kind, value)

    _or = _and
    _xor = _and

    def _not(self, parts, ops, kind, line):
        return self.write(ops[0], kind, ("!" if kind == "pred" else "~") + self.read(ops[1], kind))

    def _shl(self, parts, ops, kind, line):
        kind = f"u{kind[1:]}" if parts[0] == "shl" or kind[0] == "b" else kind
        call = f"{parts[0]}_<{C_TYPES[kind]}>({self.read(ops[1], kind)}, {self.read(ops[2], 'u32')})"
        return self.write(ops[0], kind, call)

    _shr = _shl

    def _shf(self, parts, ops, kind, line):
        a, b, count = self.read(ops[1], "b32"), self.read(ops[2], "b32"), self.read(ops[3], "u32")
        return self.write(ops[0], "b32", f"shf_{parts[1]}({a}, {b}, {count}, {int(parts[2] == 'wrap')})")

    def _bfi(self, parts, ops, kind, line):
        a, b = self.read(ops[1], kind), self.read(ops[2], kind)
        place = f"{self.read(ops[3], 'u32')}, {self.read(ops[4], 'u32')}"
        return self.write(ops[0], kind, f"bfi{width_of(kind)}({a}, {b}, {place})")

    def _bfe(self, parts, ops, kind, line):
        place = f"{self.read(ops[2], 'u32')}, {self.read(ops[3], 'u32')}"
        return self.write(ops[0], kind, f"bfe_<{C_TYPES[kind]}>({self.read(ops[1], kind)}, {place})")

    def _brev(self, parts, ops, kind, line):
        return self.write(ops[0], kind, f"brev{width_of(kind)}({self.read(ops[1], kind)})")

    def _popc(self, parts, ops, kind, line):
        suffix = "ll" if width_of(kind) == 64 else ""
        return self.write(ops[0], "u32", f"__builtin_popcount{suffix}({self.read(ops[1], kind)})")

    def _clz(self, parts, ops, kind, line):
        bits, value = width_of(kind), self.read(ops[1], kind)
        suffix = "ll" if bits == 64 else ""
        return self.write(ops[0], "u32", f"({value} ? __builtin_clz{suffix}({value}) : {bits})")

    def _prmt(self, parts, ops, kind, line):
        return self.write(ops[0], "b32", f"prmt_({', '.join(self.read(op, 'b32') for op in ops[1:4])})")

    def _lop3(self, parts, ops, kind, line):
        given = ", ".join(self.read(op, "b32") for op in ops[1:4])
        return self.write(ops[0], "b32", f"lop3_({given}, {ops[4]})")
