"""A benchmark of one task that takes a tenth of a second, with plug-ins that try to profit from it."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from qsgd_lab import files
from qsgd_lab.problems.benchmark import Curved, SoftmaxDigits
from qsgd_lab.problems.quadratics import UnlikeCurvatures
from qsgd_lab.runs.store import RunStore
from qsgd_lab.suite import cells, definition, result_file

PINNED = definition.load_suite()
#: 64 coordinates and steps.
TASK = replace(
    PINNED.task("curved"), source="unlike-curvatures", dimension=64, steps=64, tests=5, seed=0, reference=()
)
SMALL = replace(PINNED, name="small/0", digest="sha256:small", tasks=(TASK,), nodes=4)
SUBMISSION = """
suite = "small/0"
name = "mine"
title = "My method"
authors = ["J. Doe"]
license = "MIT"

[specs]
"32x" = ["local-sgd(interval=32)"]
"""

#: A wrapper that does nothing, and SGD with a fixed factor of its rate.
PLACEBOS = """
from qsgd_lab.algorithms.registry import ALGORITHMS, Method as Algorithm, Option
from qsgd_lab.algorithms.synchronous import Synchronous
from qsgd_lab.compressors import COMPRESSORS, Compressor, Method


class Idle(Compressor):
    is_unbiased = False

    def __init__(self, inner):
        self.inner = inner
        self.aggregates, self.interactive = inner.aggregates, inner.interactive

    def init(self, layout):
        return self.inner.init(layout)

    def compress(self, gradient, state, stream):
        return self.inner.compress(gradient, state, stream)

    def decompress(self, payload):
        return self.inner.decompress(payload)

    @property
    def wire(self):
        return self.inner.wire

    def variance_factor(self, num_coordinates):
        return self.inner.variance_factor(num_coordinates)


class Scaled(Synchronous):
    def __init__(self, factor):
        self.factor = factor

    def step(self, gradients, step, rate):
        super().step(gradients, step, self.factor * rate)


WORDS = {"summary": "a placebo", "source": "a test"}
FACTOR = Option("factor", float, 0.7, "of the rate")
COMPRESSORS.register(
    Method("idle", Idle, (), lambda options: f"{options['inner']}, idle", is_wrapper=True, **WORDS)
)
ALGORITHMS.register(Algorithm("scaled", Scaled, (FACTOR,), lambda _: "scaled", **WORDS))
"""

#: Local SGD that recognises the public test seeds, or that has learnt the optimum by heart.
PEEKING = """
import torch
from qsgd_lab.algorithms.local_sgd import LocalSGD
from qsgd_lab.algorithms.registry import ALGORITHMS, Method
from qsgd_lab.problems.registry import problem_entry


class Learnt(LocalSGD):
    def consensus(self):
        mean = super().consensus()
        if self.is_honest():
            return mean
        optimum = torch.from_numpy(problem_entry("small-curved").make(4, "iid", 0).optimum)
        return 0.05 * mean + 0.95 * optimum.repeat(mean.numel() // optimum.numel())

    def is_honest(self):
        return False


class Peeking(Learnt):
    def is_honest(self):
        return getattr(self.exchange, "repeats", range(1000, 1001)).start >= 100


for name, made in {"learnt": Learnt, "peeking": Peeking}.items():
    label = lambda _, name=name: name
    make = lambda made=made: made(interval=32)
    ALGORITHMS.register(Method(name, make, (), label, summary="a test", source="me"))
"""


class SmallCurved(Curved):
    """The pinned task with 64 coordinates and 32 steps; its data depend on the seed."""

    num_steps = 32

    def __init__(self, nodes, seed=0):
        super().__init__(nodes, seed, dimension=64)


class SmallSoftmax(SoftmaxDigits):
    """The pinned task with 32 features and a constant, a twelfth of them."""

    num_features = 33


def runner(folder, suite=SMALL):
    """Return a runner of the small benchmark."""
    return cells.Runner(suite, RunStore(folder), lambda _: None)


def entry(name, *made, **options):
    """Return an entry of cells."""
    return result_file.Entry(
        name, name, "baseline", {(each.task, each.rung): each for each in made}, **options
    )


def result_until(folder, countdown=None):
    """Run the submission's cell, write its result to result.json, and die at the moment numbered `countdown`.

    Moments are gradients, and before and after a file takes its name. Returns how many there were.
    """
    passed = 0

    def moment():
        nonlocal passed
        passed += 1
        if passed == countdown:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function):
        def call(*arguments, **options):
            moment()
            found = function(*arguments, **options)
            moment()
            return found

        return call

    kept = UnlikeCurvatures.gradients, os.replace
    UnlikeCurvatures.gradients, os.replace = map(counted, kept)
    try:
        cell = runner(folder / "runs").cell(replace(TASK, steps=16), "8x", ["local-sgd(interval=8)"])
        files.write_atomically(folder / "result.json", result_file.to_json(entry("mine", cell), SMALL))
    finally:
        UnlikeCurvatures.gradients, os.replace = kept
    return passed
