"""The audit of a method: whether what is sent explains what nodes do, and is counted.

A method runs twice: simulated as in the benchmark, and by nodes that share nothing, each a process, between
which bytes pass. Both must end with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.problem import Floats, Problem
from qsgd_lab.problems.simulate import simulate
from qsgd_lab.suite.anchors import further_runs
from qsgd_lab.suite.cells import CellResult, Runner, or_diverged, problem_of
from qsgd_lab.suite.definition import Suite, Task
from qsgd_lab.suite.node_processes import NodeProcesses, NodesRun
from qsgd_lab.suite.submission import Submission

#: Steps of an audit before a run: a few rounds of methods that exchange every 8 steps.
STEPS = 24
#: What each finding says is wrong.
NODES = (
    "nodes that share nothing end elsewhere: a node knows what was not sent, or a method reads a clock, the "
    "environment or a global"
)
STORED = f"{NODES}; or the stored runs are of another machine or version: then delete them, and run again"
SIZE = "its wire's size is not that of the packed messages: {claimed} bits counted, {bits} sent"
FAILED = "nodes that share nothing fail: {error}"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a method.

    Attributes
    ----------
    check : {"nodes", "size"}
    spec, words : str
    """

    check: str
    spec: str
    words: str

    def __str__(self) -> str:
        return f"{self.spec}: {self.check}: {self.words}"


def audit_method(
    spec: str, problem: Problem, processes: NodeProcesses, *, seed: int, steps: int = STEPS
) -> list[Finding]:
    """Return what is wrong with a method; an empty list if nothing is.

    Parameters
    ----------
    spec : str
    problem : Problem
        Made for these nodes.
    processes : NodeProcesses
    seed, steps : int
    """
    method, repeats = ComparedMethod.parse(spec), range(1)
    # First the simulation: what a method keeps in its classes is then there, and must change nothing.
    trace = simulate(
        problem,
        method.algorithm,
        method.compressor,
        nodes=processes.nodes,
        num_steps=steps,
        repeats=repeats,
        seed=seed,
    )
    try:
        run = processes.run(method, problem, seed=seed, steps=steps, repeats=repeats)
    except RuntimeError as error:
        return [Finding("nodes", spec, FAILED.format(error=error))]
    return _findings(spec, run, run.errors, trace.errors[-1], trace.sent_bits[-1] * processes.nodes, NODES)


def audit_submission(
    submission: Submission, suite: Suite, tasks: Sequence[Task], processes: NodeProcesses
) -> Iterator[tuple[str, list[Finding]]]:
    """Yield each method of a submission, and what is wrong with it on the problems among the tasks.

    Where all tasks are networks, it is audited on the scored problems: its messages are the same there.
    """
    problems = [task for task in tasks if task.kind == "problem"] or list(suite.scored)
    for spec in dict.fromkeys(spec for specs in submission.specs.values() for spec in specs):
        findings: dict[tuple[str, str], Finding] = {}
        for task in problems:
            problem = problem_of(task, task.seed, suite.nodes).problem
            found = audit_method(spec, problem, processes, seed=task.seed)
            findings |= {(finding.check, finding.words): finding for finding in found}
        yield spec, list(findings.values())


def audit_cells(
    cells: Sequence[CellResult], runner: Runner, digest: str, processes: NodeProcesses
) -> Iterator[tuple[CellResult, str, list[Finding]]]:
    """Yield each block of runs whose results count on a problem, in words, and what is wrong with it.

    These are the test seeds of every cell, and the seeds and data that the submission's digest names. All of
    them are repeated from the first step to the last by nodes that share nothing: a cheat may begin late, at
    its tuned rate or at some seeds, and is found.
    """
    blocks = [(cell, "test seeds", range(runner.suite.task(cell.task).tests), None) for cell in cells]
    for cell, words, repeats, seed in [*blocks, *further_runs(runner.suite, digest, cells)]:
        task = runner.suite.task(cell.task)
        if task.kind != "problem":
            continue
        stored = runner.at(task, cell.spec, cell.scale, repeats, seed)
        seed = task.seed if seed is None else seed
        known = problem_of(task, seed, processes.nodes)
        method = ComparedMethod.parse(cell.spec)
        try:
            run = processes.run(
                method, known.problem, seed=seed, steps=task.steps, repeats=repeats, rate_scale=cell.scale
            )
        except RuntimeError as error:
            yield cell, words, [Finding("nodes", cell.spec, FAILED.format(error=error))]
            continue
        errors = np.array(or_diverged(run.errors, known))
        bits = stored.sent * processes.nodes * len(repeats)
        yield cell, words, _findings(cell.spec, run, errors, np.array(stored.metric), bits, STORED)


def _findings(
    spec: str, run: NodesRun, errors: Floats, simulated: Floats, counted: float, words: str
) -> list[Finding]:
    findings = []
    if not (run.agree and np.array_equal(errors, simulated, equal_nan=True)):
        findings.append(Finding("nodes", spec, words))
    if not run.bits == run.claimed == round(counted):
        findings.append(Finding("size", spec, SIZE.format(claimed=run.claimed, bits=run.bits)))
    return findings
