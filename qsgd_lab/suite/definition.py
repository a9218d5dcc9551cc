"""The pinned definition: tasks, rungs, search and statistics, read from one file and named by its digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.problems.rate_search import RateScales
from qsgd_lab.report.analysis.communication import Link

FILE = "bits_to_accuracy_0.json"
#: The reference, and the rung at which it is the only entry.
REFERENCE, WHOLE = "fp32", "1x"


@dataclass(frozen=True)
class Task:
    """One training task.

    Attributes
    ----------
    key : str
    kind : {"problem", "network"}
    source : str
        A problem's name, or a preset's.
    split : str
    seed : int
        Of the data, the split and the noise of problems; of networks, the first test seed.
    steps, dimension : int
        T and n.
    metric : str
    ratios : tuple of int
        Compression at each rung, in the order of the suite's rungs.
    margin : float
        Within it, a method loses nothing: a ratio to the reference on problems, a difference on networks.
    tests, tuning : int
        How many seeds report, and how many others choose the rate.
    compute : float
        Modelled seconds of a node's step.
    scored : bool
        Whether it counts in scores of this version.
    reference : tuple of float
        Numbers by which a machine recognises that it has the same data (`fingerprint`).
    """

    key: str
    kind: str
    source: str
    split: str
    seed: int
    steps: int
    dimension: int
    metric: str
    ratios: tuple[int, ...]
    margin: float
    tests: int
    tuning: int
    compute: float
    scored: bool
    reference: tuple[float, ...]

    @property
    def is_difference(self) -> bool:
        """Whether metrics are compared by differences, as errors of networks are, and not by ratios."""
        return self.kind == "network"

    def allowed_bits(self, ratio: float) -> float:
        """Return what a node may send in a run at a compression, before the slack: 32 n T / R."""
        return FLOAT_BITS * self.dimension * self.steps / ratio


@dataclass(frozen=True)
class Suite:
    """A version of the benchmark.

    Attributes
    ----------
    name : str
        With the version, such as ``bits-to-accuracy/0``.
    digest : str
        SHA-256 of the canonical definition; results of another digest are never mixed in.
    nodes : int
    slack : float
        Realised bits may exceed a rung by this factor.
    rungs, quick_rungs : tuple of str
    tasks : tuple of Task
    scales, network_scales : RateScales
        The search for the learning rate, on problems and on networks.
    cap : float
        The ratio to the reference at which a cell's score is 0.
    level : float
        Of the tests.
    mandatory : tuple of str
        Baselines that every table has.
    links : dict of str to Link
    """

    name: str
    digest: str
    nodes: int
    slack: float
    rungs: tuple[str, ...]
    quick_rungs: tuple[str, ...]
    tasks: tuple[Task, ...]
    scales: RateScales
    network_scales: RateScales
    cap: float
    level: float
    mandatory: tuple[str, ...]
    links: dict[str, Link] = field(hash=False)

    def search(self, task: Task) -> RateScales:
        """Return the search for learning rates on a task."""
        return self.scales if task.kind == "problem" else self.network_scales

    def task(self, key: str) -> Task:
        """Return a task by its key.

        Raises
        ------
        ValueError
            If there is none.
        """
        for task in self.tasks:
            if task.key == key:
                return task
        known = ", ".join(task.key for task in self.tasks)
        raise ValueError(f"{self.name} has no task {key!r}; it has {known}")

    def ratio(self, task: Task, rung: str) -> int:
        """Return the compression of a rung on a task.

        Raises
        ------
        ValueError
            If the suite has no such rung.
        """
        if rung == WHOLE:
            return 1
        if rung not in self.rungs:
            raise ValueError(f"{self.name} has no rung {rung!r}; it has {', '.join(self.rungs)}")
        return task.ratios[self.rungs.index(rung)]

    @property
    def scored(self) -> tuple[Task, ...]:
        """The tasks that count."""
        return tuple(task for task in self.tasks if task.scored)


@cache
def load_suite() -> Suite:
    """Return the benchmark of this version of the lab."""
    document = json.loads(files("qsgd_lab.suite").joinpath(FILE).read_text(encoding="utf-8"))
    return suite_of(document)


def suite_of(document: dict[str, Any]) -> Suite:
    """Return the suite of a definition.

    The digest is of the content, so that spaces and the order of names change nothing.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    tasks = [
        Task(**{**task, "ratios": tuple(task["ratios"]), "reference": tuple(task["reference"])})
        for task in document["tasks"]
    ]
    searches = [
        RateScales((), tuple(search["stages"]), tuple(search["first"]))
        for search in (document["search"], document["network_search"])
    ]
    return Suite(
        name=f"{document['name']}/{document['version']}",
        digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        nodes=document["nodes"],
        slack=document["slack"],
        rungs=tuple(document["rungs"]),
        quick_rungs=tuple(document["quick"]["rungs"]),
        tasks=tuple(tasks),
        scales=searches[0],
        network_scales=searches[1],
        cap=document["cap"],
        level=document["level"],
        mandatory=tuple(document["mandatory"]),
        links={link["name"]: Link(link["bandwidth"], link["latency"]) for link in document["links"]},
    )
