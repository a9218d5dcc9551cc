"""Presets: the grid that a request means."""

import importlib.util
import math
import re

import checkout
import numpy as np
import pytest

from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.data import DATASETS, load_dataset
from qsgd_lab.ledger import Ledger
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.stream import Stream
from qsgd_lab.training.methods import compressor_of
from qsgd_lab.training.presets import FP32, PRESETS, Method, configurations, methods_of, theory_warnings
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer

DEMO = PRESETS["demo"]


def test_the_demo_compares_what_the_report_asks_for() -> None:
    """fp32; 8, 4, 2 bits stochastic with error feedback; 2 bits stochastic; nearest without and with it."""
    assert methods_of(DEMO, None, (), None) == (
        FP32,
        Method(8),
        Method(4),
        Method(2),
        Method(2, "stochastic", False),
        Method(2, "nearest", False),
        Method(2, "nearest", True),
    )


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (((2, 4), (), None), [Method(2), Method(4)]),
        ((None, ("nearest",), None), [Method(b, "nearest") for b in (8, 4, 2)]),
        ((None, (), False), [Method(b, "stochastic", False) for b in (8, 4, 2)]),
        (
            ((32, 1), ("stochastic", "nearest"), False),
            [Method(1, r, False) for r in ("stochastic", "nearest")],
        ),
        (((32,), (), None), []),
    ],
)
def test_naming_any_option_asks_for_its_grid(request_: tuple, expected: list[Method]) -> None:  # type: ignore[type-arg]
    """What is not named is the preset's bits, stochastic, with error feedback; fp32 is always there, once."""
    assert methods_of(DEMO, *request_) == (FP32, *expected)


def test_cells_are_seeds_times_models_times_methods_times_nodes() -> None:
    """The default sweep has 140 cells with 140 keys, all of the first seed first."""
    cells = configurations("demo", ["alexnet"], [1, 2, 4, 8], DEMO.methods, DEMO.seeds, {})
    assert len({cell.key for cell in cells}) == len(cells) == 140
    assert [cell.seed for cell in cells] == [seed for seed in range(5) for _ in range(28)]


def test_fp32_has_one_key_whatever_the_quantizers_options() -> None:
    """The baseline does not depend on norm or buckets."""
    keys = {
        configurations("demo", ["alexnet"], [1], [FP32], [0], overrides)[0].key
        for overrides in ({}, {"norm": "l2"}, {"bucket_size": 512})
    }
    assert len(keys) == 1


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_agree_with_their_data(name: str) -> None:
    """The number of training images that is known beforehand is that of its data set; its models exist."""
    from qsgd_lab.data import fashion_mnist
    from qsgd_lab.data.cifar10 import read as cifar10
    from qsgd_lab.models import MODELS

    preset = PRESETS[name]
    num_train = DATASETS[preset.dataset].sizes[0]
    splits = {
        "cifar10": (cifar10.train_validation_split, 50_000),
        "fashion-mnist": (fashion_mnist.train_validation_split, 60_000),
    }
    if preset.dataset in splits:  # known from its split alone, without its images
        split, count = splits[preset.dataset]
        train, _ = split(np.arange(count).astype(np.uint8) % 10)
        assert num_train == len(train)
    else:
        assert num_train == len(load_dataset(preset.dataset).train)
    assert set(preset.models.values()) <= set(MODELS)
    assert set(preset.model_settings) <= set(preset.models)


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_plans(name: str) -> None:
    """Every model of a preset, at the report's node counts, is a sweep whose cells have keys of their own."""
    preset = PRESETS[name]
    cells = configurations(name, list(preset.models), [1, 2, 4, 8], preset.methods, preset.seeds, {})
    assert len({cell.key for cell in cells}) == len(cells) > 0
    assert all(cell == RunConfig.from_dict(cell.to_dict()) for cell in cells)


def test_the_literatures_settings() -> None:
    """What He et al. trained ResNet-110 with: 128 images, 0.1, 1e-4, crops and flips, 64 000 steps."""
    (cell,) = configurations("full", ["resnet110"], [4], [FP32], [0], {})
    steps = cell.epochs * (DATASETS["cifar10"].sizes[0] // cell.global_batch)
    assert (cell.batch_size, cell.peak_learning_rate, cell.weight_decay) == (128, 0.1, 1e-4)
    assert (cell.schedule, cell.augmentation) == ("steps", "crop-flip")
    assert abs(steps - 64_000) < 400
    assert int(steps * cell.warmup) == pytest.approx(400, abs=1)


def test_the_report_has_equal_batches_and_no_flaws() -> None:
    """`report` is `report-2023` without its flaws: the same networks, equal batches at every N."""
    corrected, published = PRESETS["report"], PRESETS["report-2023"]
    for model, network in published.models.items():
        assert corrected.models[model] == network
        cells = configurations("report", [model], [1, 2, 4, 8], corrected.methods, [0], {})
        assert {(cell.batch_size, cell.flaws) for cell in cells} == {(128, ())}
        flawed = configurations("report-2023", [model], [2], [Method(2)], [0], {})
        assert flawed[0].flaws
    (alexnet,) = configurations("report-2023", ["alexnet"], [2], [Method(2)], [0], {})
    assert (alexnet.batch_size, alexnet.baseline().batch_size) == (128, 64)


@pytest.mark.parametrize(
    ("convention", "bits", "levels"),
    [(None, 2, 3), ("magnitude", 2, 3), ("sign-inside", 4, 7), ("power-of-two", 2, 4)],
)
def test_a_convention_decides_the_levels(convention: str | None, bits: int, levels: int) -> None:
    """The compressor has the levels of the convention and counts the fixed width that they need."""
    overrides = {} if convention is None else {"convention": convention}
    (cell,) = configurations("demo", ["alexnet"], [1], [Method(bits, "stochastic", False)], [0], overrides)
    compressor = compressor_of(cell)
    assert isinstance(compressor, QSGD)
    assert compressor.levels == levels
    tally, size = Ledger(), 1000
    gradient = np.random.default_rng(0).normal(size=(1, size)).astype(np.float32)
    compressor.mean(
        NodeRows(gradient),
        compressor.init_nodes(1, Layout.of(size)),
        Stream(),
        np.empty(size, np.float32),
        tally,
    )
    width = 1 + math.ceil(math.log2(levels + 1))  # a sign, and an index of 0..s
    assert tally.bits["fixed"] == width * size + 32


def test_the_labs_own_convention_has_one_key() -> None:
    """Asking for the default by its name is not another run."""
    keys = {
        configurations("demo", ["alexnet"], [1], [Method(2)], [0], overrides)[0].key
        for overrides in ({}, {"convention": "magnitude"}, {"convention": None})
    }
    assert len(keys) == 1


def test_small_tensors_can_go_raw() -> None:
    """With tensors of up to 1000 coordinates raw, the demo's network sends its biases so."""
    (cell,) = configurations("demo", ["alexnet"], [2], [Method(2)], [0], {"raw_tensors_up_to": 1000})
    trainer = Trainer(cell, load_dataset("digits"))
    trainer.step(0, Stopwatch())
    tally = trainer.exchange.ledger
    small = sum(size for size in trainer.model.sizes if size <= 1000)
    assert (tally.raw_coordinates, tally.coordinates) == (2 * small, 2 * (159_578 - small))
    assert 0 < small < 5000


def test_the_page_of_presets_is_current() -> None:
    """docs/presets.md is what docs/scripts/make_presets_page.py would write."""
    path = checkout.ROOT / "docs" / "scripts" / "make_presets_page.py"
    specification = importlib.util.spec_from_file_location("make_presets_page", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()


@pytest.mark.parametrize(
    ("models", "nodes", "overrides", "message"),
    [
        (["resnet9"], [1], {}, "it has: alexnet"),
        (["alexnet"], [3], {}, "possible: 1, 2, 4, 8, 16, 32"),
        (["alexnet"], [1], {"epochs": 0}, "at least 1"),
        (["alexnet"], [1], {"flaws": ("sloth",)}, "no flaw 'sloth'"),
        (["alexnet"], [4], {"global_batch": 512, "scaling": "weak"}, "more than the 1257"),
    ],
)
def test_impossible_requests_say_what_is_possible(
    models: list[str], nodes: list[int], overrides: dict[str, int], message: str
) -> None:
    """An unknown model, an unequal split and an empty run are refused with the right choice named."""
    with pytest.raises(ValueError, match=message):
        configurations("demo", models, nodes, [FP32], [0], overrides)


def test_bits_without_levels_are_refused() -> None:
    """One bit with the sign inside leaves no level; the plan says so, not a worker."""
    with pytest.raises(ValueError, match="give 0 levels"):
        configurations("demo", ["alexnet"], [1], [Method(1)], [0], {"convention": "sign-inside"})


def test_theory_warns_of_error_feedback_on_what_is_no_contraction() -> None:
    """l2 buckets of 512 at 2 bits have factor sqrt(512)/3 - 1 = 6.54; 8 bits and the max norm pass."""

    def lines(overrides: dict[str, object], *methods: Method) -> list[str]:
        return list(theory_warnings(configurations("demo", ["alexnet"], [1, 2], methods, [0, 1], overrides)))

    l2 = {"norm": "l2", "bucket_size": 512}
    (line,) = lines(l2, Method(2), Method(8))
    assert "6.54" in line
    assert lines({}, Method(2)) == lines(l2, Method(2, "stochastic", False), FP32) == []
    assert "at least" in lines({"norm": "l2"}, Method(4))[0]


@pytest.mark.parametrize(
    ("algorithm", "compressor", "words"),
    [
        ("synchronous", "sign", r"wrap it in ef\(...\)"),
        ("synchronous", "raw-small(one-bit)", "the bias does not average out"),
        ("synchronous", "top-k", "nothing sends it later"),
        ("local-sgd", "powersgd", "local-sgd with powersgd: it leaves out"),
        ("diloco(feedback=0.9)", "top-k", "outer step, 0.7 / .1 - 0.9. = 7"),
        ("synchronous", "ef(rand-k)", "the variance factor under error feedback"),
        ("synchronous", "ef(hsq)", "the variance factor under error feedback"),
        ("ef-sgd", "terngrad(scale=shared)", "no contraction is known"),
        ("cser(resets=terngrad(scale=shared),interval=4)", "fp32", "resets: no contraction is known"),
        ("parameter-server(down=qsgd-shared(bits=1))", "fp32", "down: no contraction is known"),
        ("synchronous", "powersgd", "leaves out"),
        ("synchronous", "ef(powersgd)", None),
        ("synchronous", "ef(sign)", None),
        ("ef-sgd", "top-k", None),
        ("cser(resets=top-k(fraction=0.1),interval=4)", "top-k", None),
        ("diloco(feedback=0.9,outer_momentum=0)", "top-k", None),
        ("synchronous", "rand-k", None),
        ("synchronous", "hsq", None),
    ],
)
def test_what_speaks_against_a_method_is_said_with_the_reason(algorithm, compressor, words) -> None:
    """Methods that leave out the same part ever again are warned of, unless something keeps it."""
    runs = configurations("demo", ["alexnet"], [2], [compressor], [0], {}, algorithm)
    lines = list(theory_warnings(runs))

    assert len(lines) == (words is not None)
    assert words is None or re.search(words, lines[0])


def test_a_collective_has_its_own_key_where_it_changes_the_result():
    """Two phases do, where gradients are compressed and nodes several; an all-reduce is as an all-gather."""

    def cells(collective, methods, nodes=(1, 2, 4), algorithm="synchronous"):
        return configurations("demo", ["alexnet"], nodes, methods, [0], {}, algorithm, collective=collective)

    texts = ["qsgd(bits=2)", "fp32", "ef(powersgd)"]
    gathered = [cell.key for cell in cells("all-gather", texts)]
    assert "collective" not in cells("all-gather", texts)[0].to_dict()
    quantized = cells("two-phase", ["qsgd(bits=2)", "fp32"])
    differs = [cell.key != key for cell, key in zip(quantized, gathered, strict=False)]
    assert differs == [False, True, True, False, False, False]
    assert [cell.collective for cell in cells("auto", texts)].count("two-phase") == 1  # QSGD at 4 nodes
    assert [cell.key for cell in cells("all-reduce", texts[1:])] == gathered[3:]
    assert quantized[2].baseline().key == quantized[5].key
    assert quantized[2].method.endswith("+ EF, two-phase") or quantized[2].method.endswith(", two-phase")
    for collective, text, algorithm, words in (
        ("all-reduce", "qsgd(bits=2)", "synchronous", "cannot be added up; take all-gather"),
        ("two-phase", "ef(powersgd)", "synchronous", "two-phase takes methods of one message"),
        ("two-phase", "top-k", "parameter-server", "two-phase has no server"),
    ):
        with pytest.raises(ValueError, match=words):
            cells(collective, [text], algorithm=algorithm)
