"""Compiled CUDA kernels on a CPU: PTX is translated to C++, compiled once, and launched with checks.

The C++ of a kernel is kept, by what it was made from, beside its PTX (kept.py). Needed are g++ and an x86-64
processor with FMA.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from kept import CACHE
from translate import Translation

HERE = Path(__file__).resolve().parent
FLAGS = [
    *("-std=c++17", "-fpermissive", "-w", "-mfma", "-ffp-contract=off", "-fwrapv"),
    *("-fno-strict-aliasing", "-fno-stack-protector", "-shared", "-fPIC"),
]


class LaunchError(Exception):
    """A launch that a device would refuse, or that did what no kernel may do."""


@dataclass(frozen=True)
class Schedule:
    """How threads take turns.

    Attributes
    ----------
    seed : int
        0 runs each thread to its next barrier, in order; else the order is random, and warps pause.
    preempt : int
        If k, one of k accesses to memory gives the turn away.
    race : int
        1 looks for unordered accesses.
    blockorder : int
        1 runs blocks in random order.
    """

    seed: int = 0
    preempt: int = 0
    race: int = 0
    blockorder: int = 0


class _Params(ctypes.Structure):
    _fields_ = [
        ("par", ctypes.c_void_p),
        ("ranges", ctypes.c_void_p),
        ("nranges", ctypes.c_int),
        ("gx", ctypes.c_int),
        ("bx", ctypes.c_int),
        ("dynshared", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("preempt", ctypes.c_int),
        ("race", ctypes.c_int),
        ("blockorder", ctypes.c_int),
        ("err", ctypes.c_char_p),
        ("errlen", ctypes.c_uint64),
        ("counts", ctypes.c_void_p),
        ("body", ctypes.c_void_p),
        ("static_shared", ctypes.c_uint64),
    ]


def why_not() -> str | None:
    """Return why kernels cannot be executed here, or None."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"compiled kernels are executed on x86-64 only, this is {platform.machine()}"
    if shutil.which("g++") is None:
        return "no g++: compiled kernels are not executed (Debian: apt-get install g++)"
    return None


def built(source: str, beside: str, options: list[str]) -> Path:
    """Return the shared library of a C++ source, which includes a file of this folder; compiled once."""
    included = (HERE / beside).read_text(encoding="utf-8")
    key = hashlib.sha256("\0".join([source, included, *options]).encode()).hexdigest()[:24]
    library = CACHE / f"{key}.so"
    if not library.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unique = CACHE / f"{key}.{os.getpid()}"
        unique.with_suffix(".cpp").write_text(source, encoding="utf-8")
        command = ["g++", *options, f"-I{HERE}", str(unique.with_suffix(".cpp")), "-o", str(unique)]
        subprocess.run(command, check=True)
        unique.with_suffix(".cpp").unlink()
        unique.replace(library)  # at once, so that another process never loads a part
    return library


@cache
def runtime() -> ctypes.CDLL:
    """Return the runtime, compiled."""
    source = (HERE / "runtime.cpp").read_text(encoding="utf-8")
    library = ctypes.CDLL(str(built(source, "kernel.h", [*FLAGS, "-O2"])))
    library.ptx_launch.argtypes = [ctypes.POINTER(_Params)]
    return library


class Compiled:
    """A kernel made executable.

    Parameters
    ----------
    ptx : str
        A module of one kernel.
    counting : bool
        Count instructions, in `counts`.
    """

    def __init__(self, ptx: str, counting: bool = False) -> None:
        self.ptx, self.translation = ptx, Translation(ptx)
        options = [*FLAGS, *(["-DPROFILE"] if counting else [])]
        library = built(self.translation.source, "kernel.h", [*options, "-O1"])
        self._body = ctypes.cast(ctypes.CDLL(str(library)).kernel_body, ctypes.c_void_p)
        self.counts = dict.fromkeys(self.translation.counted, 0)

    def launch(
        self, grid: int, block: int, args: tuple[Any, ...], shared: int = 0, schedule: Schedule | None = None
    ) -> None:
        """Run the kernel; NumPy arrays, NumPy numbers and tuples of both are what it may be given.

        Raises
        ------
        LaunchError
            With the line of the PTX, the block and the thread.
        """
        values: list[int] = []
        ranges: list[int] = []
        flatten(args, values, ranges)
        if len(values) != len(self.translation.parameters):
            raise LaunchError(f"{len(values)} parameters for {self.translation.parameters}")
        packed = (ctypes.c_uint64 * max(1, len(values)))(*[value & (2**64 - 1) for value in values])
        bounds = (ctypes.c_uint64 * max(2, len(ranges)))(*ranges)
        counts = (ctypes.c_uint64 * max(1, len(self.counts)))()
        error = ctypes.create_string_buffer(400)
        params = _Params(
            par=ctypes.addressof(packed),
            ranges=ctypes.addressof(bounds),
            nranges=len(ranges) // 2,
            gx=grid,
            bx=block,
            dynshared=shared,
            err=ctypes.cast(error, ctypes.c_char_p),
            errlen=len(error),
            counts=ctypes.addressof(counts),
            body=self._body,
            static_shared=self.translation.static,
            **asdict(schedule or Schedule()),
        )
        failed = runtime().ptx_launch(ctypes.byref(params))
        for operation, place in self.translation.counted.items():
            self.counts[operation] += counts[place]
        if failed:
            raise LaunchError(error.value.decode())


def flatten(value: Any, values: list[int], ranges: list[int]) -> None:
    """Append what a kernel's parameters hold for an argument, and the memory it may touch."""
    if isinstance(value, np.ndarray):
        if value.size and not value.flags.c_contiguous:
            raise LaunchError("an array that is not contiguous")
        values += [0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides]
        if value.size:
            ranges += [value.ctypes.data, value.ctypes.data + value.nbytes]
    elif isinstance(value, tuple):
        for part in value:
            flatten(part, values, ranges)
    elif isinstance(value, float | np.floating):
        number = np.asarray(value)
        values.append(int(number.view(f"u{number.itemsize}")))
    else:
        values.append(int(value))
