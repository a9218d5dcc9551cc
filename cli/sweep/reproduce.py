"""``qsgd-lab reproduce``: plan a comparison, run what is missing, print its table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab import plugins
from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options import completion
from qsgd_lab.cli.options.cluster import cluster_options
from qsgd_lab.cli.options.completion import one_of
from qsgd_lab.cli.options.lists import BITS_LIST, NODES_LIST, SEEDS_LIST
from qsgd_lab.cli.options.quantities import BUCKET_SIZE
from qsgd_lab.cli.options.stored_runs import check_takes_runs, runs_option, warn_of_damage
from qsgd_lab.cli.options.training import (
    PRESETS_HELP,
    RESIDUAL_UNITS,
    computing_options,
    flaws_asked_for,
    import_option,
    protocol_options,
    sweep_device,
)
from qsgd_lab.cli.standard_error import say
from qsgd_lab.cli.sweep.data_sets import data_folder, describe_data, require_data
from qsgd_lab.cli.sweep.outcome_output import print_outcome
from qsgd_lab.cli.sweep.ranks import check_options, refuse_idle_ranks, reproduce_on_ranks
from qsgd_lab.cli.sweep.theory_warnings import warn_of_theory
from qsgd_lab.data.registry import DATASETS
from qsgd_lab.files import STANDARD_STREAM, check_folder, check_place
from qsgd_lab.levels import NORMS
from qsgd_lab.report import FORMATS
from qsgd_lab.runs.cluster import share_of
from qsgd_lab.training.presets import PRESETS, configurations, methods_of

if TYPE_CHECKING:
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.events import Event
    from qsgd_lab.runs.plan import Plan
    from qsgd_lab.runs.store import RunStore
    from qsgd_lab.runs.sweep import SweepOutcome

WORKER = "qsgd_lab.training.run:run_training"


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command(epilog=PRESETS_HELP)
@click.option(
    "--model",
    "models",
    multiple=True,
    shell_complete=one_of(completion.models),
    metavar="NAME",
    help="One of the preset's (below), or an imported one; may be given again.  "
    "[default: the preset's first]",
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
@click.option(
    "--compressor",
    "compressors",
    multiple=True,
    metavar="METHOD",
    shell_complete=one_of(completion.compressors),
    help='A method by its text, such as "ef(top-k(fraction=0.01))"; may be given again. '
    f"{RESIDUAL_UNITS} See qsgd-lab methods.",
)
@click.option(
    "--algorithm",
    default="synchronous",
    show_default=True,
    metavar="METHOD",
    shell_complete=one_of(completion.algorithms),
    help="How nodes use what they exchange. See qsgd-lab methods.",
)
@import_option
@click.option("--seeds", type=SEEDS_LIST, help="Seeds, such as 0..2.  [default: the preset's]")
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    metavar="NAME",
    help=f"{', '.join(PRESETS)}; see below.  [default: demo; own with --data]",
)
@click.option(
    "--dataset",
    metavar="NAME",
    shell_complete=one_of(completion.datasets),
    help=f"Train on another data set: {', '.join(DATASETS)} or an imported one.  [default: the preset's]",
)
@click.option(
    "--data",
    "data_file",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Train on your own arrays: x and y, or x_train, y_train, x_test, y_test.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of a run.  [default: the preset's]")
@click.option(
    "--global-batch", type=click.IntRange(min=1), help="Images a step at all nodes.  [default: the preset's]"
)
@click.option("--norm", type=click.Choice(NORMS), help="Norm of a bucket.  [default: the preset's]")
@click.option(
    "--bucket-size",
    type=BUCKET_SIZE,
    help="Coordinates that share a norm: a number, tensor or model.  [default: the preset's]",
)
@protocol_options
@computing_options
@cluster_options
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the data sets; QSGD_LAB_DATA, where it is set, overrides it.",
)
@click.option(
    "--download", is_flag=True, help="Fetch the data first (CIFAR-10: 170 MB), where they are absent."
)
@click.option("--offline", is_flag=True, help="Open no connection, as if QSGD_LAB_OFFLINE=1.")
@runs_option("folder")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes side by side, a thread each.  [default: one a core; on CUDA by its memory, 1 to 4]",
)
@click.option(
    "--save-gradients",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also save every node's gradient at three steps of the first epoch there, as .npy files.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep this HTML page of the sweep current, to watch it in a browser; see qsgd-lab report.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
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
    compressors: Sequence[str],
    algorithm: str,
    imports: Sequence[str],
    seeds: Sequence[int] | None,
    preset: str | None,
    dataset: str | None,
    data_file: Path | None,
    epochs: int | None,
    global_batch: int | None,
    norm: str | None,
    bucket_size: int | str | None,
    convention: str | None,
    raw_tensors_up_to: int | None,
    split: str | None,
    scaling: str | None,
    collective: str,
    replayed: Sequence[str],
    engine: str | None,
    precision: str | None,
    device: str,
    share: tuple[int, int] | None,
    data_dir: Path | None,
    download: bool,
    offline: bool,
    folder: Path,
    jobs: int | None,
    save_gradients: Path | None,
    report_file: Path | None,
    dry_run: bool,
    max_time: float | None,
    format_name: str,
) -> None:
    """Train a whole comparison and print its table.

    Trains the model on every number of nodes with every method and seed, quantizing each node's gradient
    before averaging. Without --bits, --rounding or --error-feedback the preset's own methods are compared;
    with any of them, their grid (what is not named: the preset's bits, stochastic rounding, with error
    feedback), always against fp32. --compressor adds a method to the grid, or alone replaces the preset's.

    Finished runs are kept and never repeated: a sweep that was stopped, or killed, goes on where it was when
    the same command is given again.

    \b
    Example:
      qsgd-lab reproduce --model alexnet --nodes 1,2,4,8
      qsgd-lab reproduce --bits 1..4 --no-error-feedback --seeds 0..4
      qsgd-lab reproduce --compressor "ef(top-k(fraction=0.01))" --nodes 2
      qsgd-lab reproduce --import my_method.py --compressor "ef(my-method)"
      qsgd-lab reproduce --import my_data.py --dataset my-data \\
        --model my-network
      qsgd-lab reproduce --data flowers.npz --nodes 1,4
      qsgd-lab reproduce --preset brackets --nodes 1,8 --report report.html
      torchrun --nproc-per-node 4 -m qsgd_lab reproduce --engine distributed \\
        --nodes 4
      qsgd-lab reproduce --dry-run
    """
    from qsgd_lab.runs.plan import Plan
    from qsgd_lab.runs.store import RunStore

    if dry_run and format_name not in ("text", "json"):
        raise click.UsageError(f"a plan is printed as text or json, not as {format_name}")
    if report_file is not None:
        _check_report(report_file, dry_run=dry_run)
    preset = preset or ("demo" if data_file is None else "own")
    if data_file is not None:
        imports, dataset = (*imports, str(data_file)), _data_set_of(data_file, dataset)
    protocol = PRESETS[preset]
    settings = {
        "epochs": epochs,
        "global_batch": global_batch,
        "norm": norm,
        "bucket_size": bucket_size,
        "convention": convention,
        "raw_tensors_up_to": raw_tensors_up_to,
        "scaling": scaling,
        "split": split,
        "flaws": flaws_asked_for(replayed),
        "engine": "loop" if engine == "distributed" else engine,  # its results, hence its key
        "precision": precision,
    }
    with argument_errors():
        plugins.load(imports)
        configs = configurations(
            preset,
            models or tuple(protocol.models)[:1],
            nodes,
            methods_of(protocol, bits, roundings, error_feedback, compressors),
            seeds or protocol.seeds,
            {name: value for name, value in settings.items() if value is not None},
            algorithm,
            dataset,
            collective,
        )
        _check_engines(configs)
        configs = share_of(configs, share)
    if engine == "distributed":
        check_options(click.get_current_context().params)
        reproduce_on_ranks(configs, folder, data_dir, format_name, dry_run=dry_run, max_time=max_time)
        return
    refuse_idle_ranks()
    store = RunStore(folder)
    plan = Plan.make(configs, store)
    if not dry_run:
        check_takes_runs(store, plan)
    warn_of_damage(plan.contents)
    datasets = sorted({config.dataset for config in configs})
    with sweep_device(device, usable_cores()) as chosen, data_folder(data_dir) as folders:
        jobs = jobs or chosen.jobs
        describe_data(datasets, folders)
        warn_of_theory(plan.configs("missing", "stale"))
        if dry_run:
            _print_plan(plan, jobs, format_name)
            return
        if save_gradients is not None:
            check_folder(save_gradients)
        if plan.configs("missing", "stale") or save_gradients is not None:
            require_data(datasets, folders, download=download, offline=offline)
        _announce(plan, jobs)
        outcome, seconds = _sweep(plan, store, jobs, max_time, report_file)
        print_outcome(plan, store, outcome, seconds, format_name)
        if save_gradients is not None and outcome.stopped_by != "interrupt":
            _save_gradients(configs[0], save_gradients)  # after the table, which no failure here may cost
    if outcome.exit_code:
        click.get_current_context().exit(outcome.exit_code)


def _check_report(file: Path, *, dry_run: bool) -> None:
    """Refuse a report where there is no sweep to watch, or no place for it."""
    if dry_run:
        raise click.UsageError("--dry-run trains nothing to report; leave out --report")
    if file == STANDARD_STREAM:
        raise click.UsageError("--report takes a file, which is written again and again; - is none")
    check_place(file)


def _data_set_of(file: Path, dataset: str | None) -> str:
    """Return the name that a file's data set is registered by."""
    if file.suffix != ".npz":
        raise click.UsageError(f"--data takes an .npz file (numpy.savez), not {file}")
    if dataset is not None:
        raise click.UsageError("--data and --dataset name two data sets; give one")
    from qsgd_lab.data.array_file import dataset_name

    return dataset_name(file)


def _check_engines(configs: Sequence[RunConfig]) -> None:
    """Refuse networks that cannot be trained as asked; torch is loaded only where one might be."""
    doubtful = [
        config for config in configs if config.engine == "batched" or config.plugins or config.versions
    ]
    if not doubtful:
        return
    from qsgd_lab.data.registry import dataset_entry
    from qsgd_lab.training.engines.choose import check_engine

    for engine, model, dataset in dict.fromkeys((c.engine, c.model, c.dataset) for c in doubtful):
        check_engine(engine, model, dataset_entry(dataset).inputs)


def _print_plan(plan: Plan, jobs: int, format_name: str) -> None:
    from qsgd_lab.cli.sweep.plan_output import as_json, as_text, fill_in

    def measure(configs: Sequence[RunConfig]) -> list[float]:
        from qsgd_lab.training.probe import expected_seconds

        return expected_seconds(configs, lambda words: click.echo(f"Timing a few steps: {words}.", err=True))

    eta_s = fill_in(plan, jobs, measure)
    write = as_json if format_name == "json" else as_text
    click.echo(write(plan, jobs, eta_s), nl=False)


def _announce(plan: Plan, jobs: int) -> None:
    from qsgd_lab.cli.sweep.plan_output import sentence

    warn_of_changes(plan)
    say(sentence(plan, jobs, plan.eta_s(jobs)))


def warn_of_changes(plan: Plan) -> None:
    """Say on stderr, once, that the runs to come will not name their code, where the checkout has changes."""
    from qsgd_lab.runs.environment import checkout

    if checkout()["dirty"] and plan.configs("missing", "stale"):
        say(
            "Warning: the checkout of qsgd-lab has uncommitted changes: the commit that these runs store is "
            "not their code; commit first if they are to be published."
        )


def _save_gradients(config: RunConfig, folder: Path) -> None:
    from qsgd_lab.training.gradient_capture import capture_gradients

    number = len(capture_gradients(config, folder))
    say(f"Saved {number} gradients of {config.model}, {config.method}, in {folder}.")


def _sweep(
    plan: Plan, store: RunStore, jobs: int, max_time: float | None, report_file: Path | None
) -> tuple[SweepOutcome, float]:
    import time

    from qsgd_lab.cli.sweep.progress import display
    from qsgd_lab.cli.sweep.report import LiveReport
    from qsgd_lab.runs.sweep import run_sweep

    report = None if report_file is None else LiveReport(report_file, store, plan.configs())
    if report is not None:
        report.write()
    start = time.monotonic()

    def tell(event: Event) -> None:
        shown.show(event)
        if report is not None:
            report.show(event)

    with display(plan.configs("missing", "stale", "running")) as shown:
        outcome = run_sweep(
            plan.configs(),
            store,
            jobs=jobs,
            worker=WORKER,
            on_event=tell,
            on_stop=shown.stopping,
            max_time_s=max_time,
        )
    seconds = time.monotonic() - start
    if report is not None:
        report.write(is_last=True)
    return outcome, seconds
