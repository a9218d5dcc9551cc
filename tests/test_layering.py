"""The arrows of docs/architecture.md: which package may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import checkout
import pytest

SOURCES = checkout.sources()

#: Arrows go down, and a package may also import what its arrows reach. "top" is the files at the top of
#: qsgd_lab, such as errors.py: they import only each other, and everybody may import them.
MAY_IMPORT = {
    "top": [],
    "kernels": [],
    "quantization": ["kernels"],
    "wire": ["kernels", "quantization"],
    "coding": ["wire"],
    "compressors": ["coding", "quantization", "wire"],
    "exchange": ["compressors"],
    "distributed": ["exchange", "theory"],  # costs of collectives are formulas
    "algorithms": ["exchange", "theory"],  # the schedules of rounds are formulas
    "models": [],
    "data": [],
    "runs": [],
    "training": ["algorithms", "distributed", "models", "data", "runs"],
    "problems": ["algorithms", "theory.checks", "data", "runs"],
    "suite": ["problems", "report", "training"],
    "report": ["runs", "theory", "compressors", "data"],  # the names of rows, and of data sets
    "stored_runs": ["report"],  # `load_runs`: a store, and its columns
    "theory": [],
    "theory.checks": ["theory", "coding", "quantization", "algorithms"],
    "bench": ["compressors", "models", "kernels"],  # models: a training step is what agreeing is set against
    "link_lab": ["distributed", "models", "data", "theory"],
    "gpu_check": ["bench"],
    "cli": ["training", "distributed", "report", "theory.checks", "gpu_check", "suite", "link_lab"],
    "__main__": ["cli"],
}
#: The packages beside the store know a run's configuration and its record, and nothing else of it.
RUNS_CONTRACT = {"qsgd_lab.runs.config", "qsgd_lab.runs.record", "qsgd_lab.runs.problem_record"}
BESIDE_THE_STORE = {"training", "report"}

TORCH_PACKAGES = {
    "distributed",
    "link_lab",
    "models",
    "data",
    "training",
    "algorithms",
    "problems",
    "suite",
    "bench",
    "gpu_check",
}
FORMULAS_MAY_USE = {"numpy", "scipy"}


class Import(NamedTuple):
    """One imported module, and whether the import is at a module's top."""

    target: str
    at_top: bool


def imports(path: Path) -> list[Import]:
    """Return what a file imports, imports for type checkers left out."""
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), at_top=True))


def _imports(node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, at_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Import(_imported(child, alias.name), at_top) for alias in child.names)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _imports(child, at_top=at_top and not is_function)


def _imported(node: ast.ImportFrom, name: str) -> str:
    module = "." * node.level + (node.module or "")
    submodule = f"{module}.{name}"
    return submodule if submodule in SOURCES or submodule == "numba.cuda" else module


def package_of(module: str) -> str | None:
    """Return the package that a module is in; None for qsgd_lab itself."""
    parts = module.split(".")[1:]
    if not parts:
        return None
    if parts[:2] == ["theory", "checks"]:
        return "theory.checks"
    is_file_at_top = SOURCES[f"qsgd_lab.{parts[0]}"].name != "__init__.py"
    has_own_arrows = parts[0] in {"quantization", "stored_runs", "__main__"}
    return "top" if is_file_at_top and not has_own_arrows else parts[0]


def reachable(start: str) -> set[str]:
    """Return the packages that `start` may import."""
    packages = {start, "top"}
    for below in MAY_IMPORT[start]:
        packages |= reachable(below)
    return packages


@cache  # and not at the import, which every process of a parallel run does
def imports_of_modules() -> dict[str, list[Import]]:
    """Return the imports of each module that is in a package."""
    return {module: imports(path) for module, path in SOURCES.items() if package_of(module) is not None}


def test_imports_follow_the_arrows():
    """A package imports only those that its arrows reach; a new package is entered here first."""
    assert {package_of(module) for module in imports_of_modules()} <= set(MAY_IMPORT)

    against = [
        f"{module} -> {target}"
        for module, imported in imports_of_modules().items()
        for target, _ in imported
        if target in imports_of_modules() and package_of(target) not in reachable(package_of(module))
    ]
    assert against == []


def test_only_the_command_line_knows_the_store():
    """Training and report see a run's configuration and record, never the store."""
    against = [
        f"{module} -> {target}"
        for module, imported in imports_of_modules().items()
        for target, _ in imported
        if package_of(module) in BESIDE_THE_STORE and target.startswith("qsgd_lab.runs")
        if target not in RUNS_CONTRACT
    ]
    assert against == []


def test_imports_of_the_package_are_absolute():
    """No import is relative, and none names the folders cli and theory by themselves."""
    against = [
        f"{module} -> {target}"
        for module, imported in imports_of_modules().items()
        for target, _ in imported
        if target.split(".")[0] in {"", "cli", "theory"}
    ]
    assert against == []


def test_torch_stays_in_its_packages():
    """Only models, data, training and algorithms import torch, and commands inside their functions."""
    against = [
        f"{module} -> {target}"
        for module, imported in imports_of_modules().items()
        for target, at_top in imported
        if target.split(".")[0] == "torch" and package_of(module) not in TORCH_PACKAGES
        if package_of(module) != "cli" or at_top
    ]
    assert against == []


def test_formulas_need_only_numpy_and_scipy():
    """The papers' formulas import numpy, scipy, the standard library and each other."""
    allowed = FORMULAS_MAY_USE | sys.stdlib_module_names | {"qsgd_lab"}
    against = [
        f"{module} -> {target}"
        for module, imported in imports_of_modules().items()
        for target, _ in imported
        if package_of(module) == "theory" and target.split(".")[0] not in allowed
    ]
    assert against == []


def test_numba_cuda_is_imported_only_under_kernels_cuda():
    """Only modules of kernels/cuda import numba.cuda, so that no GPU driver is touched by accident."""
    against = [
        f"{module} -> {target}"
        for module, imported in imports_of_modules().items()
        for target, _ in imported
        if target.startswith(("numba.cuda", "numba_cuda"))
        if not module.startswith("qsgd_lab.kernels.cuda.")
    ]
    assert against == []


def test_the_kernels_of_one_backend_import_none_of_the_other():
    """kernels/cpu and kernels/cuda share what is above them, and import nothing from each other."""
    cpu, cuda = "qsgd_lab.kernels.cpu", "qsgd_lab.kernels.cuda"
    against = [
        f"{module} -> {target}"
        for module, imported in imports_of_modules().items()
        for target, _ in imported
        if (module.startswith(cpu) and target.startswith(cuda))
        or (module.startswith(cuda) and target.startswith(cpu))
    ]
    assert against == []


def test_no_modules_import_each_other():
    """Imports have no circle, those in functions and those for type checkers included."""
    graph = {}
    for module, path in SOURCES.items():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        targets = {_imported(node, alias.name) for node in froms for alias in node.names}
        graph[module] = targets & set(SOURCES) - {"qsgd_lab"}

    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("module", ["qsgd_lab", "qsgd_lab.theory", "qsgd_lab.runs"])
def test_importing_loads_nothing_heavy(module, tmp_path):
    """Importing the package loads neither torch nor numba, which take seconds, nor the kernels' cache."""
    heavy = {"torch", "numba", "qsgd_lab.kernels.cache"}
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert result.stdout.split() == []


def test_an_import_against_the_arrows_is_seen(tmp_path):
    """The reader of imports sees those in functions and classes, and skips those for type checkers."""
    path = tmp_path / "example.py"
    path.write_text(
        "from numba import cuda\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "def f():\n    import scipy.stats\n    from qsgd_lab import errors\n"
        "class C:\n    from . import sibling\n"
    )

    assert imports(path) == [
        Import("numba.cuda", at_top=True),
        Import("scipy.stats", at_top=False),
        Import("qsgd_lab.errors", at_top=False),
        Import(".", at_top=True),
    ]
