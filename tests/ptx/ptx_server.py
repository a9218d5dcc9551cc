"""Compiles kernels to PTX in a process of its own, without the simulator: a request a line, an answer a line.

A request is {"module", "name", "args"}; an answer {"ptx", "needs": {"registers", "shared"}} or {"error"}. Any
interpreter that has Numba runs it: with numba-cuda it is that target's code, as its linker leaves it.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT)]


def type_of(description):
    """Return the Numba type that simulated.py described."""
    from numba import types

    kind, content = description[0], description[1]
    if kind == "array":
        return types.Array(getattr(types, content), description[2], "C")
    if kind == "number":
        return getattr(types, content)
    return types.BaseTuple.from_types([type_of(part) for part in content])


def compiled(request):
    """Return the PTX of a kernel, and what ptxas says that it needs."""
    import ptx_compiler
    from numba import types

    kernel = getattr(importlib.import_module(request["module"]), request["name"])
    signature = types.void(*[type_of(arg) for arg in request["args"]])
    ptx = ptx_compiler.ptx_of(kernel, signature, (9, 0))
    used = ptx_compiler.resources(ptx, (9, 0))
    return {"ptx": ptx, "needs": {} if used is None else {"registers": used.registers, "shared": used.shared}}


def main():
    """Answer until stdin ends."""
    for line in sys.stdin:
        try:
            answer = compiled(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
