"""The theory's page and docstrings show numbers; these tests recompute them."""

from __future__ import annotations

import doctest
import importlib
import inspect
import itertools
import pkgutil
import re

import checkout
import pytest

import qsgd_lab.theory
from qsgd_lab.theory.checks.headline import headline

PAGE = checkout.ROOT / "docs" / "theory.md"
MODULES = [module.name for module in pkgutil.walk_packages(qsgd_lab.theory.__path__, "qsgd_lab.theory.")]


def test_the_page_prints_its_numbers():
    """Every example of docs/theory.md gives the output that is written under it."""
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
    """Every example in a docstring of the theory gives the output that is written under it."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def docstrings(name):
    """Yield (where, docstring) of a module, its public functions and classes, and their methods."""
    module = importlib.import_module(name)
    yield name, inspect.getdoc(module) or ""
    for label, member in inspect.getmembers(module):
        public = inspect.isfunction(member) or inspect.isclass(member)
        if not public or member.__module__ != name:
            continue
        yield f"{name}.{label}", inspect.getdoc(member) or ""
        for part, method in vars(member).items():
            if inspect.isfunction(method) or isinstance(method, property):
                yield f"{name}.{label}.{part}", inspect.getdoc(method) or ""


def math_blocks(text):
    """Return for each ``.. math::`` directive its margin and its lines, up to the first blank one."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith(".. math::"):
            block = list(itertools.takewhile(str.strip, lines[number:]))
            yield len(line) - len(line.lstrip()), block


@pytest.mark.parametrize("name", MODULES)
def test_formulas_in_docstrings_are_whole(name):
    """Each ``.. math::`` block is indented to its end, and its braces and brackets close.

    A line that is not indented beyond the directive is text to a documentation generator.
    """
    for where, text in docstrings(name):
        for margin, block in math_blocks(text):
            formula = " ".join(block)
            assert all(len(line) - len(line.lstrip()) > margin for line in block[1:]), (where, formula)
            assert all(formula.count(a) == formula.count(b) for a, b in ("{}", "()", "[]")), (where, formula)
            assert formula.count("\\bigl") == formula.count("\\bigr"), (where, formula)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_in_their_section(name):
    """Every doctest of a docstring is below its heading "Examples", where documentation generators look."""
    for where, text in docstrings(name):
        head = text.split("Examples\n--------\n")[0]
        assert ">>>" not in head, where
