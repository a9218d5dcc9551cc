"""Check and measure the CUDA kernels on this machine's device: what `make gpu-check` runs.

python benchmarks/gpu_check.py            everything; writes benchmarks/results/<device>.json
python benchmarks/gpu_check.py --quick    little of everything; writes nothing

Without a device it says so and ends with 0; where a check fails, with 1.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
QUICK = {"sizes": (1, 513, 100_003), "large": 2**20 + 77, "repeats": 10, "levels": (1, 7, 127, 200)}
TRAINING_TESTS = ROOT / "tests" / "training" / "test_training_gpu.py"


@click.command()
@click.option("--quick", is_flag=True, help="Little of everything; write nothing.")
@click.option("--dim", type=int, default=2**26, show_default="2^26", help="Coordinates of the benchmark.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the results.")
def main(quick: bool, dim: int, out: Path) -> None:
    """Compare every kernel with the CPU, byte for byte, and measure."""
    from qsgd_lab.kernels.cuda.device import SIMULATED, has_device

    if SIMULATED or not has_device():
        click.echo("no CUDA device: nothing checked")
        return
    from qsgd_lab.bench.device_suite import measure_device
    from qsgd_lab.files import write_atomically
    from qsgd_lab.gpu_check.cases import Scope, run_check
    from qsgd_lab.gpu_check.checks import CHECKS
    from qsgd_lab.gpu_check.results import as_json, device_facts, file_name, versions
    from qsgd_lab.gpu_check.sanitizer import sanitize

    device = device_facts()
    scope = Scope(**QUICK) if quick else Scope()  # type: ignore[arg-type]
    outcomes = []
    for number, (name, check) in enumerate(CHECKS, 1):
        begun = time.monotonic()
        outcomes.append(run_check(name, check, scope))
        verdict = outcomes[-1].failure or f"{outcomes[-1].comparisons} comparisons agree"
        click.echo(f"[{number}/{len(CHECKS)}] {name}: {verdict} ({time.monotonic() - begun:.0f} s)", err=True)
    tools = {} if quick else sanitize()
    for tool, said in tools.items():
        click.echo(f"{tool}: {said}", err=True)
    figures = []
    for figure in measure_device(2**22 if quick else dim, 5 if quick else 20):
        figures.append(figure)
        s = "" if figure.num_levels is None else f", s = {figure.num_levels}"
        rate = figure.bytes_moved / figure.seconds / 1e9
        click.echo(
            f"{figure.name}: {figure.operation}{s}: {1e6 * figure.seconds:.1f} us, {rate:.0f} GB/s, "
            f"{100 * figure.copy_fraction:.0f} % of the copy's rate"
        )
    training_failed = not quick and _training_tests() != 0
    failed = [outcome for outcome in outcomes if outcome.failure]
    unclean = [tool for tool, said in tools.items() if said != "clean" and "not installed" not in said]
    if not quick:
        out.mkdir(parents=True, exist_ok=True)
        today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        path = out / file_name(device["name"])
        write_atomically(path, as_json(device, versions(), today, outcomes, tools, figures))
        click.echo(f"wrote {path}; next: python docs/scripts/make_gpu_page.py", err=True)
    if failed or unclean or training_failed:
        raise SystemExit(1)


def _training_tests() -> int:
    """Run the tests of training on a device, where they are; return pytest's exit code."""
    if not TRAINING_TESTS.exists():
        return 0
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(TRAINING_TESTS)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    main()
