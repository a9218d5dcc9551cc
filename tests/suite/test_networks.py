"""Tasks of networks: the last mean model is scored, its runs are stored, and it is in no score."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_suite import SMALL, TASK, entry

from qsgd_lab.cli.main import main
from qsgd_lab.data import load_dataset
from qsgd_lab.errors import IntegrityError
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.rate_search import RateScales
from qsgd_lab.runs.store import RunStore
from qsgd_lab.suite import cells, definition, network_task, result_file
from qsgd_lab.suite.cells import Runner
from qsgd_lab.suite.columns import network_rows
from qsgd_lab.suite.score import Board
from qsgd_lab.training.preset_table import PRESETS
from qsgd_lab.training.presets import configurations
from qsgd_lab.training.run import Run

NODES, STEPS, NUM_PARAMETERS = 4, 8, 394_634
TINY = replace(
    PRESETS["demo"],
    models={"mlp": "mlp"},
    settings=PRESETS["demo"].settings | {"epochs": 2, "global_batch": 256},
)
NET = replace(
    TASK,
    key="net",
    kind="network",
    source="tiny",
    seed=7,
    steps=STEPS,
    dimension=NUM_PARAMETERS,
    metric="test error",
    ratios=(2, 4, 8),
    margin=0.02,
    tests=2,
    tuning=1,
    scored=False,
)
SUITE = replace(
    SMALL,
    digest="sha256:net",
    tasks=(TASK, NET),
    network_scales=RateScales((), (4.0,), (1.0, 4.0)),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Add a preset of 8 steps."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a store that the tests of this file share, so that each run is trained once."""
    return tmp_path_factory.mktemp("runs")


def runner(folder, trained=None):
    """Return a runner; `trained` collects what it trains."""
    store = RunStore(folder)

    def train(configs):
        if trained is not None:
            trained.extend(config for config in configs if store.record(config) is None)
        network_task.train_here(store, configs)

    return Runner(SUITE, store, lambda _: None, train)


def test_the_last_mean_model_is_scored(folder):
    """The metric is the share of the test set that the mean of the nodes' last models has wrong."""
    cell = runner(folder).cell(NET, "32x", ["local-sgd(interval=3)"])

    (config,) = configurations(
        "tiny", [next(iter(TINY.models))], [NODES], ["fp32"], [NET.seed], {}, "local-sgd(interval=3)"
    )
    config = replace(config, learning_rate=config.learning_rate * cell.scale).canonical()
    run = Run(config, folder / "none.npz", torch.device("cpu"))
    while run.has_more():
        run.step()
    module, part = run.trainer.model.module.eval(), load_dataset("digits").test
    mean = run.trainer.parameters.double().mean(dim=0).float()
    torch.nn.utils.vector_to_parameters(mean, module.parameters())
    with torch.no_grad():
        wrong = (module(part.images).argmax(dim=1) != part.labels).double().mean().item()
    assert cell.metric[0] == pytest.approx(wrong, abs=1.5 / len(part.labels))
    assert cell.keys[0] == config.key
    # Eight steps end with nodes apart: two exchanges, and the last average is charged.
    assert cell.sent == 3 * 32 * NUM_PARAMETERS
    assert cell.rounds == 3


def test_a_model_that_is_not_the_best_on_validation_is_tested_too(monkeypatch, tmp_path):
    """Where an earlier epoch validates better, the record has both test accuracies; the last one counts."""
    seen = iter([0.9, 0.8])
    monkeypatch.setattr(
        Run, "_validation_accuracy", lambda run: (run.trainer.show_consensus(), next(seen))[1]
    )
    task = replace(NET, tests=1)
    comparison = runner(tmp_path).comparison(task)
    found = comparison.run(ComparedMethod.parse("synchronous"), 1.0, range(1))
    record = RunStore(tmp_path).record(found.keys[0])

    assert record.result["best_epoch"] == 1
    assert record.result["last_test_accuracy"] > record.result["test_accuracy"]
    assert found.metric == (1 - record.result["last_test_accuracy"],)
    document = json.loads((tmp_path / found.keys[0] / "run.json").read_text())
    del document["result"]["last_test_accuracy"]
    (tmp_path / found.keys[0] / "run.json").write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="the last model is scored"):
        comparison.run(ComparedMethod.parse("synchronous"), 1.0, range(1))


def test_a_killed_command_goes_on_and_repeats_nothing(folder):
    """Without half of its runs a cell trains these again and is the same; a finished one trains nothing."""
    first = runner(folder).cell(NET, "32x", ["minibatch(interval=4)"])
    trained = []
    assert runner(folder, trained).cell(NET, "32x", ["minibatch(interval=4)"]) == first
    assert trained == []
    for key in first.keys[::2]:
        (folder / key / "run.json").unlink()
    again = runner(folder, trained).cell(NET, "32x", ["minibatch(interval=4)"])
    assert [config.key for config in trained] == list(first.keys[::2])
    assert replace(again, cpu=0.0) == replace(first, cpu=0.0)
    assert first.sent == NET.allowed_bits(4)
    assert {config.seed for config in trained} == {NET.seed}


def test_rates_are_chosen_by_validation_on_other_seeds(folder):
    """The least validation error on seed 1000 counts; a rate that learnt nothing stops no larger one."""
    cell = runner(folder).cell(NET, "32x", ["minibatch(interval=4)"])
    tried = dict(cell.tried)
    store = RunStore(folder)
    tuned = [record for record in store.records() if record.config.seed == network_task.FIRST_TUNING_SEED]

    assert cell.scale == min(tried, key=lambda scale: (tried[scale], scale))
    found = {
        record.config.learning_rate / TINY.settings["learning_rate"]: store.epochs(record)[-1]
        for record in tuned
        if record.config.algorithm == "minibatch(interval=4)"
    }
    for scale, loss in tried.items():
        epoch = next(value for at, value in found.items() if at == pytest.approx(scale))
        assert loss == pytest.approx(1 - epoch.validation_accuracy)


def test_a_preset_of_another_size_is_refused(folder):
    """A run of other steps or parameters than the definition says is no result of the task."""
    for changed in (replace(NET, steps=9), replace(NET, dimension=100)):
        with pytest.raises(IntegrityError, match="the preset was changed"):
            runner(folder).comparison(changed).run(ComparedMethod.parse("synchronous"), 1.0, range(1))


def _cell(cell, *metric, rung="32x"):
    return replace(cell, metric=metric, rung=rung)


def test_networks_are_compared_by_differences_and_not_scored(folder):
    """Within the margin nothing is lost, within half of it is a tie, and no score knows of it."""
    made = runner(folder).cell(NET, "32x", ["minibatch(interval=4)"])
    base = _cell(made, 0.050, 0.052, rung="1x")
    entries = [
        entry("fp32", base),
        entry("best", _cell(made, 0.050, 0.052)),
        entry("near", _cell(made, 0.059, 0.061)),
        entry("lossless", _cell(made, 0.0650001, 0.067)),
        entry("far", _cell(made, 0.0800001, 0.082)),
    ]
    board = Board(SUITE, entries)

    assert board.tied_with_best(NET, "32x") == {"best", "near"}
    assert board.loss_free("lossless", NET) == (4.0, ">")
    assert board.loss_free("far", NET) == (4.0, "<")
    assert all(board.score(name, "32x") is None for name in ("best", "far"))
    assert [row[0] for row in network_rows(board, NET, "32x")] == [
        "fp32 (1x)",
        "best",
        "near",
        "lossless",
        "far",
    ]
    assert result_file.missing_cells(entries[1], SUITE, ["32x"]) == []
    assert np.isclose(board.scored("far", NET, "32x").ratio, 0.081 / 0.051, rtol=1e-4)


def test_the_commands_run_a_network_and_print_it_apart(monkeypatch, tmp_path, capsys, baselines, folder):
    """`suite run --task net` gives a result with anchors; the table has a part that is not scored."""
    from qsgd_lab.cli.sweep import compare_networks

    whole = runner(folder).cell(NET, "1x", ["synchronous"])
    stored = (replace(baselines[0], cells={**baselines[0].cells, ("net", "1x"): whole}), baselines[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(definition, "load_suite", lambda: SUITE)
    monkeypatch.setattr(result_file, "stored_entries", lambda _: stored)
    monkeypatch.setattr(cells, "check_data", lambda *_: None)
    monkeypatch.setattr(
        compare_networks, "train_missing", lambda configs, store, *_: network_task.train_here(store, configs)
    )
    lines = ['suite = "small/0"', 'name = "mine"', "[specs]", '"32x" = ["local-sgd(interval=3)"]']
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    arguments = ["suite", "run", "mine.toml", "--task", "net", "--rung", "32x", "-o", "mine.json"]

    assert main([*arguments, "--dry-run"]) == 0
    assert "local-sgd(interval=3) on net" in capsys.readouterr().out
    assert main([*arguments, "--runs", str(folder)]) == 0
    document = json.loads((tmp_path / "mine.json").read_text())
    assert [anchor["within"] for anchor in document["anchors"]] == [True]
    assert document["verification"][0]["metric"] is not None
    # Results of one submission in two files are one entry.
    assert main(["suite", "run", "mine.toml", "--task", "curved", "--no-audit", "-o", "other.json"]) == 0
    capsys.readouterr()
    assert (
        main(["suite", "table", "--against", "other.json", "--against", "mine.json", "--format", "json"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert {row["task"] for row in rows if row["entry"] == "mine"} == {"curved", "net"}
    for output_format in ("text", "markdown", "latex"):
        capsys.readouterr()
        assert main(["suite", "table", "--against", "mine.json", "--format", output_format]) == 0
        out = capsys.readouterr().out
        assert "net at 32x (4x), not in the score" in out
        assert out.count("mine") >= 1
    assert main(["suite", "table", "--against", "mine.json", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["entry"], row["task"]) for row in rows} >= {("mine", "net"), ("fp32", "net")}
