"""The flaws of the published protocol: each switch does what its notebook did, and its effect is measured."""

from __future__ import annotations

import dataclasses
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qsgd_lab.compressors import QSGD, ErrorFeedback
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.compressors.wrappers.published_flaws import BiasedLevels, OverwrittenErrorFeedback
from qsgd_lab.data import load_dataset
from qsgd_lab.data.dataset import Part
from qsgd_lab.ledger import Ledger
from qsgd_lab.models import MODELS
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import RunOutcome
from qsgd_lab.stream import Stream
from qsgd_lab.training.evaluation import accuracy, accuracy_in_training_mode
from qsgd_lab.training.flaws import CANDIDATES, FLAWS, check_flaws, flaws_of
from qsgd_lab.training.presets import FP32, Method, configurations
from qsgd_lab.training.run import run_training
from qsgd_lab.training.trainer import Trainer

TWO_BIT = Method(2)


def config(*flaws: str, method: Method = TWO_BIT, nodes: int = 2, model: str = "alexnet") -> RunConfig:
    overrides = {"flaws": flaws, "epochs": 3}
    return configurations("digits-report", [model], [nodes], [method], [0], overrides)[0]


@cache
def train(cell: RunConfig) -> RunOutcome:
    with tempfile.TemporaryDirectory() as folder:  # a slow machine saves now and then
        checkpoint = Path(folder) / "checkpoint.npz"
        return run_training(cell, checkpoint=checkpoint, should_stop=lambda: False, progress=lambda *_: None)


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_biased_levels_multiply_by_s_over_s_less_one(bits: int) -> None:
    """With S = 2^b, E[Q(v)] = v S/(S - 1) below the last cell and one level less in it, within 4.5 errors."""
    top = 2**bits - 1
    size = 40_000
    compressor = BiasedLevels(levels=top, norm="max", bucket_size="model")
    for share in (0.3, 0.55, (top - 0.25) / (top + 1), (top + 0.5) / (top + 1)):
        vector = np.full(size + 1, np.float32(share))
        vector[0] = 1
        message, _ = compressor.compress(vector, compressor.init(Layout.of(size + 1)), Stream(seed=3))
        values = compressor.decompress(message)[1:].astype(np.float64)
        position = (top + 1) * float(np.float32(share))
        expected = position / top if position < top else (position - 1) / top
        fraction = position % 1
        error = np.sqrt(fraction * (1 - fraction) / size) / top
        assert abs(values.mean() - expected) <= 4.5 * error + 1e-6


def test_biased_levels_inflate_by_a_third_at_two_bits() -> None:
    """The published 2 bit quantizer makes 0.5 of 0.667: a third more, where the corrected one keeps 0.5."""
    vector = np.full(40_001, np.float32(0.5))
    vector[0] = 1
    means = [
        compressor.decompress(
            compressor.compress(vector, compressor.init(Layout.of(vector.size)), Stream())[0]
        )[1:].mean(dtype=np.float64)
        for compressor in (
            BiasedLevels(levels=3, norm="max", bucket_size="model"),
            QSGD(levels=3, norm="max", bucket_size="model"),
        )
    ]
    assert means == pytest.approx([2 / 3, 1 / 2], abs=4.5 / 6 / np.sqrt(40_000))


def test_biased_levels_truncate_where_they_should_round() -> None:
    """Without randomness the level is floor(S |v| / norm), at most s, with the sign kept."""
    compressor = BiasedLevels(levels=3, norm="max", bucket_size="model", rounding="nearest")
    vector = np.float32([0, 0.2, 0.3, 0.49, 0.51, 0.74, 0.76, 1, -0.6])
    message, _ = compressor.compress(vector, compressor.init(Layout.of(9)), Stream())
    assert message.levels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, -2]


@pytest.mark.parametrize("vector", [[0, 0, 0], [np.nan, 1, 2], [np.inf, 1, 2]])
def test_biased_levels_keep_the_degenerate_cases(vector: list[float]) -> None:
    """Zeros stay zeros without a division by zero, and NaN or infinity still shows."""
    compressor = BiasedLevels(levels=3, norm="max", bucket_size="model")
    message, _ = compressor.compress(np.float32(vector), compressor.init(Layout.of(3)), Stream())
    values = compressor.decompress(message)
    assert not message.levels.any()
    assert np.isnan(values).all() if not np.isfinite(vector).all() else not values.any()


def test_the_overwritten_residual_is_always_zero() -> None:
    """After every kind of step the residual is 0 everywhere, where error feedback's is not."""
    vectors = np.random.default_rng(0).normal(size=(2, 600)).astype(np.float32)
    for kind, is_zero in ((OverwrittenErrorFeedback, True), (ErrorFeedback, False)):
        compressor = kind(QSGD(bits=2, norm="max"))
        _, single = compressor.compress(vectors[0], compressor.init(Layout.of(600)), Stream())
        mean, tally = np.empty(600, np.float32), Ledger()
        fused = compressor.mean(
            NodeRows(vectors), compressor.init_nodes(2, Layout.of(600)), Stream(), mean, tally
        )
        own = compressor.init_nodes(2, Layout.of(600))
        own.residual[:] = vectors
        in_place = compressor.mean(NodeRows(), own, Stream(), mean, tally)
        for state in (single, fused, in_place):
            assert (not state.residual.any()) == is_zero


def test_no_op_error_feedback_trains_as_without() -> None:
    """A run with the flaw gives, to the last bit, the epochs of a run without error feedback."""
    without = config(method=Method(2, "stochastic", False))
    assert train(config("no-op-error-feedback")).epochs == train(without).epochs
    assert train(config("no-op-error-feedback")).epochs != train(config()).epochs


def test_an_unequal_batch_takes_fewer_steps() -> None:
    """Quantized runs at N = 4 take a quarter of the steps an epoch, at the same rate; fp32 is untouched."""
    data = load_dataset("digits")
    fair, flawed = (Trainer(config(*flaws, nodes=4), data) for flaws in ((), ("unequal-batch",)))
    assert flawed.config.batch_size == 4 * fair.config.batch_size
    assert flawed.steps_per_epoch == len(data.train) // (4 * 32) == fair.steps_per_epoch // 4
    assert len(flawed.batch(0)[1]) == 4 * len(fair.batch(0)[1])
    assert flawed.config.peak_learning_rate == fair.config.peak_learning_rate
    assert config("unequal-batch", method=FP32, nodes=4) == config(method=FP32, nodes=4)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Return a network with BatchNorm and dropout, and running statistics that are not those of a batch."""
    module = MODELS["alexnet-quarter-bn-dropout"]()
    initialise(module, 0)
    return module


def test_in_training_mode_a_prediction_depends_on_its_neighbours(network: torch.nn.Module) -> None:
    """Batches of another size change what is predicted; in evaluation mode they do not."""
    part = load_dataset("digits").validation
    rates = {accuracy_in_training_mode(network, part, batch, 0, 0) for batch in (2, 32, 180)}
    assert len(rates) > 1
    halves = [Part(part.images[i::2], part.labels[i::2]) for i in range(2)]
    assert sum(accuracy(network, half) for half in halves) / 2 == pytest.approx(accuracy(network, part))


def test_evaluation_in_training_mode_leaves_no_trace(network: torch.nn.Module) -> None:
    """It is a function of its key, and the running statistics and the mode stay as they were."""
    part = load_dataset("digits").validation
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, again, other = (accuracy_in_training_mode(network, part, 32, 0, index) for index in (5, 5, 6))
    assert first == again
    assert first != other
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("flaw", "validation_differs", "test_differs"),
    [("train-mode-validation", True, False), ("train-mode-evaluation", True, True)],
)
def test_training_mode_changes_what_is_reported(
    flaw: str, validation_differs: bool, test_differs: bool
) -> None:
    """Only the evaluation is flawed: training is the same, and so is the test where it stays honest."""
    cell = config(model="alexnet-bn")
    honest, flawed = train(cell), train(dataclasses.replace(cell, flaws=(flaw,)))
    for mine, other in zip(honest.epochs, flawed.epochs, strict=True):
        assert mine["train_loss"] == other["train_loss"]
    validations = [[epoch["validation_accuracy"] for epoch in run.epochs] for run in (honest, flawed)]
    assert (validations[0] != validations[1]) == validation_differs
    if honest.result["best_epoch"] == flawed.result["best_epoch"]:
        assert (honest.result["test_accuracy"] != flawed.result["test_accuracy"]) == test_differs


@pytest.mark.parametrize("method", [FP32, TWO_BIT, Method(2, "stochastic", False)], ids=str)
def test_choice_on_the_test_set_never_lowers_it(method: Method) -> None:
    """The reported accuracy is at least the honest one, on training that is the same to the last bit."""
    honest, flawed = (train(config(*flaws, method=method)) for flaws in ((), ("test-set-selection",)))
    assert honest.epochs == flawed.epochs
    assert flawed.result["validation_accuracy"] == honest.result["validation_accuracy"]
    assert flawed.result["test_accuracy"] >= honest.result["test_accuracy"]


def test_the_choice_is_the_best_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reported is the maximum over the test accuracies of the three best checkpoints."""
    from qsgd_lab.training import run as module

    tested = []
    size = len(load_dataset("digits").test)

    def spy(network: torch.nn.Module, part: Part) -> float:
        result = accuracy(network, part)
        if len(part) == size:
            tested.append(result)
        return result

    monkeypatch.setattr(module, "accuracy", spy)
    outcome = train.__wrapped__(config("test-set-selection"))
    assert len(tested) == CANDIDATES
    assert outcome.result["test_accuracy"] == max(tested)


def test_a_flawed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    """Stopped in the third epoch with all flaws and dropout, a run ends as if undisturbed."""
    from qsgd_lab.runs.record import Interrupted

    cell = config(*FLAWS, model="alexnet-bn")
    asked = iter(range(10**6))
    arguments: dict[str, Any] = {"checkpoint": tmp_path / "state.npz", "progress": lambda *_: None}
    with pytest.raises(Interrupted):
        run_training(cell, should_stop=lambda: next(asked) >= 45, **arguments)
    resumed = run_training(cell, should_stop=lambda: False, **arguments)
    assert (resumed.result, resumed.epochs) == (train(cell).result, train(cell).epochs)


def test_flaws_have_one_key() -> None:
    """Order and repetition of names do not matter; flaws of the quantizer are void at full precision."""
    names = list(FLAWS)
    assert config(*names) == config(*reversed(names), names[0])
    plain = config(method=FP32)
    assert config("biased-levels", "no-op-error-feedback", method=FP32).key == plain.key
    assert config("test-set-selection", method=FP32).key != plain.key


def test_every_flaw_has_a_source() -> None:
    """Each flaw is in a published notebook, and an unknown name is refused with the known ones."""
    found = {name for notebook in ("AlexNet", "ResNet50", "ResNet18") for name in flaws_of(notebook)}
    assert found == set(FLAWS)
    with pytest.raises(ValueError, match="no-op-error-feedback"):
        check_flaws(["no-such-flaw"])
