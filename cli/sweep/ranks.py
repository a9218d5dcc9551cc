"""``reproduce --engine distributed`` under torchrun: one rank a node; rank 0 plans, writes and prints."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.cli.sweep.outcome_output import what_remains
from qsgd_lab.errors import UsageError

if TYPE_CHECKING:
    from qsgd_lab.distributed.lane import Lane
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.store import RunStore

#: What torchrun sets.
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: Seconds after which a silent rank is taken for lost.
TIMEOUT_VARIABLE = "QSGD_LAB_RANK_TIMEOUT"
TIME_IS_UP = 5  # exit code


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse options of `reproduce` that say nothing to ranks; raises a `UsageError`."""
    reasons = {
        "jobs": "each rank is a process already",
        "save_gradients": "ranks keep none; use another engine",
        "download": "fetch the data first, with qsgd-lab data fetch",
        "device": "ranks compute on processors",
        "report_file": "it is for sweeps; after a distributed run give: qsgd-lab report",
    }
    for name, reason in reasons.items():
        if given[name] not in (None, False, "auto", "cpu"):
            option = name.removesuffix("_file").replace("_", "-")
            raise UsageError(f"--{option} with --engine distributed: {reason}")


def check_is_alone() -> None:
    """Refuse to run under torchrun without --engine distributed: each rank would do all of it.

    Raises
    ------
    UsageError
        If torchrun has started this process as one of several.
    """
    if all(name in os.environ for name in _VARIABLES) and os.environ["WORLD_SIZE"] != "1":
        size = os.environ["WORLD_SIZE"]
        raise UsageError(
            f"torchrun started {size} processes, and each would run the whole sweep: add --engine "
            "distributed, or leave out torchrun"
        )


def reproduce_on_ranks(
    configs: Sequence[RunConfig],
    folder: Path,
    data_dir: Path | None,
    format_name: str,
    *,
    dry_run: bool,
    max_time: float | None,
) -> None:
    """Run the cells that have no record yet, in order, on the ranks that torchrun has started.

    After `max_time` seconds by any rank's clock, all stop with checkpoints, and the exit code is 5.

    Raises
    ------
    UsageError
        If torchrun did not start this process, or a cell has another number of nodes than there are ranks.
    PeerError
        If a rank is lost.
    """
    from qsgd_lab import __version__
    from qsgd_lab.cli.sweep.data_sets import data_folder, describe_data, require_data
    from qsgd_lab.cli.sweep.theory_warnings import warn_of_theory
    from qsgd_lab.distributed.handshake import shake_hands
    from qsgd_lab.runs.record import Interrupted
    from qsgd_lab.runs.store import RunStore

    end = math.inf if max_time is None else time.monotonic() + max_time
    _check_start(configs, dry_run=dry_run)
    configs = list({config.key: config for config in configs}.values())  # fp32 may be named, too
    store = RunStore(folder)
    with _lane() as lane, data_folder(data_dir) as folders:
        keys = [config.key for config in configs]
        shake_hands(lane, {"the version of qsgd-lab": __version__, "the plan": keys})
        lane.measure()  # how sums are sent, not what they are
        datasets = sorted({config.dataset for config in configs})
        if lane.rank == 0:
            describe_data(datasets, folders)
        require_data(datasets, folders, download=False, offline=True)
        missing = _missing(configs, store, lane)
        if lane.rank == 0:
            warn_of_theory([config for config in configs if config.key in missing])
        remaining = [config for config in configs if config.key in missing]
        with _stop_signals() as received:
            while remaining and not any(lane.gather_numbers(int(time.monotonic() >= end))):
                try:
                    _run(remaining[0], store, lane, lambda: bool(received) or time.monotonic() >= end)
                except Interrupted:
                    break
                del remaining[0]
            is_interrupted = any(lane.gather_numbers(len(received)))
        if lane.rank == 0 and not (remaining and is_interrupted):
            _print_table(configs, store, format_name)
        if remaining:
            if lane.rank == 0:
                say_line(what_remains(len(remaining)))
            click.get_current_context().exit(130 if is_interrupted else TIME_IS_UP)


def _check_start(configs: Sequence[RunConfig], *, dry_run: bool) -> None:
    absent = [name for name in _VARIABLES if name not in os.environ]
    nodes = sorted({config.nodes for config in configs})
    if absent:
        raise UsageError(
            f"--engine distributed needs what torchrun sets ({', '.join(absent)} absent); start it with: "
            f"torchrun --nproc-per-node {nodes[-1]} -m qsgd_lab reproduce --engine distributed --nodes "
            f"{nodes[-1]} ..."
        )
    size = int(os.environ["WORLD_SIZE"])
    if nodes != [size]:
        raise UsageError(f"there are {size} ranks, a node each: give --nodes {size}, not {nodes}")
    if dry_run:
        raise UsageError("--dry-run needs no ranks: leave out --engine distributed, its plan is that of loop")


@contextmanager
def _lane() -> Iterator[Lane]:
    """Join the group that torchrun has started, and yield the lane of this rank."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    from qsgd_lab.distributed.lane import DEFAULT_TIMEOUT_S, Lane

    text = os.environ.get(TIMEOUT_VARIABLE, str(DEFAULT_TIMEOUT_S))
    try:
        timeout_s = float(text)
    except ValueError:
        raise UsageError(f"{TIMEOUT_VARIABLE} is {text!r}; it must be a number of seconds") from None
    torch.set_num_threads(1)  # as the workers of a sweep: results must not depend on it
    dist.init_process_group("gloo", timeout=timedelta(seconds=timeout_s))
    lane = Lane(timeout_s)
    try:
        yield lane
    finally:
        lane.close()
        dist.destroy_process_group()


def _missing(configs: Sequence[RunConfig], store: RunStore, lane: Lane) -> set[str]:
    """Return the keys of the cells that rank 0 finds no record of."""
    keys: list[str] = []
    if lane.rank == 0:
        keys = [config.key for config in configs if store.record(config) is None]
        store.ensure_writable()
    return set(_from_rank_0(lane, keys))


def _from_rank_0(lane: Lane, value: Any) -> Any:
    """Return rank 0's JSON-ready value."""
    text = json.dumps(value if lane.rank == 0 else None).encode()
    return json.loads(bytes(lane.gather(np.frombuffer(text, np.uint8))[0]))


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Yield a list to which SIGINT and SIGTERM are added; torchrun sends the latter to stop."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(config: RunConfig, store: RunStore, lane: Lane, should_stop: Callable[[], bool]) -> None:
    """Run one cell on all ranks; rank 0 claims it and writes its record."""
    from qsgd_lab.cli.sweep.progress import cell_name
    from qsgd_lab.runs.environment import collect_environment
    from qsgd_lab.training.ranks import run_on_ranks

    claim = store.claim(config) if lane.rank == 0 else nullcontext()
    if _from_rank_0(lane, claim is None):
        raise UsageError(f"another process runs {cell_name(config)} in {store.path}")

    def show(epoch: int, epochs: int, metrics: dict[str, Any]) -> None:
        if lane.rank == 0:
            accuracy = 100 * metrics["validation_accuracy"]
            click.echo(
                f"{cell_name(config)}: epoch {epoch} of {epochs}, validation {accuracy:.1f} %", err=True
            )

    assert claim is not None
    with claim:
        outcome = run_on_ranks(
            config.canonical(),
            lane,
            checkpoint=store.checkpoint_path(config),
            should_stop=should_stop,
            progress=show,
        )
        if lane.rank == 0:
            found = collect_environment(outcome.device, outcome.data_sha256) | outcome.device_facts
            store.write(config, outcome, {**found, "ranks": lane.size, "backend": "gloo", **_link(lane)})


def _link(lane: Lane) -> dict[str, float]:
    """Return what was measured between the ranks; nothing of one rank."""
    if lane.network is None or lane.size == 1:
        return {}
    return {"link_latency_s": lane.network.latency, "link_bytes_per_s": lane.network.bandwidth}


def _print_table(configs: Sequence[RunConfig], store: RunStore, format_name: str) -> None:
    from qsgd_lab.report import render
    from qsgd_lab.report.tables.options import TableOptions
    from qsgd_lab.terminal import text_width

    records = [record for config in configs if (record := store.record(config)) is not None]
    if not records:
        return
    sys.stdout.flush()
    click.echo(render(records, format_name, TableOptions(width=text_width())).encode(), nl=False)
