"""Style rules of this project that no linter checks."""

from __future__ import annotations

import ast
from functools import cache

import checkout

SOURCES = checkout.sources()
MAX_LINES = 400


@cache  # and not at the import, which every process of a parallel run does
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of every module."""
    return {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}


def name_of(node: ast.AST) -> str | None:
    """Return the last part of a dotted name, or None."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def unstated_jits(tree: ast.Module) -> list[int]:
    """Return the lines that use njit or jit without stating cache= and fastmath=."""
    stated = {
        id(call.func)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and {"cache", "fastmath"} <= {keyword.arg for keyword in call.keywords}
    }
    uses = [node for node in ast.walk(tree) if name_of(node) in {"njit", "jit"}]
    return sorted(node.lineno for node in uses if id(node) not in stated)


def test_every_jitted_function_states_cache_and_fastmath():
    """Each use of njit or jit states cache= and fastmath=: unbiasedness depends on both."""
    assert {module: unstated_jits(tree) for module, tree in trees().items() if unstated_jits(tree)} == {}


def test_an_unstated_jit_is_seen():
    """A bare decorator, a call without the options and an alias all count as unstated."""
    source = """
@njit
def f(): pass
@numba.njit(cache=True)
def g(): pass
fast = numba.jit
@njit(cache=True, fastmath=False)
def h(): pass
"""
    assert unstated_jits(ast.parse(source)) == [2, 4, 6]


def positional_reads(tree: ast.Module) -> list[str]:
    """Return the compiled functions that unpack a parameter by position, as in ``k0, k1 = key``."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        calls = [one.func for one in function.decorator_list if isinstance(one, ast.Call)]
        if not {name_of(call) for call in calls} & {"njit", "jit"}:
            continue
        parameters = {argument.arg for argument in function.args.args}
        for node in ast.walk(function):
            is_unpacked = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple | ast.List)
            if is_unpacked and isinstance(node.value, ast.Name) and node.value.id in parameters:
                found.append(f"{function.name}: {node.value.id}")
    return found


def test_kernels_read_their_arguments_by_name():
    """No kernel on the CPU unpacks a parameter by position: named tuples are read field by field."""
    kernels = {module: tree for module, tree in trees().items() if module.startswith("qsgd_lab.kernels.")}
    found = {module: positional_reads(tree) for module, tree in kernels.items()}
    assert {module: reads for module, reads in found.items() if reads and ".cuda" not in module} == {}


def test_a_positional_read_is_seen():
    """Unpacking a parameter counts in a compiled function, unpacking a call or a field does not."""
    source = """
@njit(cache=True, fastmath=False)
def f(list_, scratch):
    bits, rounds = list_
    y, words = scratch.y, scratch.words
    a, b = g(list_)
def h(list_):
    bits, rounds = list_
"""
    assert positional_reads(ast.parse(source)) == ["f: list_"]


def undocumented(tree: ast.Module) -> list[str]:
    """Return what is public in a module and has no docstring."""
    owners = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and is_public(node))]
    definitions = [
        node
        for owner in owners
        for node in owner.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and is_public(node)
    ]
    missing = [node.name for node in definitions if not ast.get_docstring(node)]
    return missing if ast.get_docstring(tree) else ["the module itself", *missing]


def is_public(node: ast.ClassDef | ast.FunctionDef) -> bool:
    """Return whether a definition is meant for others."""
    return not node.name.startswith("_")


def test_everything_public_has_a_docstring():
    """Every module, and every public class, method and function, says what it is."""
    assert {module: undocumented(tree) for module, tree in trees().items() if undocumented(tree)} == {}


def test_the_library_is_silent():
    """Outside the command line nothing calls print: stdout belongs to the library's callers."""
    calls = [
        f"{module}:{node.lineno}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert [call for call in calls if not call.startswith("qsgd_lab.cli.")] == []


def test_files_are_short():
    """No file has more than 400 lines, but the plain reader of a format."""
    others = [
        path
        for folder in ("tests", "benchmarks", "docs", "paper")
        for path in (checkout.ROOT / folder).rglob("*.py")
    ]
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*SOURCES.values(), *others]
    }

    assert [path.name for path, length in lengths.items() if length > MAX_LINES] in ([], ["naive_wire2.py"])
