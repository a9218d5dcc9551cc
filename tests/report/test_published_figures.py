"""Published figures: what was printed, with a source, under names that match the lab's own runs."""

from __future__ import annotations

import pytest

from qsgd_lab.data import DATASETS
from qsgd_lab.models import MODELS
from qsgd_lab.report.published import PUBLISHED, published_figures
from qsgd_lab.training.presets import PRESETS


def test_figures_have_a_source_and_are_percentages() -> None:
    """Every figure names its place in print; deviations come with several runs."""
    for figure in PUBLISHED:
        assert len(figure.source.reference) > 20
        assert 50 < figure.accuracy < 100
        assert figure.deviation is None or figure.num_runs > 1
        assert (figure.num_levels is None) == (figure.bits == 32)
    assert len(set(PUBLISHED)) == len(PUBLISHED)


def test_names_are_the_labs_own() -> None:
    """On CIFAR-10 every figure names a network that the lab has, and other data sets are not claimed."""
    for figure in PUBLISHED:
        assert (figure.dataset in DATASETS) == (figure.model in MODELS)


@pytest.mark.parametrize(
    ("model", "bits", "accuracies"),
    [
        ("resnet110", 4, {94.19}),
        ("resnet110", 32, {93.86, 93.57, 93.39, 93.68, 93.89}),
        ("alexnet-227", 32, {83.25}),
        ("alexnet-227", 8, {84.2}),
        ("alexnet-227", 4, {85.19}),
        ("alexnet-227", 2, {84.3}),
        ("resnet50-224", 2, {81.56}),
        ("resnet18-224", 4, {87.15}),
    ],
)
def test_figures_are_found_by_network_and_bits(model: str, bits: int, accuracies: set[float]) -> None:
    """The filters give the printed accuracies of a network at some bits."""
    assert {figure.accuracy for figure in published_figures("cifar10", model, [bits])} == accuracies


def test_the_2023_report_can_stand_beside_its_replay() -> None:
    """Each of its networks is one that `report` and `report-2023` train, at bits that they compare."""
    replayed = PRESETS["report-2023"]
    assert set(replayed.models.values()) <= set(PRESETS["report"].models.values())
    published = [figure for figure in PUBLISHED if figure.source.name == "2023 report"]
    assert {figure.model for figure in published} == set(replayed.models.values())
    assert {figure.bits for figure in published} <= {method.bits for method in replayed.methods}
