"""Check and measure the CUDA kernels on this machine's device, in stages: what `make gpu-check` runs.

python benchmarks/gpu_check.py --minutes 10    all stages; each writes its own file at once
python benchmarks/gpu_check.py --dry           all stages without a device, on little

Files are in benchmarks/results/<device>/, with a summary.md; benchmarks/results/<device>.json, from which
docs/gpu.md is made, gathers them. Without a device it says so and ends with 0; where there is one that cannot
be used, or a stage fails, with 1.
"""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="For all stages."
)
@click.option("--dry", is_flag=True, help="Run all stages without a device.")
@click.option("--only", multiple=True, help="Only stages of this name.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Folder of the results.")
@click.option("--perform", default=None, hidden=True, help="Run one stage in this process.")
def main(minutes: float, dry: bool, only: tuple[str, ...], out: Path | None, perform: str | None) -> None:
    """Compare every kernel with the CPU, byte for byte, and measure."""
    if perform is not None:
        assert out is not None
        raise SystemExit(0 if _perform(perform, dry, out) else 1)
    if not dry:
        _require_device()
    from qsgd_lab.gpu_check.staged import FINE, run_stages
    from qsgd_lab.gpu_check.stages import STAGES

    device = "dry run" if dry else _device_name()
    results = out or (Path(tempfile.gettempdir()) / "qsgd-lab-gpu-check" if dry else RESULTS)
    folder = results / _slug(device)
    stages = [stage for stage in STAGES if not only or stage.name in only]
    if unknown := set(only) - {stage.name for stage in STAGES}:
        names = ", ".join(stage.name for stage in STAGES)
        raise click.UsageError(f"no stage {', '.join(sorted(unknown))}; there are {names}")
    env = dict(os.environ) | ({"NUMBA_ENABLE_CUDASIM": "1"} if dry else {})
    flags = ["--dry"] if dry else []
    script = str(Path(__file__).resolve())
    records = run_stages(
        lambda stage: [sys.executable, script, "--perform", stage.name, "--out", str(folder), *flags],
        folder,
        minutes,
        lambda line: click.echo(line, err=True),
        env,
        stages,
    )
    click.echo(f"wrote {folder}/summary.md", err=True)
    if not dry:
        _gather(records, results)
    if any(record["status"] != FINE for record in records):
        raise SystemExit(1)


def _perform(name: str, dry: bool, folder: Path) -> bool:
    if dry:
        _execute_compiled()
    from qsgd_lab.gpu_check.staged import perform
    from qsgd_lab.gpu_check.stages import STAGES, extent

    return perform(next(stage for stage in STAGES if stage.name == name), extent(dry), folder)


def _execute_compiled() -> None:
    """Let a dry run execute compiled kernels, where QSGD_LAB_PTX=1 asks for it."""
    if os.environ.get("QSGD_LAB_PTX") == "1":
        sys.path[:0] = [str(ROOT / "tests" / "ptx")]
        import simulated

        simulated.LAUNCHES.install()


def _require_device() -> None:
    """End with 0 where there is no device, and with 1 where there is one that kernels cannot use."""
    from qsgd_lab.gpu_check.diagnosis import look

    found = look()
    if found.state == "ready":
        return
    import torch

    if found.state in ("no driver", "no device") and not torch.cuda.is_available():
        click.echo(f"no CUDA device: nothing checked ({found.said})")
        raise SystemExit(0)
    click.echo(f"Error: {found.state}: {found.said}", err=True)
    raise SystemExit(1)


def _device_name() -> str:
    from qsgd_lab.gpu_check.results import device_facts

    return str(device_facts()["name"])


def _slug(device: str) -> str:
    from qsgd_lab.gpu_check.results import file_name

    return file_name(device).removesuffix(".json")


def _gather(records: list[dict], results: Path) -> None:
    """Write the file from which docs/gpu.md is made."""
    from qsgd_lab.files import write_atomically
    from qsgd_lab.gpu_check.results import file_name, gathered

    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    content, device = gathered(records, today)
    path = results / file_name(device)
    write_atomically(path, content)
    click.echo(f"wrote {path}; next: python docs/scripts/make_gpu_page.py", err=True)


if __name__ == "__main__":
    main()
