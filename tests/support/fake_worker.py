"""A training function without data for the tests of sweeps, and a command that runs a sweep of it.

The configuration's `model` names its behaviour (see `_behave`); its result is a pure function of the
configuration. The environment variables FAKE_LOG and FAKE_EPOCH_S name a file that gets a line an epoch, and
an epoch's duration in seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from qsgd_lab.errors import DataMissingError
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import Interrupted, RunOutcome, RunResult
from qsgd_lab.runs.store import RunStore
from qsgd_lab.runs.sweep import run_sweep

TRAIN = "fake_worker:train"


def make_config(
    seed: int = 0, nodes: int = 1, *, model: str = "steady", epochs: int = 3, bits: int = 2
) -> RunConfig:
    """Return a configuration whose `model` is the name of a behaviour."""
    return RunConfig(
        preset="fake",
        dataset="none",
        model=model,
        nodes=nodes,
        bits=bits,
        rounding="stochastic",
        error_feedback=False,
        norm="l2",
        bucket_size=512,
        seed=seed,
        epochs=epochs,
        global_batch=32,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=0.0005,
        warmup=0.1,
        target_accuracy=0.9,
    )


def make_configs(num_cells: int, *, epochs: int = 3) -> list[RunConfig]:
    """Return `num_cells` steady configurations that differ in their seed."""
    return [make_config(seed, epochs=epochs) for seed in range(num_cells)]


def make_outcome(config: RunConfig) -> RunOutcome:
    """Return what an undisturbed run of the configuration ends with."""
    share = int(hashlib.sha256(config.key.encode()).hexdigest()[:8], 16) / 2**32
    result = RunResult(
        test_accuracy=share,
        validation_accuracy=share,
        best_epoch=config.epochs,
        epochs_to_target=None,
        steps_to_target=None,
        epochs=config.epochs,
        steps=10 * config.epochs,
        final_train_loss=1.0 - share,
        num_parameters=100,
        coordinates_sent=1000 * config.nodes,
        bits_per_coordinate={"fixed": 3.0625, "gamma": 1.0 + share},
    )
    epochs = [
        {"epoch": epoch, "step": 10 * epoch, "train_loss": share / epoch, "validation_accuracy": share}
        for epoch in range(1, config.epochs + 1)
    ]
    return RunOutcome(status="done", result=result, timing={"total_s": 0.5}, epochs=epochs)


def train(
    config: RunConfig,
    *,
    checkpoint: Path,
    should_stop: Callable[[], bool],
    progress: Callable[[int, int, dict[str, float]], None],
) -> RunOutcome:
    """Sleep through the epochs, with a checkpoint after each."""
    print("a library's chatter")  # noqa: T201 (a test follows where it goes)
    while "FAKE_GATE" in os.environ and not Path(os.environ["FAKE_GATE"]).exists():
        time.sleep(0.005)
    start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for epoch in range(start, config.epochs):
        if should_stop():
            raise Interrupted
        log(f"{config.key} {epoch} {os.getpid()}")
        _behave(config, checkpoint)
        time.sleep(float(os.environ.get("FAKE_EPOCH_S", "0.002")))
        _save(checkpoint, epoch + 1)
        progress(epoch + 1, config.epochs, {"train_loss": 1.0 / (epoch + 1)})
    return make_outcome(config)


def claim_and_hold(path: Path, config: RunConfig, told: Connection) -> None:
    """Claim a cell, tell whether it was to be had, and hold it until killed."""
    claim = RunStore(path).claim(config)
    told.send(claim is not None)
    told.poll(600)


def log(line: str) -> None:
    """Append a line to the log that counts executions; one write, so that processes do not mix theirs."""
    if "FAKE_LOG" in os.environ:
        descriptor = os.open(os.environ["FAKE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)


def _save(checkpoint: Path, epoch: int) -> None:
    temporary = checkpoint.with_name(f".{checkpoint.name}.{os.getpid()}.part")
    temporary.write_text(str(epoch))
    temporary.replace(checkpoint)


def _behave(config: RunConfig, checkpoint: Path) -> None:
    if config.model == "raises":
        raise ZeroDivisionError("division\nby zero")
    if config.model == "lacks data":
        raise DataMissingError("no data; fetch it")
    if config.model == "exits":
        os._exit(7)
    if config.model == "dies" or (config.model == "dies once" and not checkpoint.with_name("died").exists()):
        checkpoint.with_name("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if config.model == "hangs":
        time.sleep(600)


def main() -> None:
    """Run a sweep in the folder and with the number of jobs and cells on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--model", default="steady")
    parser.add_argument("--gate", help="no cell goes on before this file is there")
    options = parser.parse_args()
    if options.gate:
        os.environ["FAKE_GATE"] = options.gate
    configs = [make_config(seed, epochs=options.epochs, model=options.model) for seed in range(options.cells)]
    outcome = run_sweep(
        configs,
        RunStore(options.runs),
        jobs=options.jobs,
        worker=TRAIN,
        on_stop=lambda reason: print(f"stopping: {reason}", file=sys.stderr, flush=True),  # noqa: T201
    )
    sys.exit(outcome.exit_code)


if __name__ == "__main__":
    main()
