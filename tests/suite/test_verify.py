"""The audit of messages: honest methods pass, and each way of sending off the record is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_suite import SMALL, TASK

from qsgd_lab import plugins
from qsgd_lab.problems.benchmark import Curved
from qsgd_lab.suite.cells import CellResult
from qsgd_lab.suite.verify import audit_cells, audit_method, fresh_process

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
]
#: Four compressors that send float32 in a way that is against the rules.
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
    def compress(self, gradient, state, stream):
        return (np.sign(gradient), gradient if stream.step >= 24 else None), None

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


ALL = {"my-plain": Honest, "sharing": Sharing, "lying": Lying, "peeking": Peeking, "late": Late}
for name, made in ALL.items():
    COMPRESSORS.register(Method(name, made, (), lambda _, name=name: name, summary="a test", source="me"))
"""


CELL = CellResult(TASK.key, "32x", "synchronous", ((1.0, 1.0),), 1.0, (1.0,) * 5, 1.0, 1.0, 1, "gathers", 0.0)


@pytest.fixture
def problem():
    return Curved(4, 3, dimension=64)


@pytest.fixture
def cheats(tmp_path, monkeypatch):
    path = tmp_path / "cheats.py"
    path.write_text(CHEATS)
    monkeypatch.setenv(plugins.VARIABLE, "")
    plugins.load([str(path)])


@pytest.mark.parametrize("spec", HONEST)
def test_methods_of_the_lab_pass(spec, problem):
    """Nodes that share nothing but bytes, in any order, end with the bits of the simulation."""
    assert audit_method(spec, problem, nodes=4, seed=3, steps=8) == []


@pytest.mark.parametrize(
    ("name", "check", "words"), [("sharing", "nodes", "shared state"), ("lying", "size", "bits counted")]
)
@pytest.mark.usefixtures("cheats")
def test_each_cheat_is_named(name, check, words, problem):
    """State shared by nodes, and a size that is too small: each by its check."""
    found = audit_method(f"synchronous(compressor={name})", problem, nodes=4, seed=3, steps=4)

    assert {finding.check for finding in found} == {check}
    assert words in found[0].words


@pytest.mark.usefixtures("cheats")
def test_a_cheat_that_begins_late_is_named():
    """Honest for the 24 steps of the first audit: the run that counts, repeated by bytes, ends elsewhere."""
    spec = "synchronous(compressor={})"
    suite = replace(SMALL, tasks=(replace(TASK, steps=32),))
    assert audit_method(spec.format("late"), Curved(4, 3, dimension=64), nodes=4, seed=3) == []
    made = [
        replace(CELL, spec=spec.format(name), scale=scale) for name, scale in (("late", 1), ("my-plain", 0.5))
    ]

    with fresh_process() as decoder:
        ((_, late), (_, plain)) = audit_cells(made, suite, decoder)

    assert [finding.check for finding in late][:1] == ["nodes"]
    assert plain == []


@pytest.mark.usefixtures("cheats")
def test_a_decoder_that_reads_a_global_is_named(problem):
    """A process that never saw the sender cannot decode its messages; those of its honest twin it can."""
    with fresh_process() as decoder:
        honest, peeking = (
            audit_method(
                f"synchronous(compressor={name})", problem, nodes=4, seed=3, steps=4, decoder=decoder
            )
            for name in ("my-plain", "peeking")
        )

    assert honest == []
    assert [finding.check for finding in peeking] == ["decoder"]
    assert "never saw the sender" in peeking[0].words
