"""The networks of ``qsgd-lab compare``: train what the store lacks, and set the methods side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options.stored_runs import check_takes_runs
from qsgd_lab.cli.options.training import sweep_device
from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.cli.sweep.data_sets import data_folder, describe_data, require_data
from qsgd_lab.cli.sweep.outcome_output import what_remains
from qsgd_lab.cli.sweep.reproduce import WORKER, usable_cores
from qsgd_lab.cli.sweep.theory_warnings import warn_of_theory
from qsgd_lab.method_text import cut_option

if TYPE_CHECKING:
    from qsgd_lab.problems.rate_search import RateScales
    from qsgd_lab.report.comparison.outcome import Outcome
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.store import RunStore


@dataclass(frozen=True)
class NetworkRuns:
    """What is trained.

    Attributes
    ----------
    preset, dataset : str
    model : str or None
        None: the preset's first.
    nodes, seeds : sequence of int
        Seeds None: the preset's.
    settings : dict
        Of the preset, replaced.
    scales : RateScales
        Factors of the preset's learning rate.
    """

    preset: str
    dataset: str
    model: str | None
    nodes: Sequence[int]
    seeds: Sequence[int] | None
    settings: dict[str, Any]
    scales: RateScales


#: The seed whose validation accuracy chooses a learning rate; it is none of those reported.
TUNING_SEED = 1000


@dataclass(frozen=True)
class _Cell:
    """One method at one number of nodes: its name, and its configurations at the preset's own rate."""

    label: str
    tuning: RunConfig
    tests: Sequence[RunConfig]


def network_outcomes(
    asked: NetworkRuns, methods: Sequence[str], folder: Path, jobs: int | None, max_time: float | None
) -> list[Outcome]:
    """Train what is missing, and return the outcomes: by number of nodes, methods in the order given.

    Raises
    ------
    click.UsageError
        If a text names no method.
    click.exceptions.Exit
        If the sweep was stopped or runs failed.
    """
    from qsgd_lab.runs.store import RunStore

    with argument_errors():
        cells = _cells(asked, methods)
    warn_of_theory([config for cell in cells for config in cell.tests])
    store = RunStore(folder)

    def train(configs: Sequence[RunConfig]) -> None:
        train_missing(configs, store, jobs, max_time)

    if not asked.scales.is_choice:
        chosen = [asked.scales.listed[0]] * len(cells)
    else:
        chosen = _best_scales(asked.scales, cells, store, train)
    runs = [[_scaled(c, scale) for c in cell.tests] for cell, scale in zip(cells, chosen, strict=True)]
    train([config for configs in runs for config in configs])
    words = [f", rate x {scale:g}" if asked.scales.is_choice else "" for scale in chosen]
    return [
        _outcome(cell.label + word, configs, store)
        for cell, word, configs in zip(cells, words, runs, strict=True)
    ]


def _best_scales(
    scales: RateScales, cells: Sequence[_Cell], store: RunStore, train: Callable[[Sequence[RunConfig]], None]
) -> list[float]:
    """Return the factor of the learning rate that each method gets."""
    from qsgd_lab.problems.rate_search import best_scale

    known: list[dict[float, float]] = [{} for _ in cells]
    while any(wanted := [scales.next(own) for own in known]):
        trials = [
            (own, scale, _scaled(cell.tuning, scale))
            for cell, own, listed in zip(cells, known, wanted, strict=True)
            for scale in listed
        ]
        train([config for _, _, config in trials])
        for own, scale, config in trials:
            own[scale] = _loss(config, store)
    return [best_scale(own) for own in known]


def _loss(config: RunConfig, store: RunStore) -> float:
    """Return the share of the validation set that the last model has wrong; infinite if it diverged."""
    record = store.record(config)
    assert record is not None
    accuracies = [epoch.validation_accuracy for epoch in store.epochs(record) or ()]
    if record.status == "diverged" or not accuracies or accuracies[-1] is None:
        return math.inf
    return 1 - accuracies[-1]


def _scaled(config: RunConfig, scale: float) -> RunConfig:
    return replace(config, learning_rate=config.learning_rate * scale).canonical()


def _cells(asked: NetworkRuns, methods: Sequence[str]) -> list[_Cell]:
    """Return what each number of nodes and method is trained with."""
    from qsgd_lab.problems.comparison import ComparedMethod
    from qsgd_lab.runs.config import ALL_GATHER, TWO_PHASE
    from qsgd_lab.training.methods import COLLECTIVES
    from qsgd_lab.training.presets import PRESETS, configurations

    protocol = PRESETS[asked.preset]
    seeds = list(asked.seeds or protocol.seeds)
    if asked.scales.is_choice and TUNING_SEED in seeds:
        raise ValueError(f"seed {TUNING_SEED} chooses the learning rates; leave it out of --seeds")
    cells = []
    for nodes in asked.nodes:
        for text in dict.fromkeys(methods):
            without, collective = cut_option(text, "collective")
            if collective not in (None, *COLLECTIVES):
                raise ValueError(f"{text}: collective must be one of: {', '.join(COLLECTIVES)}")
            algorithm, compressor = cut_option(without, "compressor")
            method = ComparedMethod.parse(without)
            tuning, *tests = configurations(
                asked.preset,
                [asked.model or next(iter(protocol.models))],
                [nodes],
                [compressor or "fp32"],
                [TUNING_SEED, *seeds],
                asked.settings,
                algorithm,
                asked.dataset,
                collective=collective or ALL_GATHER,
            )
            words = f", {TWO_PHASE}" if tuning.collective == TWO_PHASE else ""
            cells.append(_Cell(method.label + words, tuning, tests))
    return cells


def train_missing(
    configs: Sequence[RunConfig], store: RunStore, jobs: int | None, max_time: float | None
) -> None:
    """Train what a store lacks of some configurations; the command ends if runs fail or remain."""
    from qsgd_lab.cli.sweep.progress import cell_name, display
    from qsgd_lab.runs.plan import Plan
    from qsgd_lab.runs.sweep import run_sweep

    plan = Plan.make(configs, store)
    check_takes_runs(store, plan)
    missing = plan.configs("missing", "stale", "running")
    if not missing:
        return
    datasets = sorted({config.dataset for config in configs})
    with sweep_device("auto", usable_cores()) as chosen, data_folder(None) as folders:
        describe_data(datasets, folders)
        require_data(datasets, folders, download=False, offline=False)
        with display(missing) as shown:
            outcome = run_sweep(
                plan.configs(),
                store,
                jobs=jobs or chosen.jobs,
                worker=WORKER,
                on_event=shown.show,
                max_time_s=max_time,
            )
    for failure in outcome.failed:
        say_line(f"Error: {cell_name(failure.config)}: {failure.reason}")
    if outcome.exit_code:
        if outcome.remaining:
            click.echo(what_remains(len(outcome.remaining)), err=True)
        click.get_current_context().exit(outcome.exit_code)


def _outcome(label: str, configs: Sequence[RunConfig], store: RunStore) -> Outcome:
    from qsgd_lab.report.comparison.networks import network_outcome
    from qsgd_lab.runs.config import TWO_PHASE
    from qsgd_lab.training.methods import algorithm_of, compressor_of

    records = [store.record(config) for config in configs]
    done = [record for record in records if record is not None]
    epochs = [store.epochs(record) or () for record in done]
    aggregates = compressor_of(configs[0]).aggregates
    if algorithm_of(configs[0]).uses_server:
        aggregates = "server"
    elif configs[0].collective == TWO_PHASE:
        aggregates = TWO_PHASE
    return network_outcome(label, aggregates, done, epochs)
