"""Compiling is announced, and warm-up does all of it."""

from __future__ import annotations

import subprocess
import sys
import types

import numba
import pytest

from qsgd_lab import compilation
from qsgd_lab.compilation import before_first_compilation


def kernel(module: str) -> object:
    """Return a function that Numba compiles at its first call, defined in a module of this name."""
    source = "def increment(x):\n    return x + 1\n"
    namespace = {"__name__": module}
    exec(compile(source, module, "exec"), namespace)
    function = namespace["increment"]
    assert isinstance(function, types.FunctionType)
    return numba.njit(cache=False, fastmath=False)(function)


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a test leaves behind."""
    monkeypatch.setattr(compilation, "_tell", [])


def test_the_first_compilation_of_the_lab_is_told() -> None:
    """It is told once, before the first kernel of the lab is compiled, and not for those of others."""
    told: list[str] = []
    before_first_compilation(lambda: told.append("too early"))
    before_first_compilation(lambda: told.append("now"))
    kernel("elsewhere")(1)  # type: ignore[operator]
    assert told == []
    for _ in range(2):
        ours = kernel("qsgd_lab.kernels.made_up")
        ours(1)  # type: ignore[operator]
        ours(2)  # type: ignore[operator]
    assert told == ["now"]


@pytest.mark.parametrize(("rank", "expected"), [(None, 1), ("0", 1), ("1", 0)])
def test_programs_are_told_by_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rank: str | None, expected: int
) -> None:
    """Where nobody else asked to be told, a warning says it: once, and by the first process of a machine."""
    monkeypatch.setattr(compilation, "_tell", [compilation._log])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    compilation.listen()
    for _ in range(2):
        kernel("qsgd_lab.kernels.made_up")(1)  # type: ignore[operator]
    assert [record.message for record in caplog.records if record.name == "qsgd_lab"] == [
        compilation.COMPILING
    ] * expected


COVERAGE = """
import importlib, pkgutil
from numba.core.dispatcher import Dispatcher
import qsgd_lab.kernels as kernels
import qsgd_lab.kernels.cpu as cpu
from qsgd_lab.compressors.warm_up import warm_up

list(warm_up())
for package in (kernels, cpu):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.ispkg or module.name.endswith(".reference"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            is_entry = isinstance(value, Dispatcher) and value.targetoptions.get("nogil")
            if is_entry and value.py_func.__module__ == module.name and not value.signatures:
                print(module.name, name)
"""


def test_warm_up_compiles_every_entry() -> None:
    """After warm-up every kernel that Python calls is compiled."""
    result = subprocess.run([sys.executable, "-c", COVERAGE], capture_output=True, text=True, check=True)
    assert result.stdout == ""
