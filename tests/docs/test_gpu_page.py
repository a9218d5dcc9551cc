"""docs/gpu.md: all of its figures come from result files."""

from __future__ import annotations

import importlib.util
import json

import checkout
import pytest

from qsgd_lab.bench.device_suite import DeviceFigure
from qsgd_lab.gpu_check.cases import Outcome
from qsgd_lab.gpu_check.results import as_json, file_name

#: Made up: no device ever gave these.
MADE_UP_DEVICE = {
    "name": "Imaginary 9000",
    "compute_capability": "0.0",
    "memory_gib": 1.5,
    "multiprocessors": 3,
}
MADE_UP_FIGURES = [
    DeviceFigure("torch", "copy", None, 1000, 1e-6, 8000, 1.0),
    DeviceFigure("qsgd-lab", "quantize and pack", 7, 1000, 2e-6, 4508, 0.28175),
]


@pytest.fixture(scope="module")
def make_gpu_page():
    """Return docs/scripts/make_gpu_page.py as a module."""
    path = checkout.ROOT / "docs" / "scripts" / "make_gpu_page.py"
    spec = importlib.util.spec_from_file_location("make_gpu_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up(failure=None):
    """Return the text of a results file that no run wrote."""
    outcomes = [Outcome("quantize", 12, 1000, failure)]
    tools = {"memcheck": "clean"}
    return as_json(MADE_UP_DEVICE, {"numba": "0.0"}, "2000-01-01", outcomes, tools, MADE_UP_FIGURES)


def test_without_results_the_page_claims_nothing(make_gpu_page, tmp_path):
    """No results file, no figure: the page says that nothing was measured."""
    page = make_gpu_page.page(make_gpu_page.stored_results(tmp_path))

    assert page.endswith("## Measured\n\nNot yet measured.\n")
    assert "GB/s" not in page


def test_the_page_holds_the_results_of_each_file(make_gpu_page, tmp_path):
    """Device, versions, date, checks and figures of a file are on the page, with the rates."""
    (tmp_path / file_name("Imaginary 9000")).write_text(made_up())
    page = make_gpu_page.page(make_gpu_page.stored_results(tmp_path))

    assert "Not yet measured" not in page
    assert (
        "### Imaginary 9000\n\n2000-01-01; compute capability 0.0, 1.5 GiB, 3 multiprocessors; numba 0.0."
        in page
    )
    assert "| quantize | 12 | 1000 | equal, byte for byte |" in page
    assert "| memcheck | | | clean |" in page
    assert "| copy | torch |  | 1000 | 1.0 | 8 | 100 % |" in page
    assert "| quantize and pack | qsgd-lab | 7 | 1000 | 2.0 | 2 | 28 % |" in page


def test_a_disagreement_is_shown(make_gpu_page):
    """A check that failed is on the page as one that failed."""
    page = make_gpu_page.page([json.loads(made_up("levels: element 3 is 1 instead of 2"))])

    assert "| quantize | 12 | 1000 | differs: levels: element 3 is 1 instead of 2 |" in page
    assert "equal, byte for byte" not in page


def test_the_page_is_current(make_gpu_page):
    """The committed page is what the committed results make it."""
    fresh = make_gpu_page.page(make_gpu_page.stored_results())

    assert make_gpu_page.PAGE.read_text(encoding="utf-8") == fresh


@pytest.mark.parametrize(
    ("device", "name"), [("NVIDIA A100-SXM4-40GB", "nvidia-a100-sxm4-40gb.json"), ("X (y)", "x-y.json")]
)
def test_a_results_file_is_named_for_its_device(device, name):
    """Letters and digits of the device's name, joined by hyphens."""
    assert file_name(device) == name
