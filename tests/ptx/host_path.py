"""What the host does for a call on a device, by a stand-in driver: processor time, and what is asked for.

python tests/ptx/host_path.py      a line a call: microseconds (least of several), launches, copies, waits

Numba's own host code runs; kernels are compiled and not launched. It ends with 1 where a call waits or copies
anything, or takes more than eight launches.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = ("launches", "to_device", "to_host", "waits", "allocations")
CALLS, TRIES = 50, 7
MOST_LAUNCHES = 8


def measured() -> dict[str, dict[str, float]]:
    """Return what a process with the stand-in driver says; needed are gcc and NVVM."""
    with tempfile.TemporaryDirectory() as folder:
        driver = Path(folder, "libcuda.so.1")
        options = ["-shared", "-fPIC", "-w", "-O1", "-x", "c"]
        subprocess.run(["gcc", *options, str(HERE / "driver.c"), "-o", str(driver)], check=True)
        env = {
            **{name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"},
            "NUMBA_CUDA_DRIVER": str(driver),
            "NUMBA_CACHE_DIR": folder,  # what a stand-in links is no program, and must not be kept
        }
        command = [sys.executable, str(HERE / "host_path.py")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return json.loads(done.stdout.splitlines()[-1])


def calls():
    """Return name -> a call without arguments, on arrays of the device."""
    import numpy as np
    from numba import cuda

    import qsgd_lab as ql
    from qsgd_lab.compressors import QSGD
    from qsgd_lab.compressors.protocol import Layout, NodeRows
    from qsgd_lab.ledger import Ledger
    from qsgd_lab.stream import Stream

    sizes, nodes = (2**16, 300, 2**15), 2
    n = sum(sizes)
    x = cuda.to_device(np.zeros(n, np.float32))
    rows, residuals = (cuda.to_device(np.zeros((nodes, n), np.float32)) for _ in range(2))
    mean, ledger = cuda.to_device(np.zeros(n, np.float32)), Ledger()
    compressor = QSGD(levels=7, bucket_size=512, backend="cuda")
    state, stream = compressor.init_nodes(nodes, Layout.of(n, sizes)), Stream(3)
    q = ql.quantize(x, levels=7, bucket_size=512, tensor_sizes=sizes)
    scheme = {"levels": 7, "bucket_size": 512, "tensor_sizes": sizes}
    return {
        "quantize": lambda: ql.quantize(x, **scheme),
        "dequantize": lambda: ql.dequantize(q),
        "quantize_and_encode": lambda: ql.quantize_and_encode(x, layout="fixed", **scheme),
        "mean": lambda: compressor.mean(NodeRows(rows, residuals), state, stream, mean, ledger),
    }


def measure() -> None:
    """Measure each call, and write what was found."""
    driver = ctypes.CDLL(os.environ["NUMBA_CUDA_DRIVER"])
    found, counts = {}, (ctypes.c_long * len(KINDS))()
    for name, call in calls().items():
        call()
        driver.stand_in_counts(counts)
        call()
        driver.stand_in_counts(counts)
        asked = dict(zip(KINDS, counts, strict=True))
        times = []
        for _ in range(TRIES):
            begun = time.thread_time()
            for _ in range(CALLS):
                call()
            times.append((time.thread_time() - begun) / CALLS * 1e6)
        found[name] = {"microseconds": round(min(times), 1), **asked}
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> int:
    """Tell what was found; return 1 if a call asks for what it should not."""
    found = measured()
    for name, call in found.items():
        sys.stdout.write(f"{name}: {', '.join(f'{what} {number}' for what, number in call.items())}\n")
    asked = [
        (call["launches"] > MOST_LAUNCHES, *(call[kind] for kind in KINDS[1:4])) for call in found.values()
    ]
    return int(any(map(any, asked)))


if __name__ == "__main__":
    if "NUMBA_CUDA_DRIVER" in os.environ:
        measure()
    else:
        sys.exit(main())
