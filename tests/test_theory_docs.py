"""The theory's page and docstrings show numbers; these tests recompute them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import qsgd_lab.theory

PAGE = Path(__file__).parent.parent / "docs" / "theory.md"
MODULES = [module.name for module in pkgutil.walk_packages(qsgd_lab.theory.__path__, "qsgd_lab.theory.")]


def test_the_page_prints_its_numbers():
    """Every example of docs/theory.md gives the output that stands under it."""
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")

    assert result.attempted > 40
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_print_their_numbers(name):
    """Every example in a docstring of the theory gives the output that stands under it."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
