"""``qsgd-lab reproduce``: plan a comparison, run what is missing, print its table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab.cli.bucket_size import BUCKET_SIZE
from qsgd_lab.cli.duration import DURATION, format_duration
from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.lists import BITS_LIST, NODES_LIST, SEEDS_LIST
from qsgd_lab.report import FORMATS
from qsgd_lab.training.presets import PRESETS, configurations, methods_of

if TYPE_CHECKING:
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.plan import Plan
    from qsgd_lab.runs.record import RunRecord
    from qsgd_lab.runs.store import RunStore
    from qsgd_lab.runs.sweep import SweepOutcome

WORKER = "qsgd_lab.training.run:run_training"
EMBEDDED_DATA = (
    "Data: scikit-learn's handwritten digits, embedded (1797 images enlarged to 32x32). "
    "This version does not train on CIFAR-10 yet."
)


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command()
@click.option(
    "--model", "models", multiple=True, default=("alexnet",), show_default=True, help="May be given again."
)
@click.option("--nodes", type=NODES_LIST, default="1,2,4,8", show_default=True, help="Node counts N.")
@click.option("--bits", type=BITS_LIST, help="Magnitude bits, such as 2,4,8 or 1..8.")
@click.option(
    "--rounding",
    "roundings",
    multiple=True,
    type=click.Choice(["stochastic", "nearest"]),
    help="May be given again.",
)
@click.option("--error-feedback/--no-error-feedback", default=None, help="With or without error feedback.")
@click.option("--seeds", type=SEEDS_LIST, help="Seeds, such as 0..2.  [default: the preset's]")
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), default="demo", show_default=True, help="The protocol."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of a run.  [default: the preset's]")
@click.option("--norm", type=click.Choice(["l2", "max"]), help="Norm of a bucket.  [default: the preset's]")
@click.option(
    "--bucket-size",
    type=BUCKET_SIZE,
    help="Coordinates that share a norm: a number, tensor or model.  [default: the preset's]",
)
@click.option(
    "--runs",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="The folder of the runs.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Processes side by side, a thread each.  [default: one a core]"
)
@click.option(
    "--save-gradients",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also save every node's gradient at three steps of the first epoch there, as .npy files.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--max-time", type=DURATION, help="Stop, resumably, after this time: 90s, 40m, 1h30m.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="Of the table (of the plan, with --dry-run: json or text).",
)
def reproduce(
    models: Sequence[str],
    nodes: Sequence[int],
    bits: Sequence[int] | None,
    roundings: Sequence[str],
    error_feedback: bool | None,
    seeds: Sequence[int] | None,
    preset: str,
    epochs: int | None,
    norm: str | None,
    bucket_size: int | str | None,
    folder: Path,
    jobs: int | None,
    save_gradients: Path | None,
    dry_run: bool,
    max_time: float | None,
    format_name: str,
) -> None:
    """Train a whole comparison and print its table.

    Trains the model on every number of nodes with every method and seed, quantizing each node's gradient
    before averaging. Without --bits, --rounding or --error-feedback the preset's own methods are compared;
    with any of them, their grid (what is not named: the preset's bits, stochastic rounding, with error
    feedback), always against fp32.

    Finished runs are kept and never repeated: a sweep that was stopped, or killed, goes on where it was when
    the same command is given again.

    \b
    Example:
      qsgd-lab reproduce --model alexnet --nodes 1,2,4,8
      qsgd-lab reproduce --bits 1..4 --no-error-feedback --seeds 0..4
      qsgd-lab reproduce --dry-run
    """
    from qsgd_lab.runs.plan import Plan
    from qsgd_lab.runs.store import RunStore

    protocol = PRESETS[preset]
    settings = {"epochs": epochs, "norm": norm, "bucket_size": bucket_size}
    with argument_errors():
        configs = configurations(
            preset,
            models,
            nodes,
            methods_of(protocol, bits, roundings, error_feedback),
            seeds or protocol.seeds,
            {name: value for name, value in settings.items() if value is not None},
        )
    store = RunStore(folder)
    plan = Plan.make(configs, store)
    jobs = jobs or usable_cores()
    if dry_run:
        _print_plan(plan, jobs, format_name)
        return
    _announce(plan, jobs)
    if save_gradients is not None:
        _save_gradients(configs[0], save_gradients)
    outcome, seconds = _sweep(plan, store, jobs, max_time)
    _finish(plan, store, outcome, seconds, format_name)


def _print_plan(plan: Plan, jobs: int, format_name: str) -> None:
    from qsgd_lab.cli.plan_output import as_json, as_text, fill_in

    def measure(config: RunConfig) -> float:
        from qsgd_lab.training.probe import probe_seconds

        return probe_seconds(config)

    if format_name not in ("text", "json"):
        raise click.UsageError(f"a plan is printed as text or json, not as {format_name}")
    eta_s = fill_in(plan, jobs, measure)
    write = as_json if format_name == "json" else as_text
    click.echo(write(plan, jobs, eta_s), nl=False)


def _announce(plan: Plan, jobs: int) -> None:
    from qsgd_lab.cli.plan_output import sentence
    from qsgd_lab.training.warnings import theory_warnings

    click.echo(EMBEDDED_DATA, err=True)
    for line in theory_warnings(plan.configs("missing", "stale")):
        click.echo(f"Warning: {line}.", err=True)
    click.echo(sentence(plan, jobs, plan.eta_s(jobs)), err=True)


def _save_gradients(config: RunConfig, folder: Path) -> None:
    from qsgd_lab.training.gradient_capture import capture_gradients

    paths = capture_gradients(config, folder)
    click.echo(f"Saved {len(paths)} gradients of {config.model}, {config.method}, in {folder}.", err=True)


def _sweep(plan: Plan, store: RunStore, jobs: int, max_time: float | None) -> tuple[SweepOutcome, float]:
    import time

    from qsgd_lab.cli.progress import display
    from qsgd_lab.runs.sweep import run_sweep

    start = time.monotonic()
    with display(plan.configs("missing", "stale", "running")) as shown:
        outcome = run_sweep(
            plan.configs(), store, jobs=jobs, worker=WORKER, on_event=shown.show, max_time_s=max_time
        )
    return outcome, time.monotonic() - start


def _finish(plan: Plan, store: RunStore, outcome: SweepOutcome, seconds: float, format_name: str) -> None:
    """Print the table on stdout and what happened on stderr; leave with the sweep's exit code."""
    from qsgd_lab.cli.progress import cell_name
    from qsgd_lab.report import render

    records = [record for config in plan.configs() if (record := store.record(config)) is not None]
    if outcome.stopped_by != "interrupt" and records:
        click.echo(render(records, format_name).encode(), nl=False)
    for failure in outcome.failed:
        where = store.error_log_path(failure.config)
        click.echo(f"Error: {cell_name(failure.config)}: {failure.reason} (see {where})", err=True)
    click.echo(_summary(outcome, records, seconds), err=True)
    if outcome.remaining:
        click.echo(f"{len(outcome.remaining)} runs remain; the same command goes on with them.", err=True)
    if outcome.exit_code:
        click.get_current_context().exit(outcome.exit_code)


def _summary(outcome: SweepOutcome, records: Sequence[RunRecord], seconds: float) -> str:
    here = f"{len(outcome.finished)} runs in {format_duration(seconds)}"
    earlier = f", {len(outcome.already_done)} were there already" if outcome.already_done else ""
    if not records:
        return f"{here}{earlier}."
    totals = {name: sum(r.timing[name] for r in records) for name in ("compute_s", "quantize_s", "total_s")}
    compute, quantize = (100 * totals[name] / totals["total_s"] for name in ("compute_s", "quantize_s"))
    return (
        f"{here}{earlier}. Of the runs' time, gradients took {compute:.0f} %, quantizing, averaging and "
        f"counting bits {quantize:.0f} %, the rest {100 - compute - quantize:.0f} %."
    )
