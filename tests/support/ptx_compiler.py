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

from qsgd_lab.kernels.cuda.toolkit import candidate_homes, show_toolkit_to_numba

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
    from numba import cuda

    ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=capability)
    return ptx


def assemble(ptx: str, capability: tuple[int, int]) -> Resources:
    """Return what ptxas says of the kernel in `ptx`; skip where there is no ptxas."""
    ptxas = shutil.which("ptxas") or next(
        (str(path) for home in candidate_homes() if (path := home / "bin" / "ptxas").exists()), None
    )
    if ptxas is None:
        pytest.skip("no ptxas")
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
