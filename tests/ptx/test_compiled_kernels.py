"""The CUDA kernels as compiled code, executed on the CPU: the CPU kernels' bits, and no wrong access."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

import checkout
import executor
import ptx_compiler
import pytest

#: Files of tests/cuda in a process each; those of a group share what they compile.
GROUPS = [
    (
        *(
            "test_quantize_cuda.py",
            "test_pack_cuda.py",
            "test_accumulate_cuda.py",
            "test_device_arrays_cuda.py",
        ),
        *("test_whole_rows_cuda.py", "test_streams_cuda.py"),
        *("test_rotated_cuda.py", "test_block_integers_cuda.py"),
    ),
    (
        "test_codec_cuda.py",
        "test_codec_safety_cuda.py",
        "test_dense_chunks_cuda.py",
        "test_gpu_check_cuda.py",
    ),
]
#: A few faults, of which so many at least must be seen: some barriers are redundant, some changes harmless.
FAULTS, SEEN = 9, 6


@pytest.fixture(autouse=True)
def able():
    """Skip, and say why, where kernels cannot be compiled or executed."""
    ptx_compiler.require_toolkit()
    if why := executor.why_not():
        pytest.skip(why)


def test_every_file_is_run():
    """The groups name each file of tests/cuda."""
    files = {path.name for path in (checkout.ROOT / "tests" / "cuda").glob("test_*.py")}

    assert {name for group in GROUPS for name in group} == files


def run(*command):
    """Return what a Python process said, after asserting that it ended well."""
    result = subprocess.run(
        [sys.executable, *command],
        cwd=checkout.ROOT,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "QSGD_LAB_PTX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("files", GROUPS, ids=lambda files: files[0])
def test_the_laws_of_the_simulator_hold_of_compiled_code(files):
    """Every test of tests/cuda holds where launches run compiled code, in random order."""
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/cuda/{name}" for name in files))


@cache
def compared():
    """Return what compare.py told."""
    return [json.loads(line) for line in run("tests/ptx/compare.py").splitlines()]


def test_compiled_code_gives_the_bits_of_the_cpu():
    """At least 300 arrays are equal, byte for byte, some of them under preemption without a race."""
    checks = [line for line in compared() if "check" in line]

    assert {line["failure"] for line in checks} == {None}
    assert sum(line["comparisons"] for line in checks) >= 300
    assert {line["schedule"] for line in checks} == {"random", "races"}


def test_every_kernel_is_executed():
    """The checks launch each kernel of the package."""
    import ptx_codec_signatures
    import ptx_signatures

    names = {*ptx_signatures.quantizer_kernels(), *ptx_codec_signatures.codec_kernels()}
    assert set(compared()[-1]["launches"]) == {name.partition("-")[0] for name in names}


def test_faults_are_seen():
    """Sound kernels pass; removed barriers and changed instructions show as errors or other bits."""
    tried = [line for line in compared() if "fault" in line]
    seen = [line for line in tried if line["fault"] and line["seen"] != "not seen"]

    assert {line["seen"] for line in tried if line["fault"] is None} == {"not seen"}
    assert sum(line["fault"] is not None for line in tried) == FAULTS
    assert len(seen) >= SEEN
