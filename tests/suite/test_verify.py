"""The audit of messages: honest methods pass, and each way of sending off the record is named."""

from __future__ import annotations

import pytest

from qsgd_lab import plugins
from qsgd_lab.problems.benchmark import Curved
from qsgd_lab.suite.verify import audit_method, fresh_process

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
#: Three compressors that send float32 in a way that is against the rules.
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


for name, made in {"my-plain": Honest, "sharing": Sharing, "lying": Lying, "peeking": Peeking}.items():
    COMPRESSORS.register(Method(name, made, (), lambda _, name=name: name, summary="a test", source="me"))
"""


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
