"""Compiles CUDA kernels to PTX, and on to machine code, on a machine that has a toolkit but no device.

Numba asks the device for its compute capability when a kernel calls a device function; where there is no
device, a stand-in answers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from kept import kept, sources

from qsgd_lab.kernels.cuda.toolkit import candidate_homes, load_numba_cuda, show_toolkit_to_numba

CAPABILITIES = ((8, 0), (9, 0))


class Resources(NamedTuple):
    """What ptxas reports of a kernel: registers a thread, and bytes spilled, of stack, of shared memory."""

    registers: int
    spilled: int
    stack: int
    shared: int


class _NoDevice:
    compute_capability = CAPABILITIES[0]


def require_toolkit() -> None:
    """Skip the test where there is no NVVM, and let Numba find it where there is."""
    if not show_toolkit_to_numba():
        pytest.skip("no libnvvm: install a CUDA toolkit, or pip install nvidia-nvvm")
    import numba.cuda.dispatcher as dispatcher
    from numba import cuda

    if not cuda.is_available():
        dispatcher.get_current_device = lambda: _NoDevice


def compile_to_ptx(kernel, signature, capability: tuple[int, int]) -> str:
    """Return the PTX of a kernel (what ``cuda.jit`` returned) for a signature; skip without a toolkit."""
    require_toolkit()
    return ptx_of(kernel, signature, capability)


def ptx_of(kernel, signature, capability: tuple[int, int]) -> str:
    """Return the PTX that is run; with numba-cuda, what its linker makes of the kernel.

    Kernels of the package are kept on disk: tests of their PTX and of their execution need the same.
    """
    module = kernel.py_func.__module__
    if not module.startswith("qsgd_lab.kernels."):
        return _compiled(kernel, signature, capability)
    import numba
    from numba import cuda

    made_from = f"{numba.__version__} {cuda.__file__} {module}.{kernel.py_func.__qualname__}{signature} "

    def made(one: tuple[int, int]) -> str:
        return kept(f"{made_from}{one} {sources()}", lambda: _compiled(kernel, signature, one))

    found = made(capability)
    for other in CAPABILITIES:  # at little cost, while types and functions that it calls are at hand
        made(other)
    return found


def _compiled(kernel, signature, capability: tuple[int, int]) -> str:
    show_toolkit_to_numba()
    load_numba_cuda()
    import numba.cuda.dispatcher as dispatcher
    from numba import cuda

    if hasattr(dispatcher, "get_current_device") and not cuda.is_available():
        dispatcher.get_current_device = lambda: _NoDevice
    if "numba_cuda" in str(cuda.__file__):
        from cuda.core import Linker, LinkerOptions, ObjectCode

        code, _ = cuda.compile(
            kernel.py_func, signature, cc=capability, device=False, abi="numba", output="ltoir"
        )
        options = LinkerOptions(
            arch=f"sm_{capability[0]}{capability[1]}", link_time_optimization=True, ptx=True
        )
        linked = Linker(ObjectCode.from_ltoir(bytes(code)), options=options).link("ptx")
        return bytes(linked.code).decode().rstrip("\0")
    ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=capability)
    return ptx if isinstance(ptx, str) else bytes(ptx).decode()


def assemblers() -> list[str]:
    """Return where ptxas is: PTX of a newer NVVM may need another one than the first."""
    found = [shutil.which("ptxas"), *(str(home / "bin" / "ptxas") for home in candidate_homes())]
    return [path for path in dict.fromkeys(found) if path and Path(path).exists()]


def resources(ptx: str, capability: tuple[int, int]) -> Resources | None:
    """Return what ptxas says of the kernel in `ptx`, or None where none reads it."""
    try:
        return _assembled(ptx, capability)
    except (LookupError, subprocess.CalledProcessError):
        return None


def assemble(ptx: str, capability: tuple[int, int]) -> Resources:
    """Return what ptxas says of the kernel in `ptx`; skip where there is no ptxas."""
    if not assemblers():
        pytest.skip("no ptxas")
    return _assembled(ptx, capability)


def _assembled(ptx: str, capability: tuple[int, int]) -> Resources:
    *others, last = assemblers() or [None]
    if last is None:
        raise LookupError("no ptxas")

    def report() -> list[int]:
        for ptxas in others:
            try:
                return list(_report(ptxas, ptx, capability))
            except subprocess.CalledProcessError:
                continue  # it is older than the PTX
        return list(_report(last, ptx, capability))

    return Resources(*kept(f"{others} {last} {capability} {sources()} {ptx}", report))


def _report(ptxas: str, ptx: str, capability: tuple[int, int]) -> Resources:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        report = subprocess.run(
            [ptxas, "-v", f"-arch=sm_{capability[0]}{capability[1]}", str(source), "-o", str(source) + ".o"],
            capture_output=True,
            text=True,
            check=True,
        ).stderr

    def most(pattern: str) -> int:
        return max((int(number) for number in re.findall(pattern, report)), default=0)

    return Resources(
        most(r"Used (\d+) registers"),
        most(r"(\d+) bytes spill stores"),
        most(r"(\d+) bytes stack frame"),
        most(r"(\d+) bytes smem"),
    )
