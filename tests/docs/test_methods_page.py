"""The paragraphs on methods: complete for every algorithm, and their commands run."""

from __future__ import annotations

import re
import shlex

import checkout
import pytest

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.registry import problem_entry
from qsgd_lab.problems.simulate import simulate

PARAGRAPHS = checkout.ROOT / "docs" / "methods"
#: What every algorithm's paragraph says after its update rule.
ITEMS = ("Sent", "Proved", "Public code", "See it")
OWN = [method.name for method in ALGORITHMS.methods().values() if method.origin == "qsgd_lab"]
#: What keeps something between the steps has such a paragraph as well.
WRAPPERS = ["ef", "ef21", "diana"]


@pytest.mark.parametrize("name", [*OWN, *WRAPPERS])
def test_every_algorithm_says_what_it_sends_and_what_is_proved(name):
    """Update rule, what is sent, what is proved, what its public code does otherwise, and a command."""
    text = (PARAGRAPHS / f"{name}.md").read_text(encoding="utf-8")
    assert [item for item in ITEMS if f"* *{item}*: " not in text] == []


@pytest.mark.parametrize("name", [*OWN, *WRAPPERS])
def test_the_commands_run(name):
    """Every comparison takes a few steps: its problem, its split and its methods exist and go together."""
    text = " ".join((PARAGRAPHS / f"{name}.md").read_text(encoding="utf-8").split())
    commands = re.findall(r"`(qsgd-lab compare [^`]*)`", text)
    assert commands
    for command in commands:
        words = shlex.split(command)
        given = list(zip(words[2::2], words[3::2], strict=True))
        options = dict(given)
        nodes = int(options.get("--nodes", "4"))
        problem = problem_entry(options["--problem"]).make(nodes, options.get("--split", "iid"), 0)
        for text in (value for option, value in given if option == "--method"):
            method = ComparedMethod.parse(text)
            trace = simulate(
                problem, method.algorithm, method.compressor, nodes=nodes, num_steps=20, repeats=range(1)
            )
            assert trace.errors.shape == (20, 1)
