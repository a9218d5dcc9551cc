"""Where NVVM is: what compiles CUDA kernels, in any of the layouts in which a toolkit is installed.

Numba looks for it in CUDA_HOME and /usr/local/cuda, at nvvm/lib64. Toolkits from pip packages keep it in
lib/; a temporary folder of links then gives Numba what it expects. No driver is touched.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np


def candidate_homes() -> list[Path]:
    """Return the folders in which a toolkit may be, the ones named by the user first."""
    named = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda", "/opt/cuda"]
    nvcc = shutil.which("nvcc")
    beside_nvcc = [Path(nvcc).resolve().parent.parent] if nvcc else []
    packages = [path / "nvidia" for path in map(Path, sys.path) if (path / "nvidia").is_dir()]
    pip = [home for root in packages for home in (*root.glob("cu[0-9]*"), root / "cuda_nvcc", root / "nvvm")]
    return [*(Path(name) for name in named if name), *beside_nvcc, *pip]


@cache
def toolkit() -> Path | None:
    """Return a folder laid out as Numba expects, with NVVM in it; None if there is no NVVM."""
    for home in candidate_homes():
        libdevice = list(home.glob("nvvm/libdevice/libdevice*.bc"))
        if libdevice and list(home.glob("nvvm/lib64/libnvvm.so*")):
            return home
        libraries = list(home.glob("lib*/libnvvm.so*"))
        if libdevice and libraries:
            links = Path(tempfile.mkdtemp(prefix="cuda-toolkit-"))
            atexit.register(shutil.rmtree, links, ignore_errors=True)
            (links / "nvvm").mkdir()
            (links / "nvvm" / "lib64").symlink_to(libraries[0].parent)
            (links / "nvvm" / "libdevice").symlink_to(libdevice[0].parent)
            (links / "lib64").symlink_to(libraries[0].parent)
            return links
    return None


def show_toolkit_to_numba() -> bool:
    """Set CUDA_HOME where Numba would not find NVVM by itself; return whether there is one."""
    home = toolkit()
    if home is not None:
        os.environ["CUDA_HOME"] = str(home)
    return home is not None


def load_numba_cuda() -> bool:
    """Load numba-cuda's array functions with NumPy 2.5, which has no ``row_stack``; return whether it did.

    numba-cuda 0.30 names that function when it first compiles a kernel, and then none compiles. It is there
    while the module is loaded, and not afterwards. Numba's own target has no such module.
    """
    if hasattr(np, "row_stack") or importlib.util.find_spec("numba.cuda.np") is None:
        return False
    np.row_stack = np.vstack  # type: ignore[attr-defined]  # noqa: NPY201
    try:
        importlib.import_module("numba.cuda.np.arrayobj")
    finally:
        del np.row_stack  # type: ignore[attr-defined]  # noqa: NPY201
    return True
