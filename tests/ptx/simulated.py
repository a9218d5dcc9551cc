"""Runs what Numba's simulator is asked to launch as compiled code.

The simulator's host code is used as it is. A launch compiles the kernel to PTX for its arguments' types,
in a process without the simulator (ptx_server.py), and executes that. Memory that is handed out uninitialised
holds random bytes. Every launch is held against the registers and the shared memory of a multiprocessor,
where ptxas is at hand.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from executor import Compiled, LaunchError, Schedule
from kept import kept, sources
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
from numba.cuda.simulator.kernel import FakeCUDAKernel

HERE = Path(__file__).resolve().parent
#: The interpreter whose numba.cuda compiles: this one's, or that of an environment with numba-cuda.
PYTHON = os.environ.get("QSGD_LAB_PTX_PYTHON", sys.executable)
REGISTERS, WARP_GRANULE, STATIC_LIMIT = 65536, 256, 49152

Types = list[Any]


def described(value: Any) -> Types:
    """Return an argument's type, as ptx_server.py reads it."""
    if isinstance(value, FakeCUDAArray):
        value = value._ary
    if isinstance(value, np.ndarray):
        return ["array", value.dtype.name, value.ndim]
    if isinstance(value, bool | np.bool_):
        return ["number", "boolean"]
    if isinstance(value, np.generic):
        return ["number", value.dtype.name]
    if isinstance(value, int | float):
        return ["number", "int64" if isinstance(value, int) else "float64"]
    return ["tuple", [described(part) for part in value]]


def unwrapped(value: Any) -> Any:
    """Return an argument with NumPy arrays in place of the simulator's."""
    if isinstance(value, FakeCUDAArray):
        return value._ary
    return tuple(unwrapped(part) for part in value) if isinstance(value, tuple) else value


class CompiledLaunches:
    """The kernels that have been launched, compiled; install one in a process with the simulator on.

    Attributes
    ----------
    schedule : Schedule
        Of the next launch; its seed changes from launch to launch.
    launches : Counter
        By kernel.
    latest : dict
        Kernel name -> what was compiled for the types of its latest launch.
    replaced : dict
        Kernel name -> what is run in its place: how faults are injected.
    """

    def __init__(self) -> None:
        self.schedule = Schedule(seed=1, blockorder=1)
        self.launches: collections.Counter[str] = collections.Counter()
        self.compiled: dict[str, tuple[Compiled, dict[str, int]]] = {}
        self.latest: dict[str, Compiled] = {}
        self.replaced: dict[str, Compiled] = {}
        self._server: subprocess.Popen[str] | None = None

    def install(self) -> None:
        """Let launches run compiled code, and fill memory that is handed out with random bytes."""
        python_call = FakeCUDAKernel.__call__

        def call(kernel: Any, *args: Any) -> None:
            if kernel._device or not kernel.fn.__module__.startswith("qsgd_lab"):
                python_call(kernel, *args)
            else:
                self.launch(kernel, args)

        FakeCUDAKernel.__call__ = call
        self._poison()

    def launch(self, kernel: Any, args: tuple[Any, ...]) -> None:
        """Run a kernel as the simulator's host code launches it."""
        name = kernel.fn.__name__
        compiled, needs = self.kernel(kernel.fn.__module__, name, args)
        grid, block = int(np.prod(kernel.grid_dim)), int(np.prod(kernel.block_dim))
        shared = int(kernel.dynshared_size)
        self.launches[name] += 1
        self.latest[name] = compiled
        _check_space(name, block, shared, needs)
        if self.schedule.seed:
            seed = self.schedule.seed * 6364136223846793005 % 2**61 + 1
            self.schedule = dataclasses.replace(self.schedule, seed=seed)
        try:
            run = self.replaced.get(name, compiled)
            run.launch(grid, block, tuple(unwrapped(arg) for arg in args), shared, self.schedule)
        except LaunchError as error:
            raise LaunchError(f"{name}[{grid}, {block}]: {error}") from None

    def kernel(self, module: str, name: str, args: tuple[Any, ...]) -> tuple[Compiled, dict[str, int]]:
        """Return a kernel compiled for the types of arguments, and what ptxas says that it needs."""
        request = json.dumps({"module": module, "name": name, "args": [described(arg) for arg in args]})
        if request not in self.compiled:
            answer = self._ask(request)
            self.compiled[request] = Compiled(answer["ptx"]), answer["needs"]
        return self.compiled[request]

    def _ask(self, request: str) -> dict[str, Any]:
        answer: dict[str, Any] = kept(f"{PYTHON}\0{request}\0{sources()}", lambda: self._compile(request))
        return answer

    def _compile(self, request: str) -> dict[str, Any]:
        if self._server is None:
            env = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
            self._server = subprocess.Popen(
                [PYTHON, str(HERE / "ptx_server.py")], stdin=-1, stdout=-1, text=True, env=env
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(request + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline() or '{"error": "the compiler ended"}')
        if "error" in answer:
            raise LaunchError(f"not compiled: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the compiling process."""
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()
            self._server.wait()

    def _poison(self) -> None:
        from qsgd_lab.kernels.cuda.device import DeviceContext

        rng = np.random.default_rng(0)
        for method in ("empty", "scratch"):
            made = getattr(DeviceContext, method)

            def filled(context: Any, shape: Any, dtype: Any, made: Any = made) -> Any:
                array = made(context, shape, dtype)
                memory = unwrapped(array) if isinstance(array, FakeCUDAArray) else np.asarray(array)
                raw = memory.reshape(-1).view(np.uint8)
                raw[:] = rng.integers(0, 256, raw.size, dtype=np.uint8)
                return array

            setattr(DeviceContext, method, filled)


def _check_space(name: str, block: int, shared: int, needs: dict[str, int]) -> None:
    """Refuse a launch as a driver does, where a block does not fit."""
    warps = -(-block // 32)
    each = -(-32 * needs.get("registers", 0) // WARP_GRANULE) * WARP_GRANULE
    if warps * each > REGISTERS:
        raise LaunchError(f"{name}: out of resources: {warps} warps of {each} registers")
    if shared + needs.get("shared", 0) > STATIC_LIMIT:
        raise LaunchError(f"{name}: out of resources: {shared + needs['shared']} bytes of shared memory")


#: Those of this process.
LAUNCHES = CompiledLaunches()
