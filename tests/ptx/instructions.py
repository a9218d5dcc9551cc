"""PTX instructions as C++ statements: the part of PTX that the kernels compile to, and only what is exact.

Registers are unsigned C++ variables of their width; an operand is read as the instruction's type. What is not
known, or is rounded in another way than to nearest, is `UnsupportedError`: no kernel is executed by half.
"""

from __future__ import annotations

import re

C_TYPES = {f"b{bits}": f"u{bits}" for bits in (8, 16, 32, 64)}
C_TYPES |= {f"{sign}{bits}": f"{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64)}
C_TYPES |= {"f32": "f32", "f64": "f64", "pred": "u8"}
SPECIAL = {
    "%tid.x": "c->tid",
    "%ntid.x": "c->ntid",
    "%ctaid.x": "c->ctaid",
    "%nctaid.x": "c->nctaid",
    "%laneid": "(c->tid & 31)",
    "%dynamic_smem_size": "(c->dynshared)",
    "%total_smem_size": "(c->dynshared)",
}
SPECIAL |= {f"%{name}.{axis}": "0" for name in ("tid", "ctaid") for axis in "yz"}
SPECIAL |= {f"%{name}.{axis}": "1" for name in ("ntid", "nctaid") for axis in "yz"}
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
COMPARISONS |= {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
UNORDERED = {"ltu": ">=", "leu": ">", "gtu": "<=", "geu": "<"}
SPACES = {"shared": 0, "global": 1}
ATOMICS = {
    "add": "o + v",
    "or": "o | v",
    "and": "o & v",
    "xor": "o ^ v",
    "min": "(v < o ? v : o)",
    "max": "(v > o ? v : o)",
    "exch": "v",
}
SHUFFLES = {"idx": 0, "up": 1, "down": 2, "bfly": 3}
VOTES = {"ballot": 4, "any": 6, "all": 7}
REDUCTIONS = {"or": 1, "and": 2, "popc": 3}
BIT_OPERATORS = {"and": "&", "or": "|", "xor": "^"}
#: Rounding to whole numbers.
WHOLE = {"rzi": "trunc", "rni": "rint", "rmi": "floor", "rpi": "ceil"}
ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


class UnsupportedError(Exception):
    """PTX that is not executed, and so not checked."""


def width_of(kind: str) -> int:
    """Return the bits of a PTX type."""
    return 8 if kind == "pred" else int(kind[1:])


def is_float(kind: str) -> bool:
    return kind[0] == "f"


def split_operands(text: str) -> list[str]:
    """Return what commas outside of brackets part."""
    return [part.strip() for part in re.findall(r"(?:\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,{\[(])+", text)]


class Instructions:
    """Translates one instruction at a time, given the registers and symbols that have been declared."""

    def __init__(self) -> None:
        self.registers: list[dict[str, str]] = [{}]
        self.symbols: dict[str, str] = {}

    def name(self, register: str) -> str:
        return "r_" + register[1:].replace("$", "_").replace(".", "_")

    def label(self, label: str) -> str:
        return "L_" + re.sub(r"\W", "_", label)

    def kind_of(self, register: str) -> str:
        for scope in reversed(self.registers):
            if register in scope:
                return scope[register]
        raise UnsupportedError(f"register {register}")

    def read(self, operand: str, kind: str) -> str:
        """Return an operand as a C++ expression of a PTX type."""
        if operand in SPECIAL:
            return f"(({C_TYPES[kind]})({SPECIAL[operand]}))"
        if operand.startswith("%"):
            name = self.name(operand)
            self.kind_of(operand)
            if kind == "pred":
                return name
            if is_float(kind):
                return f"asf((u32){name})" if kind == "f32" else f"asd({name})"
            return f"(({C_TYPES[kind]}){name})"
        if found := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})", operand):
            return f"asf(0x{found[1]}u)" if is_float(kind) else f"0x{found[1]}u"
        if found := re.fullmatch(r"0[dD]([0-9a-fA-F]{16})", operand):
            return f"asd(0x{found[1]}ull)" if is_float(kind) else f"0x{found[1]}ull"
        if re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)U?", operand):
            return f"(({C_TYPES[kind]}){int(operand.rstrip('U'), 0) & (2**64 - 1)}ull)"
        if operand in self.symbols:
            return f"(({C_TYPES[kind]})(u64)(c->sh + {self.symbols[operand]}))"
        raise UnsupportedError(f"operand {operand}")

    def bits(self, operand: str, kind: str) -> str:
        """Return an operand's bits, as an unsigned number of its width."""
        unsigned = C_TYPES["b" + kind[1:]]
        if operand.startswith("%") and operand not in SPECIAL:
            return f"(({unsigned}){self.name(operand)})"
        read = self.read(operand, kind)
        return {"f32": f"asu({read})", "f64": f"asul({read})"}.get(kind, f"(({unsigned}){read})")

    def write(self, target: str, kind: str, value: str) -> str:
        """Return the statement that sets a register; C++ extends by the sign of `kind`."""
        if target == "_":
            return f"(void)({value});"
        name, own = self.name(target), self.kind_of(target)
        if is_float(kind):
            return f"{name} = {'asu' if kind == 'f32' else 'asul'}({value});"
        if kind == "pred":
            return f"{name} = ({value}) ? 1 : 0;"
        unsigned = "u8" if own == "pred" else f"u{own[1:]}"
        return f"{name} = ({unsigned})({C_TYPES[kind]})({value});"

    def address(self, operand: str) -> str:
        found = re.fullmatch(r"\[\s*([^\]+]+?)\s*(?:\+\s*(-?\d+))?\s*\]", operand)
        if not found:
            raise UnsupportedError(f"address {operand}")
        base, offset = found[1], int(found[2] or 0)
        if base.startswith("%"):
            return f"((u64){self.name(base)} + (u64)({offset}ll))"
        if base in self.symbols:
            return f"((u64)(c->sh + {self.symbols[base]}) + {offset}ull)"
        raise UnsupportedError(f"address {operand}")

    def predicate(self, operand: str) -> str:
        bare = operand.lstrip("!")
        return ("!" if operand.startswith("!") else "") + (self.name(bare) if bare[0] == "%" else bare)

    def translate(self, operation: str, operands: list[str], line: int) -> str:
        """Return the C++ of an instruction of a line of the PTX."""
        parts = operation.split(".")
        if operation == "cvt.f32.f16":  # half precision is only ever widened
            return self.write(operands[0], "f32", f"h2f({self.bits(operands[1], 'b16')})")
        handler = getattr(self, "_" + parts[0], None)
        if handler is None or parts[-1] in ("f16", "bf16") or {"ftz", "sat", "approx"} & set(parts):
            raise UnsupportedError(f"{operation} {operands}")
        return handler(parts, operands, parts[-1], line)

    # Control, and what threads do together.

    def _ret(self, parts, ops, kind, line):
        return "return;"

    _exit = _ret

    def _bra(self, parts, ops, kind, line):
        return f"goto {self.label(ops[0])};"

    def _bar(self, parts, ops, kind, line):
        if parts[1] == "warp":
            return f"wsync(c, {line}, 5, {self.read(ops[0], 'u32')}, 0, 0, 0);"
        if "red" in parts:
            how = REDUCTIONS[next(part for part in parts if part in REDUCTIONS)]
            call = f"bsync(c, {line}, {how}, {self.predicate(ops[-1])})"
            return self.write(ops[0], "pred" if how < 3 else "u32", call)
        if ops != ["0"]:
            raise UnsupportedError(f"{'.'.join(parts)} {ops}")
        return f"bsync(c, {line}, 0, 0);"

    _barrier = _bar

    def _membar(self, parts, ops, kind, line):
        return ";"

    _fence = _membar

    def _shfl(self, parts, ops, kind, line):
        value, lane, clamp, mask = (self.read(op, "b32" if i == 0 else "u32") for i, op in enumerate(ops[1:]))
        targets = ops[0].split("|")
        call = f"{{u64 v = wsync(c, {line}, {SHUFFLES[parts[2]]}, {mask}, {value}, {lane}, {clamp});"
        call += self.write(targets[0], "b32", "(u32)v")
        return call + (self.write(targets[1], "pred", "v >> 32") if len(targets) > 1 else "") + "}"

    def _vote(self, parts, ops, kind, line):
        how = VOTES[parts[2]]
        call = f"wsync(c, {line}, {how}, {self.read(ops[2], 'u32')}, {self.predicate(ops[1])}, 0, 0)"
        return self.write(ops[0], "b32" if how == 4 else "pred", call)

    # Memory.

    def _ld(self, parts, ops, kind, line):
        if "param" in parts:
            found = re.search(r"_param_(\d+)\s*\]$", ops[1])
            if not found:
                raise UnsupportedError(f"parameter {ops[1]}")
            raw = f"c->par[{found[1]}]"
            plain = f"{self.name(ops[0])} = ({C_TYPES['b' + kind[1:]]}){raw};"
            return plain if is_float(kind) else self.write(ops[0], kind, f"({C_TYPES[kind]}){raw}")
        targets = split_operands(ops[0][1:-1]) if ops[0][0] == "{" else [ops[0]]
        size, unsigned = width_of(kind) // 8, C_TYPES["b" + kind[1:]]
        code = f"{{u8* q = {self._at(parts, ops[1], size * len(targets), 0, line)};"
        for i, target in enumerate(targets):
            code += f"{{{unsigned} v; memcpy(&v, q + {size * i}, {size});"
            moved = self.write(target, kind, f"({C_TYPES[kind]})v")
            code += (f"{self.name(target)} = v;" if is_float(kind) else moved) + "}"
        return code + "}"

    def _st(self, parts, ops, kind, line):
        sources = split_operands(ops[1][1:-1]) if ops[1][0] == "{" else [ops[1]]
        size, unsigned = width_of(kind) // 8, C_TYPES["b" + kind[1:]]
        code = f"{{u8* q = {self._at(parts, ops[0], size * len(sources), 1, line)};"
        for i, source in enumerate(sources):
            code += f"{{{unsigned} v = {self.bits(source, kind)}; memcpy(q + {size * i}, &v, {size});}}"
        return code + "}"

    def _at(self, parts, operand, size, writes, line, atomic=0):
        if "local" in parts:
            raise UnsupportedError("local memory")
        space = next((SPACES[part] for part in parts if part in SPACES), 2)
        return f"addr(c, {self.address(operand)}, {size}, {space}, {writes}, {line}, {atomic})"

    def _atom(self, parts, ops, kind, line):
        is_reduction = parts[0] == "red"
        given = ops if is_reduction else ops[1:]
        how = next(part for part in parts if part in (*ATOMICS, "cas"))
        size, c_type = width_of(kind) // 8, C_TYPES[kind]
        new = f"(o == v ? {self.read(given[2], kind)} : o)" if how == "cas" else ATOMICS[how]
        code = f"{{u8* q = {self._at(parts, given[0], size, 1, line, 1)};"
        code += f"{c_type} o, v = {self.read(given[1], kind)}; memcpy(&o, q, {size});"
        code += f"{c_type} n = {new}; memcpy(q, &n, {size});"
        return code + ("" if is_reduction else self.write(ops[0], kind, "o")) + "}"

    _red = _atom

    # Moves and choices.

    def _mov(self, parts, ops, kind, line):
        if "{" not in (ops[0][0], ops[1][0]):
            return self.write(ops[0], kind, self.read(ops[1], kind))
        packed = split_operands(ops[0 if ops[0][0] == "{" else 1][1:-1])
        part = width_of(kind) // len(packed)
        if ops[0][0] == "{":
            whole = self.read(ops[1], f"b{width_of(kind)}")
            return " ".join(
                self.write(one, f"b{part}", f"({whole} >> {part * i})") for i, one in enumerate(packed)
            )
        pieces = (f"((u64){self.read(one, f'b{part}')} << {part * i})" for i, one in enumerate(packed))
        return self.write(ops[0], kind, " | ".join(pieces))

    def _cvta(self, parts, ops, kind, line):
        return self.write(ops[0], "u64", self.read(ops[1], "u64"))

    def _selp(self, parts, ops, kind, line):
        choice = f"({self.read(ops[3], 'pred')}) ? {self.bits(ops[1], kind)} : {self.bits(ops[2], kind)}"
        return f"{self.name(ops[0])} = {choice};"

    def _setp(self, parts, ops, kind, line):
        how, a, b = parts[1], self.read(ops[1], kind), self.read(ops[2], kind)
        if how in ("num", "nan"):
            test = f"({a} == {a} && {b} == {b})"
            test = test if how == "num" else f"!{test}"
        elif how == "neu":
            test = f"!({a} == {b})"
        elif how == "equ":
            test = f"!({a} < {b} || {a} > {b})"
        elif how in UNORDERED:
            test = f"!({a} {UNORDERED[how]} {b})"
        elif is_float(kind) and how == "ne":
            test = f"({a} < {b} || {a} > {b})"
        else:
            test = f"{a} {COMPARISONS[how]} {b}"
        if parts[2] in ("and", "or", "xor"):
            joined = {"and": "&&", "or": "||", "xor": "!="}[parts[2]]
            test = f"(({test}) {joined} {self.predicate(ops[3])})"
        targets = ops[0].split("|")
        code = self.write(targets[0], "pred", test)
        return code + (self.write(targets[1], "pred", f"!({test})") if len(targets) > 1 else "")

    def _cvt(self, parts, ops, kind, line):
        to, modes = parts[-2], parts[1:-2]
        value = self.read(ops[1], kind)
        if is_float(kind) and not is_float(to):
            whole = WHOLE.get("".join(modes))
            if whole is None:
                raise UnsupportedError(".".join(parts))
            value = f"__builtin_{whole}{'f' * (kind == 'f32')}({value})"
            nan = int(kind == "f64")
            call = {"s32": f"f2s32({value}, {nan})", "u32": f"f2u32({value}, {nan})"}
            call |= {"s64": f"f2s64({value})", "u64": f"f2u64({value})"}
            return self.write(ops[0], to, call[to])
        whole = WHOLE.get("".join(modes))
        if to == kind == "f64" and whole:
            return self.write(ops[0], to, f"__builtin_{whole}({value})")
        exact = to == "f64" and kind not in ("s64", "u64")
        if is_float(to) and (to == kind or not (exact or "rn" in modes)):
            raise UnsupportedError(".".join(parts))
        return self.write(ops[0], to, f"({C_TYPES[to]})({value})")
