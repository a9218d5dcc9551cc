"""PTX to C++: one function a kernel, which runtime.cpp executes with a fiber for each CUDA thread."""

from __future__ import annotations

import re

from arithmetic import Arithmetic
from instructions import C_TYPES, UnsupportedError, split_operands

SHARED = re.compile(r"\.shared\s+\.align\s+(\d+)\s+\.b8\s+(\S+?)\[(\d*)\]\s*;")
OPENING = """#include "kernel.h"
#ifdef PROFILE
#define CNT(i) c->counts[i]++;
#else
#define CNT(i)
#endif
"""


class Translation(Arithmetic):
    """The C++ of one PTX module with one kernel.

    Attributes
    ----------
    source : str
    parameters : list of str
        The PTX types of the kernel's parameters.
    counted : dict of str to int
        Operation -> its place among the counts.
    """

    def __init__(self, ptx: str) -> None:
        super().__init__()
        self.static = 0
        self.parameters: list[str] = []
        self.counted: dict[str, int] = {}
        body = self._statements(re.sub(r"/\*.*?\*/", "", ptx, flags=re.DOTALL))
        self.static = -(-self.static // 16) * 16
        self.source = (
            f'{OPENING}#define STATIC_SHARED {self.static}\nextern "C" void kernel_body(Ctx* c)\n'
            + "\n".join(body)
        )

    def _statements(self, ptx: str) -> list[str]:
        out: list[str] = []
        state = "before"
        for number, whole in enumerate(ptx.splitlines(), 1):
            line = re.sub(r"//.*", "", whole).strip()
            if found := SHARED.search(line):
                self._declare_shared(*found.groups())
            elif ".entry" in line:
                state = "parameters"
            elif state == "parameters":
                if line.startswith(".param"):
                    self.parameters.append(line.split()[1].lstrip("."))
                elif line == "{":
                    state = "body"
                    out.append("{")
            elif state == "body":
                out += self._line(line, number)
        if state != "body":
            raise UnsupportedError("no kernel")
        return out

    def _declare_shared(self, align: str, name: str, size: str) -> None:
        if not size:  # dynamic: behind all that is static
            self.symbols[name] = "STATIC_SHARED"
            return
        self.static = -(-self.static // int(align)) * int(align)
        self.symbols[name] = str(self.static)
        self.static += int(size)

    def _line(self, rest: str, number: int) -> list[str]:
        out = []
        while rest := rest.strip():
            if rest[0] == "{" and not re.match(r"\{[^;]*\},", rest):
                out.append("{")
                self.registers.append({})
                rest = rest[1:]
            elif rest[0] == "}":
                out.append("}")
                if len(self.registers) > 1:
                    self.registers.pop()
                rest = rest[1:]
            elif found := re.match(r"([\$\w]+):", rest):
                out.append(self.label(found[1]) + ":;")
                rest = rest[found.end() :]
            else:
                statement, _, rest = rest.partition(";")
                out += self._statement(statement.strip(), number)
        return out

    def _statement(self, statement: str, number: int) -> list[str]:
        if statement.startswith((".pragma", ".loc", ".file")):
            return []
        if found := re.match(r"\.reg\s+\.(\w+)\s+(.*)", statement):
            return [self._declare(found[1], found[2])]
        if statement.startswith("."):
            raise UnsupportedError(statement)
        guard = ""
        if found := re.match(r"@(!?%\w+)\s+(.*)", statement, re.DOTALL):
            guard, statement = f"if ({self.predicate(found[1])}) ", found[2]
        operation, _, operands = statement.partition(" ")
        place = self.counted.setdefault(operation, len(self.counted))
        code = self.translate(operation, split_operands(operands), number)
        return [f"CNT({place}) {guard}{{{code}}}"]

    def _declare(self, kind: str, names: str) -> str:
        kind = kind if kind == "pred" else f"b{kind[1:]}"
        declared = []
        for name in names.split(","):
            found = re.match(r"(%\w+)<(\d+)>", name.strip())
            declared += [f"{found[1]}{i}" for i in range(int(found[2]))] if found else [name.strip()]
        self.registers[-1] |= dict.fromkeys(declared, kind)
        return f"{C_TYPES[kind]} " + ", ".join(f"{self.name(name)} = 0" for name in declared) + ";"
