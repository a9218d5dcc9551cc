"""The stranger's submission in examples/ is what docs/benchmark.md says: sound, and within its rung."""

from __future__ import annotations

from pathlib import Path

from qsgd_lab import plugins
from qsgd_lab.cli.suite.options import RUNGS, TASKS, submission_named
from qsgd_lab.problems.benchmark import Curved
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.simulate import simulate
from qsgd_lab.suite.definition import load_suite
from qsgd_lab.suite.node_processes import NodeProcesses
from qsgd_lab.suite.verify import audit_method

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "submission" / "cyclic_half.toml"


def test_the_example_can_be_submitted(monkeypatch):
    """It loads from its TOML file alone, passes the audit, and sends at most what 32x allows."""
    monkeypatch.setenv(plugins.VARIABLE, "")
    suite = load_suite()
    found = submission_named(str(EXAMPLE), [])
    (spec,) = found.specs["32x"]
    task = suite.task("curved")
    problem = Curved(suite.nodes, task.seed)

    assert found.origins[0].startswith("cyclic-half=cyclic_half.py sha256:")
    with NodeProcesses(suite.nodes) as processes:
        assert audit_method(spec, problem, processes, seed=3, steps=8) == []
    method = ComparedMethod.parse(spec)
    trace = simulate(
        problem, method.algorithm, method.compressor, nodes=suite.nodes, num_steps=8, repeats=range(1)
    )
    assert trace.sent_bits[-1] / 8 <= suite.slack * task.allowed_bits(32) / task.steps


def test_the_command_line_names_the_definitions_rungs_and_tasks():
    """The lists that help and completion show are those of the pinned file."""
    suite = load_suite()

    assert suite.rungs == RUNGS
    assert tuple(task.key for task in suite.tasks) == TASKS
