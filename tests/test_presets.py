"""Presets: the grid that a request means."""

import pytest

from qsgd_lab.training.presets import FP32, PRESETS, Method, configurations, methods_of
from qsgd_lab.training.warnings import theory_warnings

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
    """The default sweep has 84 cells with 84 keys, all of the first seed first."""
    cells = configurations("demo", ["alexnet"], [1, 2, 4, 8], DEMO.methods, DEMO.seeds, {})
    assert len({cell.key for cell in cells}) == len(cells) == 84
    assert [cell.seed for cell in cells] == [0] * 28 + [1] * 28 + [2] * 28


def test_fp32_has_one_key_whatever_the_quantizers_options() -> None:
    """The baseline does not depend on norm or buckets."""
    keys = {
        configurations("demo", ["alexnet"], [1], [FP32], [0], overrides)[0].key
        for overrides in ({}, {"norm": "l2"}, {"bucket_size": 512})
    }
    assert len(keys) == 1


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_agree_with_their_data(name: str) -> None:
    """The number of training images that a preset states is that of its data set, and its models exist."""
    from qsgd_lab.data import load_dataset
    from qsgd_lab.models import MODELS

    preset = PRESETS[name]
    assert preset.num_train == len(load_dataset(preset.dataset).train)
    assert set(preset.models.values()) <= set(MODELS)


@pytest.mark.parametrize(
    ("models", "nodes", "overrides", "message"),
    [
        (["resnet9"], [1], {}, "it has: alexnet"),
        (["alexnet"], [3], {}, "possible: 1, 2, 4, 8, 16, 32"),
        (["alexnet"], [1], {"epochs": 0}, "at least 1"),
    ],
)
def test_impossible_requests_say_what_is_possible(
    models: list[str], nodes: list[int], overrides: dict[str, int], message: str
) -> None:
    """An unknown model, an unequal split and an empty run are refused with the right choice named."""
    with pytest.raises(ValueError, match=message):
        configurations("demo", models, nodes, [FP32], [0], overrides)


def test_theory_warns_of_error_feedback_on_what_is_no_contraction() -> None:
    """l2 buckets of 512 at 2 bits have factor sqrt(512)/3 - 1 = 6.54; 8 bits and the max norm pass."""

    def lines(overrides: dict[str, object], *methods: Method) -> list[str]:
        return list(theory_warnings(configurations("demo", ["alexnet"], [1, 2], methods, [0, 1], overrides)))

    l2 = {"norm": "l2", "bucket_size": 512}
    (line,) = lines(l2, Method(2), Method(8))
    assert "6.54" in line
    assert lines({}, Method(2)) == lines(l2, Method(2, "stochastic", False), FP32) == []
    assert "at least" in lines({"norm": "l2"}, Method(4))[0]
