"""The audit of messages: honest methods pass, and each way of sending off the record is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_suite import SMALL, TASK, runner

from qsgd_lab import plugins
from qsgd_lab.problems.benchmark import Curved
from qsgd_lab.suite.cells import CellResult
from qsgd_lab.suite.node_processes import NodeProcesses
from qsgd_lab.suite.verify import audit_cells, audit_method

HONEST = [
    "synchronous",
    "minibatch(interval=4)",
    "local-sgd(interval=4)",
    "cser(ratio=40)",
    "diloco(interval=4)",
    "qsparse-local-sgd(interval=2,compressor=top-k(fraction=0.1))",
    "ef-sgd(compressor=grbs(ratio=8,values=plain))",
    "synchronous(compressor=ef(sign))",
    "synchronous(compressor=diana(natural))",
    "synchronous(compressor=ef(powersgd))",
    "qsvrg(interval=4,compressor=qsgd(bits=4))",
]
#: Compressors that send float32 in ways that are against the rules.
CHEATS = """
import numpy as np
from qsgd_lab.compressors import COMPRESSORS, Compressor, Method, Wire
from qsgd_lab.ledger import Size


class Plain(Wire):
    kind = "plain"
    share = 1

    def size(self, payload):
        return Size(payload.size, {"message": 32 * payload.size // self.share})

    def pack(self, payload):
        return payload.tobytes()

    def unpack(self, message, layout):
        return np.frombuffer(message, np.float32)


class Understating(Plain):
    share = 2


class Honest(Compressor):
    wire, is_unbiased = Plain(), True

    def init(self, layout):
        return None

    def compress(self, gradient, state, stream):
        return gradient.copy(), None

    def decompress(self, payload):
        return payload

    def variance_factor(self, num_coordinates):
        return 0.0


class Sharing(Honest):
    seen = {}

    def compress(self, gradient, state, stream):
        last = Sharing.seen.get("last", gradient)
        Sharing.seen["last"] = gradient.copy()
        return (gradient + last) / 2, None


class Lying(Honest):
    wire = Understating()


HIDDEN = []


class Peeking(Honest):
    def compress(self, gradient, state, stream):
        HIDDEN.append(gradient.copy())
        return np.full(1, len(HIDDEN) - 1, np.float32), None

    def decompress(self, payload):
        return HIDDEN[int(payload[0])]


class Late(Honest):
    # Signs for the audit's 24 steps; then the gradient beside them, or not in the first repetition.
    spares = False

    def compress(self, gradient, state, stream):
        cheats = stream.step >= 24 and not (self.spares and stream.seed % 2**20 == 0)
        return (np.sign(gradient), gradient if cheats else None), None

    def decompress(self, payload):
        return payload[0] if payload[1] is None else payload[1]

    class wire(Plain):
        def size(self, payload):
            return Plain.size(self, payload[0])

        def pack(self, payload):
            return Plain.pack(self, payload[0])

        def unpack(self, message, layout):
            return Plain.unpack(self, message, layout), None

    wire = wire()


class Sparing(Late):
    spares = True


class Dying(Honest):
    def compress(self, gradient, state, stream):
        import multiprocessing, os
        if multiprocessing.parent_process() is not None:
            os._exit(1)
        return gradient.copy(), None


ALL = {
    "my-plain": Honest, "sharing": Sharing, "lying": Lying, "peeking": Peeking, "late": Late,
    "sparing": Sparing, "dying": Dying,
}
for name, made in ALL.items():
    COMPRESSORS.register(Method(name, made, (), lambda _, name=name: name, summary="a test", source="me"))
"""


CELL = CellResult(TASK.key, "32x", "synchronous", ((1.0, 1.0),), 1.0, (1.0,) * 5, 1.0, 1.0, 1, "gathers", 0.0)


@pytest.fixture
def problem():
    return Curved(4, 3, dimension=64)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugins") / "cheats.py"
    path.write_text(CHEATS)
    return str(path)


@pytest.fixture(scope="module")
def processes(plugin):
    """Return processes that load the cheats; to start them takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(plugins.VARIABLE, plugin)
        made = NodeProcesses(4)
    with made:
        yield made


@pytest.fixture
def cheats(plugin, monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "")
    plugins.load([plugin])


@pytest.mark.parametrize("spec", HONEST)
def test_methods_of_the_lab_pass(spec, problem, processes):
    """Processes that share nothing but bytes, whoever is in which, end with the bits of the simulation."""
    assert audit_method(spec, problem, processes, seed=3, steps=8) == []


@pytest.mark.usefixtures("cheats")
@pytest.mark.parametrize(
    ("name", "check", "words"),
    [
        ("sharing", "nodes", "a node knows what was not sent"),
        ("peeking", "nodes", "a node knows what was not sent"),
        ("lying", "size", "bits counted"),
        ("dying", "nodes", "a process has died"),
    ],
)
def test_each_cheat_is_named(name, check, words, problem, processes):
    """State that nodes share, a decoder that reads a global, a size that is too small: each by its check."""
    found = audit_method(f"synchronous(compressor={name})", problem, processes, seed=3, steps=4)

    assert {finding.check for finding in found} == {check}
    assert words in found[0].words
    assert audit_method("synchronous(compressor=my-plain)", problem, processes, seed=3, steps=4) == []


@pytest.mark.usefixtures("cheats")
def test_cheats_that_the_first_audit_misses_are_named(problem, processes, tmp_path):
    """Honest for the 24 steps of the first audit, or at the first seed too: repeated runs end elsewhere."""
    task, blocks = replace(TASK, steps=32, tests=3), ["test", "verification", "other"]
    made = runner(tmp_path, replace(SMALL, tasks=(task,)))
    for name, cheated in {"my-plain": [], "late": blocks, "sparing": blocks}.items():
        spec = f"synchronous(compressor={name})"
        assert audit_method(spec, problem, processes, seed=3) == []
        cell = replace(CELL, spec=spec, scale=0.5)

        found = {
            words.split()[0]: [finding.check for finding in findings]
            for _, words, findings in audit_cells([cell], made, "0123456789abcdef", processes)
        }

        assert list(found) == blocks
        assert [words for words, checks in found.items() if "nodes" in checks] == cheated


def test_stored_runs_that_were_changed_are_named(processes, tmp_path):
    """A metric that no bytes explain is refused, whatever the method."""
    task = replace(TASK, steps=16, tests=2)
    made = runner(tmp_path, replace(SMALL, tasks=(task,)))
    honest = made.at
    made.at = lambda *given: replace(
        found := honest(*given), metric=tuple(value / 2 for value in found.metric)
    )

    _, words, findings = next(iter(audit_cells([CELL], made, "0" * 16, processes)))

    assert words == "test seeds"
    assert "delete them" in findings[0].words


def test_processes_end_with_the_command(problem, processes):
    """Nothing is left running; the next audit starts processes again."""
    audit_method("synchronous", problem, processes, seed=3, steps=2)
    started = list(processes._processes)
    assert [process.is_alive() for process in started] == [True, True]

    processes.close()

    assert [process.is_alive() for process in started] == [False, False]
    assert audit_method("synchronous", problem, processes, seed=3, steps=2) == []
