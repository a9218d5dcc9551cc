"""The theory's page and docstrings show numbers; these tests recompute them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import checkout
import pytest

import qsgd_lab.theory
from qsgd_lab.theory.checks.headline import headline

PAGE = checkout.ROOT / "docs" / "theory.md"
MODULES = [module.name for module in pkgutil.walk_packages(qsgd_lab.theory.__path__, "qsgd_lab.theory.")]


def test_the_page_prints_its_numbers():
    """Every example of docs/theory.md gives the output that stands under it."""
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")

    assert result.attempted > 40
    assert result.failed == 0


def test_the_headline_is_what_is_measured():
    """The page's table is what its commands measure today."""
    table = (
        PAGE.read_text(encoding="utf-8").split("headline: begin -->\n")[1].split("\n<!-- headline: end")[0]
    )

    assert table == headline()


def test_the_pages_figures_are_there():
    """Each figure that the page shows is a file of the repository."""
    shown = re.findall(r"\]\((figures/[^)]+)\)", PAGE.read_text(encoding="utf-8"))

    assert len(shown) == 2
    assert all((PAGE.parent / name).is_file() for name in shown)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_print_their_numbers(name):
    """Every example in a docstring of the theory gives the output that stands under it."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
