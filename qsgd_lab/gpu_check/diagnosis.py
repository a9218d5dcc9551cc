"""Why kernels cannot run on this machine: no driver, no device, no NVVM, or a driver that is too old.

Each of these looks the same from Numba. The driver's library is asked directly.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

NVVM_REMEDY = "install one: pip install 'qsgd-lab[cuda]' or nvidia-nvvm, or set CUDA_HOME to a toolkit"
#: PTX 8.x is that of CUDA 12: 8.5 of 12.5 and 12.6, and from then on one behind.
FIRST_PTX_OF_CUDA_13 = (9, 0)


class Driver(NamedTuple):
    """What the driver says: the CUDA version that it supports, (0, 0) without one; number of devices."""

    version: tuple[int, int]
    devices: int


class Diagnosis(NamedTuple):
    """What was found.

    Attributes
    ----------
    state : {"ready", "no driver", "no device", "no NVVM", "old driver"}
    said : str
        One line: what is wrong, and what helps.
    """

    state: str
    said: str


def ask_driver(open_library: Callable[[str], Any] = ctypes.CDLL) -> Driver:
    """Return what the driver says, without making a context."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library = open_library(name)
    except OSError:
        return Driver((0, 0), 0)
    version, devices = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(devices)) != 0:
        devices.value = 0
    return Driver((version.value // 1000, version.value % 1000 // 10), devices.value)


def cuda_of_ptx(version: tuple[int, int]) -> tuple[int, int]:
    """Return the oldest CUDA version whose driver reads PTX of a version.

    Examples
    --------
    >>> cuda_of_ptx((9, 0)), cuda_of_ptx((8, 4)), cuda_of_ptx((8, 7))
    ((13, 0), (12, 4), (12, 8))
    """
    major, minor = version
    if version >= FIRST_PTX_OF_CUDA_13:
        return major + 4, minor
    return major + 4, minor + (1 if minor > 5 else 0)


def diagnose(driver: Driver, has_nvvm: bool, ptx: tuple[int, int] | None) -> Diagnosis:
    """Return what is wrong, given the driver, and the version of the PTX that NVVM writes, if any."""
    if driver.version == (0, 0):
        return Diagnosis("no driver", "no NVIDIA driver (libcuda.so.1): install it, or use the CPU")
    if driver.devices == 0:
        return Diagnosis("no device", "the NVIDIA driver sees no device: see nvidia-smi")
    if not has_nvvm:
        return Diagnosis("no NVVM", f"there is a device, but no NVVM, which compiles kernels: {NVVM_REMEDY}")
    if ptx is not None and cuda_of_ptx(ptx) > driver.version:
        needed, known = ".".join(map(str, cuda_of_ptx(ptx))), ".".join(map(str, driver.version))
        return Diagnosis(
            "old driver",
            f"NVVM writes PTX of CUDA {needed}, the driver reads up to CUDA {known}: install a newer driver, "
            f"or nvidia-nvvm=={known}.*",
        )
    return Diagnosis("ready", "a device, a driver and NVVM")


def look() -> Diagnosis:
    """Return the diagnosis of this machine."""
    from qsgd_lab.kernels.cuda.messages.message_frame import written_ptx
    from qsgd_lab.kernels.cuda.toolkit import toolkit

    driver, has_nvvm = ask_driver(), toolkit() is not None
    return diagnose(driver, has_nvvm, written_ptx() if driver.devices and has_nvvm else None)
