"""The README's figure: the committed file shows the committed runs, and a change of a number is seen."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import checkout
import pytest

RUNS = checkout.ROOT / "paper" / "runs.jsonl"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """Return docs/scripts/make_readme_figure.py as a module."""
    spec = importlib.util.spec_from_file_location(
        "make_readme_figure", checkout.ROOT / "docs" / "scripts" / "make_readme_figure.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fresh(maker: ModuleType) -> bytes:
    """Return the figure drawn now."""
    content: bytes = maker.current_figure()
    return content


def test_the_committed_figure_is_current(maker: ModuleType, fresh: bytes) -> None:
    """docs/figures/demo.svg shows what paper/runs.jsonl holds."""
    assert maker.is_current(maker.TARGET.read_bytes(), fresh)


def test_another_matplotlib_is_judged_by_the_numbers(maker: ModuleType, fresh: bytes) -> None:
    """Other strokes pass if another version drew them and the numbers are the same, and only then."""
    moved = fresh.replace(b"<path", b"<!-- moved --><path", 1)
    elsewhere = moved.replace(f"Matplotlib v{maker.mpl.__version__},".encode(), b"Matplotlib v0.1,")
    other_numbers = elsewhere.replace(b"drawn numbers: ", b"drawn numbers: 0")

    assert not maker.is_current(moved, fresh)
    assert maker.is_current(elsewhere, fresh)
    assert not maker.is_current(other_numbers, fresh)
    assert not maker.is_current(b"", fresh)


def test_another_processor_may_round_the_last_digit(maker: ModuleType, fresh: bytes) -> None:
    """A point drawn a thousandth further right passes, one drawn half a point further does not."""
    text = fresh.decode()
    place = re.search(r"<path d=\"M (\d+\.\d+) ", text)
    assert place is not None
    x = float(place[1])
    for shift, passes in ((0.001, True), (0.5, False)):
        moved = text[: place.start(1)] + f"{x + shift:.6f}" + text[place.end(1) :]
        assert maker.is_current(moved.encode(), fresh) == passes


def test_a_changed_accuracy_changes_the_digest(maker: ModuleType, fresh: bytes, tmp_path: Path) -> None:
    """One run's accuracy, one image more, is another digest."""
    runs = tmp_path / "runs.jsonl"
    first, *others = RUNS.read_text(encoding="utf-8").splitlines()
    document = json.loads(first)
    document["result"]["test_accuracy"] -= 1 / 360
    runs.write_text("\n".join([json.dumps(document), *others]), encoding="utf-8")

    assert maker.current_figure(runs).splitlines()[-1] != fresh.splitlines()[-1]
