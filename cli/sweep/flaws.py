"""``qsgd-lab flaws``: what each flaw of the published protocol does to the accuracy that is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options.lists import BITS_LIST, SEEDS_LIST
from qsgd_lab.cli.options.quantities import DURATION
from qsgd_lab.cli.options.stored_runs import check_takes_runs, runs_option, warn_of_damage
from qsgd_lab.cli.standard_error import say, say_line
from qsgd_lab.cli.sweep.outcome_output import what_remains
from qsgd_lab.terminal import fill, text_width
from qsgd_lab.training.flaws import FLAWS
from qsgd_lab.training.presets import FP32, PRESETS, Method, configurations

if TYPE_CHECKING:
    from qsgd_lab.report.flaws.effects import Cell
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.record import RunRecord
    from qsgd_lab.runs.store import RunStore
    from qsgd_lab.runs.sweep import SweepOutcome

PRESET = "digits-report"
FORMAT_NAMES = ("text", "latex", "markdown", "json")


@click.command()
@click.option("--seeds", type=SEEDS_LIST, default="0..4", show_default=True, help="Seeds, such as 0..4.")
@click.option(
    "--nodes", type=click.IntRange(min=1), default=2, show_default=True, help="N; the report had 2."
)
@click.option(
    "--bits",
    type=BITS_LIST,
    default="2",
    show_default=True,
    help="Magnitude bits of the quantized runs, such as 2,4,8.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of a run.  [default: the preset's]")
@runs_option("folder")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Processes side by side, a thread each.  [default: one a core]"
)
@click.option(
    "--max-time",
    type=DURATION,
    help="Stop, resumably, after this time: 90s, 40m, 1h30m; exit code 5 if runs remain.",
)
@click.option("--no-run", is_flag=True, help="Train nothing; print what the folder has.")
@click.option("--list", "list_only", is_flag=True, help="Say what the flaws are, and stop.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMAT_NAMES),
    default="text",
    show_default=True,
    help="Of the table.",
)
def flaws(
    seeds: Sequence[int],
    nodes: int,
    bits: Sequence[int],
    epochs: int | None,
    folder: Path,
    jobs: int | None,
    max_time: float | None,
    no_run: bool,
    list_only: bool,
    format_name: str,
) -> None:
    """Measure the flaws of the published protocol on the embedded digits.

    Trains the corrected protocol, each flaw by itself and all together, with every seed, and prints how far
    the accuracy that each reports is from the corrected one's. Two small AlexNets are trained, without
    BatchNorm and with BatchNorm and dropout, since some flaws show on one only. Finished runs are kept and
    never repeated.

    \b
    Example:
      qsgd-lab flaws
      qsgd-lab flaws --seeds 0..9 --bits 2,4 --format markdown
      qsgd-lab flaws --list
    """
    if list_only:
        click.echo(_listing(), nl=False)
        return
    from qsgd_lab.runs.store import RunStore

    with argument_errors():
        cells = _cells(seeds, nodes, bits, {} if epochs is None else {"epochs": epochs})
    store = RunStore(folder)
    outcome = None
    if not no_run:
        outcome = _train([config for configs in cells.values() for config in configs], store, jobs, max_time)
    if outcome is None or outcome.stopped_by != "interrupt":
        click.echo(_table(cells, store, nodes, seeds, format_name).encode(), nl=False)
    if outcome is not None:
        _finish(outcome, store)


#: (model, method, protocol) -> the configurations of its seeds.
Cells = dict[tuple[str, str, str], list["RunConfig"]]


def _cells(seeds: Sequence[int], nodes: int, bits: Sequence[int], overrides: dict[str, int]) -> Cells:
    from qsgd_lab.report.flaws.effects import ALL, CORRECTED

    methods = [FP32, *(Method(b) for b in bits if b != FP32.bits)]
    protocols = {CORRECTED: (), **{name: (name,) for name in FLAWS}, ALL: tuple(FLAWS)}
    cells: Cells = {}
    for model in PRESETS[PRESET].models:
        for name, replayed in protocols.items():
            settings = {**overrides, "flaws": replayed}
            for config in configurations(PRESET, [model], [nodes], methods, seeds, settings):
                cells.setdefault((config.model, config.method, name), []).append(config)
    return cells


def _train(
    configs: Sequence[RunConfig], store: RunStore, jobs: int | None, max_time: float | None
) -> SweepOutcome:
    from qsgd_lab.cli.sweep.plan_output import sentence
    from qsgd_lab.cli.sweep.progress import display
    from qsgd_lab.cli.sweep.reproduce import WORKER, usable_cores, warn_of_changes
    from qsgd_lab.data.registry import DATASETS
    from qsgd_lab.runs.plan import Plan
    from qsgd_lab.runs.sweep import run_sweep

    plan = Plan.make(configs, store)
    check_takes_runs(store, plan)
    warn_of_changes(plan)
    jobs = jobs or usable_cores()
    say(DATASETS[PRESETS[PRESET].dataset].notice)
    say(sentence(plan, jobs, plan.eta_s(jobs)))
    with display(plan.configs("missing", "stale", "running")) as shown:
        return run_sweep(
            plan.configs(),
            store,
            jobs=jobs,
            worker=WORKER,
            on_event=shown.show,
            on_stop=shown.stopping,
            max_time_s=max_time,
        )


def _table(cells: Cells, store: RunStore, nodes: int, seeds: Sequence[int], format_name: str) -> str:
    from qsgd_lab.errors import DataMissingError
    from qsgd_lab.report.flaws.effects import effects
    from qsgd_lab.report.flaws.table import write_effects

    contents = store.read()
    warn_of_damage(contents)
    stored = {record.config: record for record in contents.records if not record.is_stale}
    filled = [_filled(key, configs, cells, stored) for key, configs in cells.items()]
    if not any(cell.records for cell in filled):
        raise DataMissingError(
            "there are no runs of the flawed protocols here; make them with: qsgd-lab flaws"
        )
    words = "seed" if len(seeds) == 1 else "seeds"
    title = (
        f"The published protocol's flaws on scikit-learn's digits: N = {nodes}, {len(seeds)} {words}, "
        f"preset {PRESET}."
    )
    return write_effects(effects(filled), format_name, title, text_width())


def _filled(
    key: tuple[str, str, str],
    configs: Sequence[RunConfig],
    cells: Cells,
    stored: Mapping[RunConfig, RunRecord],
) -> Cell:
    from qsgd_lab.report.flaws.effects import CORRECTED, Cell

    model, method, protocol = key
    records = {c.seed: stored[c] for c in configs if c in stored}
    applies = protocol == CORRECTED or configs != cells[model, method, CORRECTED]
    return Cell(model=model, method=method, protocol=protocol, records=records, applies=applies)


def _finish(outcome: SweepOutcome, store: RunStore) -> None:
    from qsgd_lab.cli.sweep.progress import cell_name

    for failure in outcome.failed:
        where = store.error_log_path(failure.config)
        say_line(f"Error: {cell_name(failure.config)}: {failure.reason} (see {where})")
    if outcome.remaining:
        click.echo(what_remains(len(outcome.remaining)), err=True)
    if outcome.exit_code:
        click.get_current_context().exit(outcome.exit_code)


def _listing() -> str:
    width = max(map(len, FLAWS)) + 2
    return "".join(
        fill(f"{flaw.summary} ({', '.join(flaw.notebooks)})", indent=name.ljust(width), hanging=" " * width)
        + "\n"
        for name, flaw in FLAWS.items()
    )
