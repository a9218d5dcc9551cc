"""``reproduce --engine distributed`` under torchrun: one rank a node; rank 0 plans, writes and prints."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from qsgd_lab.cli.errors import INTERRUPTED
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


def refuse_idle_ranks() -> None:
    """Refuse to run a sweep once on each of several ranks.

    Raises
    ------
    UsageError
        If torchrun started this process as one of several.
    """
    size = os.environ.get("WORLD_SIZE", "")
    if "RANK" in os.environ and size.isdecimal() and int(size) > 1:
        raise UsageError(
            f"torchrun has started {size} ranks, each of which would run the whole sweep: add "
            f"--engine distributed --nodes {size}, or leave out torchrun"
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

    After `max_time` seconds all ranks save what they have, and end with the exit code for that.

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
    from qsgd_lab.runs.store import RunStore

    deadline = None if max_time is None else time.monotonic() + max_time
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
        code, to_run = 0, [config for config in configs if config.key in missing]
        while to_run and code == 0:
            code = _run(to_run[0], store, lane, deadline)
            to_run = to_run[code == 0 :]
        if lane.rank == 0 and code != INTERRUPTED:
            _print_table(configs, store, format_name)
        if code:
            if lane.rank == 0:
                say_line(what_remains(len(to_run)))
            lane.gather_numbers(0)  # torchrun ends the others when one has ended: not before all is written
            click.get_current_context().exit(code)


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

    from qsgd_lab.distributed.hook_arguments import check_timeout
    from qsgd_lab.distributed.lane import DEFAULT_TIMEOUT_S, Lane

    text = os.environ.get(TIMEOUT_VARIABLE, str(DEFAULT_TIMEOUT_S))
    try:
        timeout_s = check_timeout(float(text), TIMEOUT_VARIABLE)
    except ValueError:
        raise UsageError(
            f"{TIMEOUT_VARIABLE} is {text!r}; it must be a number of seconds, above 0 and at most a year"
        ) from None
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


def _run(config: RunConfig, store: RunStore, lane: Lane, deadline: float | None) -> int:
    """Run one cell on all ranks; rank 0 claims it and writes its record.

    Returns
    -------
    int
        0, or the exit code of a signal or of time that is up; the same on all ranks.
    """
    from qsgd_lab.cli.sweep.progress import cell_name
    from qsgd_lab.runs.environment import collect_environment
    from qsgd_lab.runs.record import Interrupted
    from qsgd_lab.runs.sweep import TIME_IS_UP
    from qsgd_lab.training.ranks import run_on_ranks

    def is_late() -> bool:
        return deadline is not None and time.monotonic() >= deadline

    if _from_rank_0(lane, is_late()):
        return TIME_IS_UP
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
    with claim, _stop_signals() as received:
        try:
            outcome = run_on_ranks(
                config.canonical(),
                lane,
                checkpoint=store.checkpoint_path(config),
                should_stop=lambda: bool(received) or is_late(),
                progress=show,
            )
        except Interrupted:
            return INTERRUPTED if any(lane.gather_numbers(len(received))) else TIME_IS_UP
        if lane.rank == 0:
            found = collect_environment(outcome.device, outcome.data_sha256) | outcome.device_facts
            store.write(config, outcome, {**found, "ranks": lane.size, "backend": "gloo", **_link(lane)})
    return 0


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
