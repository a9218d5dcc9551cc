"""Algorithms with replicas in whole training runs: resumed in the middle of a round; their traffic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from qsgd_lab import models
from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.cli.main import main
from qsgd_lab.compressors import COMPRESSORS, Layout
from qsgd_lab.data import DATASETS, Dataset, DatasetEntry, Part, load_dataset, register_dataset, registry
from qsgd_lab.models import MODELS, register_model
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import Interrupted, RunOutcome
from qsgd_lab.stream import Stream
from qsgd_lab.training.presets import configurations
from qsgd_lab.training.run import run_training
from qsgd_lab.training.trainer import Trainer

SIZES = (96, 32, 32)
STEPS = 2 * 96 // 8


def load() -> Dataset:
    """Return two classes of noise with different means, 1x4x4."""
    generator = torch.Generator().manual_seed(7)
    parts = []
    for size in SIZES:
        labels = torch.arange(size) % 2
        noise = torch.randn(size, 1, 4, 4, generator=generator)
        parts.append(Part(noise + 0.5 * labels.view(-1, 1, 1, 1), labels))
    return Dataset("noise", 2, *parts)


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register a small data set and model, and take them away again."""
    monkeypatch.setattr(registry._origins, "_outside", {})
    monkeypatch.setattr(models._origins, "_outside", {})
    register_dataset(DatasetEntry("noise", "noise", (1, 4, 4), 2, SIZES, load), origin="tests")
    register_model("line", lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), origin="tests")
    yield
    del DATASETS["noise"], MODELS["line"]
    load_dataset.cache_clear()


def cell(
    algorithm: str,
    compressor: str = "fp32",
    nodes: int = 4,
    seed: int = 0,
    collective: str = "all-gather",
    **more: str,
) -> RunConfig:
    settings = {"epochs": 2, "global_batch": 8, **more}
    arguments = ("demo", ["line"], [nodes], [compressor], [seed], settings, algorithm, "noise")
    (config,) = configurations(*arguments, collective=collective)
    return config


def train(config: RunConfig, path: Path, stops: int | None = None) -> RunOutcome:
    """Train, or stop after so many steps."""
    asked = iter(range(10**9))
    return run_training(
        config,
        checkpoint=path,
        should_stop=lambda: stops is not None and next(asked) >= stops,
        progress=lambda *_: None,
    )


RESUMED = [
    ("local-sgd(interval=5)", "fp32"),
    ("local-sgd(schedule=growing,rounds=4,momentum=averaged)", "qsgd(bits=2)"),
    ("local-sgd(schedule=square-root,interval=2,coefficient=0.15,momentum=reset)", "ef(top-k(fraction=0.1))"),
    ("local-sgd(schedule=one-shot,local_from=0.25)", "fp32"),
    ("qsparse-local-sgd(interval=5)", "top-k(fraction=0.1)"),
    ("cser(resets=top-k(fraction=0.3),interval=5)", "top-k(fraction=0.1)"),
    ("cser-blocks(ratio=4)", "fp32"),
    ("diloco(interval=5,feedback=0.9)", "top-k(fraction=0.1)"),
    ("asynchronous(tau=3,schedule=random,down=top-k(fraction=0.2))", "qsgd(bits=2)"),
    ("parameter-server(down=top-k(fraction=0.2))", "ef(top-k(fraction=0.1))"),
    ("qsvrg(interval=5)", "qsgd(bits=2)"),
    ("minibatch(interval=4)", "ef(top-k(fraction=0.1))"),
]


@pytest.mark.parametrize(("algorithm", "compressor"), RESUMED)
def test_a_run_that_was_killed_is_the_same_run(algorithm: str, compressor: str, tmp_path: Path) -> None:
    """Stopped twenty times, mostly in the middle of a round, the run ends with the same bits."""
    config = cell(algorithm, compressor)
    whole = train(config, tmp_path / "whole.npz")
    for count in [1] * 17 + [2] * 3:  # 23 of the 24 steps
        with pytest.raises(Interrupted):
            train(config, tmp_path / "killed.npz", stops=count)
    killed = train(config, tmp_path / "killed.npz")

    assert killed.result == whole.result
    assert killed.epochs == whole.epochs


def test_every_algorithm_is_among_those_that_are_killed() -> None:
    """Each class that an algorithm's text makes; synchronous SGD is killed in test_sweep_kill."""
    texts = [method.name for method in ALGORITHMS.methods().values() if method.origin == "qsgd_lab"]
    killed = {type(ALGORITHMS.parse(text).make()) for text in ("synchronous", *dict(RESUMED))}
    assert {type(ALGORITHMS.parse(text).make()) for text in texts} == killed


def test_traffic_is_that_of_the_rounds(tmp_path: Path) -> None:
    """Eight rounds of four nodes send 32 n coordinates; growing to one-shot sends fewer, exactly."""
    for algorithm, rounds in (
        ("synchronous", STEPS),
        ("local-sgd(rounds=8)", 8),
        ("local-sgd(schedule=growing,rounds=5)", 5),
        ("local-sgd(schedule=one-shot)", 1),
    ):
        result = train(cell(algorithm), tmp_path / "none.npz").result
        assert result["coordinates_sent"] == 4 * rounds * result["num_parameters"]
        assert result["bits_per_coordinate"] == {"fp32": 32.0}


def sign_bits(*shapes: tuple[int, ...]) -> int:
    """Return the bits of the message of signs, which is as long for every vector."""
    sign, layout = COMPRESSORS.parse("sign").make(), Layout(shapes)
    ones = np.ones(layout.num_coordinates, np.float32)
    payload, _ = sign.compress(ones, sign.init(layout), Stream())
    return 8 * len(sign.wire.pack(payload))


#: n = 34 coordinates in float32, or their signs as one message; 12 steps an epoch, 2 epochs, N = 4.
FLOATS, SIGNS = 32 * 34, sign_bits((2, 16), (2,))

COUNTED = [
    # Twelve steps of their own, then rounds that end after steps 20 and 24.
    ("local-sgd(local_from=0.5,interval=8)", "fp32", [12, 14], {"sums": ([12, 14], FLOATS, FLOATS)}),
    ("local-sgd(schedule=one-shot)", "fp32", [0, 1], {"sums": ([0, 1], FLOATS, FLOATS)}),
    # Models and momenta in the same step.
    (
        "local-sgd(interval=6,momentum=averaged)",
        "fp32",
        [2, 4],
        {"sums": ([2, 4], 2 * FLOATS, 2 * FLOATS)},
    ),
    ("local-sgd(interval=6)", "sign", [2, 4], {"gathers": ([2, 4], SIGNS, 3 * SIGNS)}),
    # Signs of the updates every step, errors in float32 every fourth.
    (
        "cser(interval=4)",
        "sign",
        [12, 24],
        {"sums": ([3, 6], FLOATS, FLOATS), "gathers": ([12, 24], SIGNS, 3 * SIGNS)},
    ),
    ("cser-pl(interval=4,resets=sign)", "fp32", [3, 6], {"gathers": ([3, 6], SIGNS, 3 * SIGNS)}),
    ("asynchronous", "sign", [12, 24], {"server": ([12, 24], SIGNS, FLOATS)}),
    ("parameter-server(down=sign)", "fp32", [12, 24], {"server": ([12, 24], FLOATS, SIGNS)}),
]


def lines_of(rounds: list[int], flows: dict[str, tuple[list[int], float, float]]) -> list[dict[str, float]]:
    """Return what the epochs' lines say: rounds of each collective, and bits of a node in each of them."""
    return [
        {"rounds": count}
        | {
            f"{name}.{field}": used[epoch] * each
            for name, (used, sent, received) in flows.items()
            if used[epoch]
            for field, each in (("rounds", 1), ("sent_bits", sent), ("received_bits", received))
        }
        for epoch, count in enumerate(rounds)
    ]


def traffic_of(outcome: RunOutcome) -> list[dict[str, float]]:
    """Return what the epochs' lines say of the traffic."""
    own = {"epoch", "step", "train_loss", "validation_accuracy"}
    return [{name: value for name, value in line.items() if name not in own} for line in outcome.epochs]


@pytest.mark.parametrize(("algorithm", "compressor", "rounds", "flows"), COUNTED)
def test_traffic_of_every_epoch_by_hand(
    algorithm: str,
    compressor: str,
    rounds: list[int],
    flows: dict[str, tuple[list[int], float, float]],
    tmp_path: Path,
) -> None:
    """Steps in which anything was exchanged, and bits of a node by collective, at the end of each epoch."""
    outcome = train(cell(algorithm, compressor), tmp_path / "none.npz")
    assert traffic_of(outcome) == lines_of(rounds, flows)


def test_full_gradients_of_qsvrg_are_sums_beside_gathered_messages(tmp_path: Path) -> None:
    """At steps 0, 5, 10, 15 and 20 in float32, and every step a message; together what the result counts."""
    outcome = train(cell("qsvrg(interval=5)", "qsgd(bits=2)"), tmp_path / "none.npz")
    first, last = traffic_of(outcome)
    assert [line["rounds"] for line in (first, last)] == [12, 24]
    assert [line["sums.sent_bits"] for line in (first, last)] == [3 * FLOATS, 5 * FLOATS]
    assert last["gathers.received_bits"] == 3 * last["gathers.sent_bits"]
    result = outcome.result
    sent = 4 * (last["sums.sent_bits"] + last["gathers.sent_bits"])
    assert sent == pytest.approx(result["bits_per_coordinate"]["message"] * result["coordinates_sent"])


def test_traffic_in_two_phases_of_two_exchanges_though_killed(tmp_path: Path) -> None:
    """What goes to the other shards' owners, and their means; a fork counts on after a checkpoint, too."""
    config = cell("local-sgd(interval=6,momentum=averaged)", "sign", collective="two-phase")
    whole = train(config, tmp_path / "whole.npz")
    # Each of the two tensors is whole in one shard, with an empty piece of the other; momenta are in float32.
    each = 3 / 4 * (sign_bits((32,), (0,)) + sign_bits((0,), (2,)) + FLOATS)
    assert traffic_of(whole) == lines_of([2, 4], {"two-phase": ([2, 4], each, each)})
    with pytest.raises(Interrupted):
        train(config, tmp_path / "killed.npz", stops=8)
    killed = train(config, tmp_path / "killed.npz")
    assert (killed.epochs, killed.result) == (whole.epochs, whole.result)


def test_what_a_server_sends_down_is_counted(tmp_path: Path) -> None:
    """Each message once: the model in float32, or whole messages of the server's compressor."""
    for algorithm, bits in (
        ("asynchronous", 32.0),
        ("parameter-server", 32.0),
        ("parameter-server(down=sign)", SIGNS / 34),
    ):
        config = cell(algorithm, "qsgd(bits=2)")
        result = train(config, tmp_path / "none.npz").result
        assert result["coordinates_sent"] == 4 * STEPS * result["num_parameters"]
        assert result["down"]["coordinates"] == STEPS * result["num_parameters"]
        assert result["down"]["bits"] == pytest.approx(bits, rel=1e-12)
    assert "down" not in train(cell("synchronous"), tmp_path / "none.npz").result


def test_nodes_see_only_images_of_their_own() -> None:
    """Under shards:1 each of two nodes meets one class, every image at most once an epoch, in a new order."""
    config = cell("synchronous", nodes=2, split="shards:1")
    trainer = Trainer(config, load_dataset("noise"))
    orders = []
    for epoch in range(2):
        batches = [trainer.batch(epoch * trainer.steps_per_epoch + step) for step in range(12)]
        labels = torch.stack([labels for _, labels in batches]).view(12, 2, 4)
        assert [set(labels[:, node].reshape(-1).tolist()) for node in range(2)] in ([{0}, {1}], [{1}, {0}])
        orders.append(trainer._order.tolist())
        assert len(set(orders[-1])) == 96
    assert orders[0] != orders[1]
    assert trainer._order.tolist() == Trainer(config, load_dataset("noise"))._draw_order(1).tolist()


def test_a_split_is_part_of_the_key(tmp_path: Path) -> None:
    """Keys of iid are as before; another split has another key, in one text, and its runs resume."""
    assert "split" not in cell("synchronous").to_dict()
    assert cell("synchronous", split="iid").key == cell("synchronous").key
    config = cell("local-sgd(interval=5)", split="dirichlet:0.30")
    assert config.split == "dirichlet:0.3"
    assert config.key != cell("local-sgd(interval=5)").key
    assert config.baseline().split == "dirichlet:0.3"
    with pytest.raises(Interrupted):
        train(config, tmp_path / "killed.npz", stops=15)
    whole, killed = train(config, tmp_path / "whole.npz"), train(config, tmp_path / "killed.npz")
    assert whole.result == killed.result


def test_what_cannot_be_dealt_is_refused() -> None:
    """One line with the right form."""
    with pytest.raises(ValueError, match="write iid, shards:K"):
        cell("synchronous", split="random")
    with pytest.raises(ValueError, match="96 examples make no 100 shards"):
        cell("synchronous", split="shards:25")


def test_methods_that_do_not_fit_end_before_any_run() -> None:
    """The line names algorithm and compressor; so does one with more rounds than the run has steps."""
    cell(f"local-sgd(rounds={STEPS})")
    with pytest.raises(ValueError, match=r"local-sgd\(rounds=25\): 25 rounds do not fit into 24 local"):
        cell(f"local-sgd(rounds={STEPS + 1})")
    with pytest.raises(ValueError, match=r"cser\(ratio=32\) with top-k.*leave out the compressor"):
        cell("cser(ratio=32)", "top-k")


def test_impossible_schedules_end_before_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 and one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QSGD_LAB_IMPORT", "")
    assert main(["reproduce", "--nodes", "2", "--algorithm", "local-sgd(schedule=growing)"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert "growing needs rounds" in line
