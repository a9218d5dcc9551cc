"""The stages of a device check: each runs in a process of its own, and yields its findings one by one.

The order wastes no time of a device: what would fail first comes first, and whatever a stage finds
is on disk before the next finding is looked for. `Extent` says how much is tried, on a device or in a dry
run.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsgd_lab.gpu_check.cases import Scope, gradient, in_host_memory, run_checks
from qsgd_lab.gpu_check.checks import CHECKS
from qsgd_lab.gpu_check.staged import Stage

Finding = dict[str, Any]
SMALL = (1, 31, 513, 4097, 100_003)
SEEDS = 100


@dataclass(frozen=True)
class Extent:
    """How much the stages try.

    Attributes
    ----------
    is_dry : bool
        Without a device: in the simulator, where the processor's tensors count as the device's.
    small, wide : Scope
        Of the two stages of checks.
    coordinates : int
        Of the benchmark.
    calls : int
        Of quantize and encode on a side stream.
    """

    is_dry: bool
    small: Scope
    wide: Scope
    coordinates: int
    calls: int


def extent(is_dry: bool) -> Extent:
    """Return how much is tried on a device, or in a dry run."""
    if is_dry:
        small = Scope(sizes=(300,), large=520, repeats=2, levels=(7,), device="cpu")
        wide = Scope(sizes=(33,), large=64, repeats=2, levels=(200,), device="cpu")
        return Extent(True, small, wide, 520, 2)
    return Extent(
        False,
        Scope(sizes=SMALL[:-1], large=2**20 + 77, repeats=10, levels=(1, 3, 7, 127, 200)),
        Scope(sizes=(*SMALL, 10**6), large=2**26 + 77, repeats=8, levels=tuple(range(1, 256, 4))),
        2**28,
        SEEDS,
    )


def find_versions(how: Extent) -> Iterator[Finding]:
    """Say what the machine has, and whether a kernel compiles."""
    from qsgd_lab.gpu_check.diagnosis import ask_driver, look
    from qsgd_lab.gpu_check.results import device_facts, versions
    from qsgd_lab.kernels.cuda.messages.message_frame import written_ptx

    yield {"versions": versions()}
    if how.is_dry:
        yield {"device": {"name": "dry run"}}
        return
    yield {"diagnosis": look()._asdict(), "driver": ask_driver().version, "ptx": written_ptx()}
    yield {"device": device_facts()}


def run_first_kernel(how: Extent) -> Iterator[Finding]:
    """Quantize 513 coordinates: the first launch."""
    import torch

    from qsgd_lab.quantization import quantize

    x = gradient(513, 2)
    found = quantize(torch.from_numpy(x.copy()).to(how.small.device), levels=7, backend="cuda")
    same = bool((in_host_memory(found.levels) == quantize(x, levels=7).levels).all())
    yield {"equal": same, "failure": None if same else "levels differ from the CPU's"}


def check_small(how: Extent) -> Iterator[Finding]:
    """Run every check, small."""
    for outcome in run_checks(CHECKS, how.small):
        yield {"outcome": dataclasses.asdict(outcome), "failure": outcome.failure}


def check_wide(how: Extent) -> Iterator[Finding]:
    """Run every check over 64 values of s to a million coordinates, and 2^26 eight times."""
    for outcome in run_checks(CHECKS, how.wide):
        yield {"outcome": dataclasses.asdict(outcome), "failure": outcome.failure}


def measure(how: Extent) -> Iterator[Finding]:
    """Measure against the copy; nothing is compiled by torch."""
    from qsgd_lab.bench.device_suite import measure_device

    def once(run: Callable[[], object], repeats: int) -> float:
        for _ in range(min(1, repeats)):
            run()
        return 1.0

    options: dict[str, Any] = {"device": "cpu", "timer": once} if how.is_dry else {}
    levels = (7,) if how.is_dry else (7, 127)
    for figure in measure_device(how.coordinates, 5, against_torch=False, levels=levels, **options):
        yield {"figure": dataclasses.asdict(figure)}


def sanitize_with(tool: str) -> Callable[[Extent], Iterator[Finding]]:
    """Return the stage of one of compute-sanitizer's tools."""

    def run(how: Extent) -> Iterator[Finding]:
        from qsgd_lab.gpu_check.sanitizer import sanitize

        said = {tool: "dry run: not run"} if how.is_dry else sanitize(tools=(tool,))
        bad = [one for one in said.values() if one != "clean" and "not " not in one]
        yield {"sanitizer": said, "failure": bad[0] if bad else None}

    return run


def compare_streams(how: Extent) -> Iterator[Finding]:
    """Quantize and encode on a side stream, again and again, against the default stream."""
    import torch

    from qsgd_lab.coding.encode import encode
    from qsgd_lab.quantization import quantize

    def message(x: Any, seed: int) -> Any:
        return encode(quantize(x, levels=7, seed=seed, backend="cuda"), "omega", "dense", backend="cuda")

    x = torch.from_numpy(gradient(100_003 if not how.is_dry else 300, 2)).to(how.small.device)
    unequal = []
    for seed in range(how.calls):
        expected = message(x, seed)
        if how.is_dry:
            found = message(x, seed)
        else:
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                found = message(x, seed)
            torch.cuda.current_stream().wait_stream(side)
        if not torch.equal(expected, found):
            unequal.append(seed)
    yield {"calls": how.calls, "failure": f"seeds {unequal} differ" if unequal else None}


def train(how: Extent) -> Iterator[Finding]:
    """Run the tests of training on a device."""
    tests = Path(__file__).resolve().parents[2] / "tests" / "training" / "test_training_gpu.py"
    if not tests.exists():
        yield {"tests": "not in this checkout: not run", "failure": None}
        return
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(tests)]
    if how.is_dry:
        command.append("--collect-only")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tests.parents[2])
    said = (done.stdout + done.stderr).strip().splitlines()[-1:]
    yield {"tests": said, "failure": None if done.returncode in (0, 5) else f"pytest: {said}"}


STAGES = (
    Stage("versions", 15, find_versions),
    Stage("first-kernel", 25, run_first_kernel),
    Stage("small-checks", 120, check_small),
    Stage("wide-checks", 110, check_wide),
    Stage("benchmark", 90, measure),
    Stage("memcheck", 60, sanitize_with("memcheck")),
    Stage("racecheck", 60, sanitize_with("racecheck")),
    Stage("streams", 40, compare_streams),
    Stage("training", 80, train),
)
