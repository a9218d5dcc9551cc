"""Whole runs on real ranks against the simulated loop: the same record, byte for byte."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import hook_cases
import pytest
import rank_cases

from qsgd_lab.cli.main import main
from qsgd_lab.runs.store import RunStore
from qsgd_lab.training.presets import configurations
from qsgd_lab.training.run import run_training

STEPS = 6


def config_of(text, nodes, *, model="alexnet", preset="demo", algorithm="synchronous", **changes):
    """Return a short cell, by the loop engine."""
    collective = changes.pop("collective", "all-gather")
    overrides = {"epochs": 1, "engine": "loop", "global_batch": 128, **changes}
    arguments = (preset, [model], [nodes], [text], [1], overrides, algorithm)
    (config,) = configurations(*arguments, collective=collective)
    return config


def simulated(config, folder):
    """Return status, result and epochs of the simulation."""
    outcome = run_training(
        config, checkpoint=folder / "simulated.npz", should_stop=lambda: False, progress=lambda *_: None
    )
    return outcome.status, dict(outcome.result), outcome.epochs


RESNET = {"model": "resnet20", "preset": "digits-full", "global_batch": 512}
CASES = {
    "buckets of the model": config_of("ef(qsgd(bits=2,norm=max,bucket_size=model))", 2),
    "buckets of tensors": config_of("ef(qsgd(bits=2,norm=max,bucket_size=tensor))", 4),
    "buckets of 512": config_of("ef(qsgd(bits=2,norm=max,bucket_size=512))", 8),
    "fp32": config_of("fp32", 2),
    "top-k": config_of("ef(top-k(fraction=0.01))", 2),
    "DIANA, a dense start": config_of("diana(qsgd(bits=4),first=dense)", 2),
    "EF21": config_of("ef21(top-k(fraction=0.1))", 2),
    "EDEN": config_of("ef(eden(bits=2))", 4),
    "PowerSGD": config_of("ef(powersgd(rank=2))", 2),
    "BatchNorm and dropout": config_of(
        "ef(qsgd(bits=4,norm=max))", 2, model="alexnet-bn", preset="digits-report"
    ),
    "a ResNet": config_of("ef(qsgd(bits=4,norm=max))", 2, **RESNET),
    "CSER": config_of("fp32", 2, algorithm="cser(ratio=32)"),
    "local SGD": config_of("qsgd(bits=4,norm=max)", 2, algorithm="local-sgd(interval=4)"),
    "QSVRG": config_of("qsgd(bits=4,norm=max)", 2, algorithm="qsvrg(interval=4)"),
    "a server": config_of(
        "ef(qsgd(bits=2,norm=max))", 2, algorithm="parameter-server(down=top-k(fraction=0.1))"
    ),
    "two phases": config_of("ef(qsgd(bits=2,norm=max))", 4, collective="two-phase"),
    "local SGD in two phases": config_of(
        "qsgd(bits=4)", 4, algorithm="local-sgd(interval=4)", collective="two-phase"
    ),
}


@pytest.fixture
def ranks_of(request):
    """Return the group of a number of ranks."""
    names = {2: "two_ranks", 4: "four_ranks", 8: "eight_ranks"}
    return lambda nodes: request.getfixturevalue(names[nodes])


@pytest.mark.parametrize("name", CASES)
def test_ranks_have_the_simulations_record(ranks_of, tmp_path, name):
    """Accuracies, losses and bits sent of a run, whatever the method, the algorithm and the network."""
    config = CASES[name]
    expected = simulated(config, tmp_path)
    for found in ranks_of(config.nodes).call(rank_cases.run_cell, config.to_dict(), str(tmp_path)):
        assert found == expected
    assert not list(tmp_path.glob("*rank*"))


def test_ranks_have_the_simulations_record_though_stopped(four_ranks, tmp_path):
    """Stopped in the middle of an epoch and resumed, each rank from its own checkpoint."""
    config = dataclasses.replace(CASES["two phases"], global_batch=32)
    expected = simulated(config, tmp_path)
    stopped = four_ranks.call(rank_cases.run_cell, config.to_dict(), str(tmp_path), 2)
    assert stopped == ["interrupted"] * 4
    assert len(list(tmp_path.glob("checkpoint.rank*.npz"))) == 4
    for found in four_ranks.call(rank_cases.run_cell, config.to_dict(), str(tmp_path)):
        assert found == expected


def test_a_damaged_part_of_a_checkpoint_starts_the_run_over(two_ranks, tmp_path):
    """All ranks notice, whosever it was, and come to the same result."""
    config = CASES["fp32"]
    expected = simulated(config, tmp_path)
    two_ranks.call(rank_cases.run_cell, config.to_dict(), str(tmp_path), 0)
    next(tmp_path.glob("checkpoint.rank1*")).write_bytes(b"damaged")
    for found in two_ranks.call(rank_cases.run_cell, config.to_dict(), str(tmp_path)):
        assert found == expected


def torchrun(folder: Path, ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the lab under torchrun, with a port that the system picks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "qsgd_lab", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_torchrun_writes_the_record_of_the_simulation(tmp_path):
    """One table, on stdout; the run's key is the loop engine's, which then has nothing left to do."""
    arguments = ["reproduce", "--nodes", "2", "--compressor", "top-k", "--seeds", "0", "--epochs", "1"]
    done = torchrun(tmp_path, 2, *arguments, "--engine", "distributed")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Warning: top-k: it leaves out the same part") == 1  # by rank 0 alone
    assert done.stdout.count("preset demo: 1 epoch") == 1
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json")]
    assert [record["environment"]["ranks"] for record in records] == [2, 2]
    assert all(record["environment"]["link_bytes_per_s"] > 0 for record in records)
    simulation = tmp_path / "simulated"
    simulation.mkdir()
    os.chdir(simulation)
    assert main([*arguments, "--engine", "loop", "--jobs", "1"]) == 0
    others = {path.parent.name: json.loads(path.read_text()) for path in Path().glob("runs/*/run.json")}
    for path in tmp_path.glob("runs/*/run.json"):
        record = json.loads(path.read_text())
        assert record["result"] == others[path.parent.name]["result"]


def test_when_time_is_up_ranks_save_and_go_on_later(two_ranks, tmp_path):
    """Exit code 5 on every rank, with a checkpoint; the record is then the simulation's."""
    config = dataclasses.replace(CASES["top-k"], global_batch=32)
    expected = simulated(config, tmp_path)
    store = RunStore(tmp_path / "runs")
    assert two_ranks.call(hook_cases.reproduced, config.to_dict(), str(store.path), 0) == [5, 5]
    assert not list(store.path.rglob("*.npz"))
    assert two_ranks.call(hook_cases.reproduced, config.to_dict(), str(store.path), 3) == [5, 5]
    assert len(list(store.path.rglob("checkpoint.rank*.npz"))) == 2
    assert store.record(config) is None
    assert two_ranks.call(hook_cases.reproduced, config.to_dict(), str(store.path)) == [0, 0]
    record = store.record(config)
    assert (record.status, dict(record.result)) == expected[:2]
    assert not list(store.path.rglob("*.npz"))


@pytest.mark.parametrize("text", ["soon", "0", "-5", "nan", "inf", "1e12"])
def test_times_to_wait_for_a_rank_are_checked(tmp_path, monkeypatch, capsys, text):
    """Before any rank is waited for."""
    monkeypatch.chdir(tmp_path)
    torchs = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in {**torchs, "QSGD_LAB_RANK_TIMEOUT": text}.items():
        monkeypatch.setenv(name, value)
    assert main(["reproduce", "--engine", "distributed", "--nodes", "1"]) == 2
    assert "it must be a number of seconds" in capsys.readouterr().err


def test_without_torchrun_the_command_is_named(tmp_path, monkeypatch, capsys):
    """One line, exit code 2."""
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["reproduce", "--engine", "distributed", "--nodes", "4"]) == 2
    assert "torchrun --nproc-per-node 4 -m qsgd_lab reproduce" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--jobs", "2"], "--jobs with --engine distributed: each rank is a process"),
        (["--device", "cuda"], "--device with --engine distributed"),
        (["--download"], "--download with --engine distributed: fetch the data first"),
    ],
)
def test_options_that_ranks_do_not_have_are_refused(tmp_path, monkeypatch, capsys, options, words):
    """An option is never ignored."""
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--engine", "distributed", "--nodes", "2", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_sweep_is_not_run_once_on_each_rank(tmp_path, monkeypatch, capsys):
    """Under torchrun without the engine for it: one line, exit code 2; one rank alone is as none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert main(["reproduce", "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "add --engine distributed --nodes 4, or leave out torchrun" in line


def test_other_numbers_of_nodes_are_refused(tmp_path, monkeypatch, capsys):
    """Each rank is a node."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert main(["reproduce", "--engine", "distributed", "--nodes", "1,2"]) == 2
    assert "give --nodes 2" in capsys.readouterr().err
