"""What went through each collective so far, and in how many steps: rounds, bits up and down, modelled time.

An algorithm may send by several collectives, such as CSER with gathered gradients and float32 resets, which
are sums. Bits of each are kept apart, because what a node receives for them, and the time, differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from qsgd_lab.ledger import Ledger
from qsgd_lab.levels import FLOAT_BITS

#: All-reduce, all-gather, by owners of shards, by a server.
SUMS, GATHERS, TWO_PHASE, SERVER = "sums", "gathers", "two-phase", "server"
COLLECTIVES = (SUMS, GATHERS, TWO_PHASE, SERVER)


class Flow(NamedTuple):
    """What went through one collective so far.

    Attributes
    ----------
    rounds : int
        Steps in which it was used.
    sent_bits, received_bits : float
        Whole messages; of whom, the function says that returns it.
    """

    rounds: int
    sent_bits: float
    received_bits: float


def flow_of(collective: str, nodes: int, rounds: Any, sent: Any, down: Any) -> Flow:
    """Return what went through one collective, of all nodes together; numbers, or arrays of them.

    Received is, for sums, as much as is sent, for gathers every other node's message, and from a server what
    it sent. In two phases a node sends what belongs to the other nodes' shards, and receives the means of
    these.

    Parameters
    ----------
    collective : str
        One of `COLLECTIVES`.
    nodes : int
        N.
    rounds : int or ndarray
    sent : float or ndarray
        Bits of all nodes' messages.
    down : float or ndarray
        Bits of what owners of shards, or a server, sent back, each message once.
    """
    others = nodes - 1
    if collective == TWO_PHASE:
        return Flow(rounds, others * sent / nodes, others * down)
    if collective == SERVER:
        return Flow(rounds, sent, nodes * down)
    return Flow(rounds, sent, (others if collective == GATHERS else others > 0) * sent)


class Traffic:
    """Counts of an exchange and all that it forks; counts on a device are not waited for until they are read.

    Attributes
    ----------
    sent : dict of str to Ledger
        By collective: what the local nodes have sent.
    down : Ledger
        What owners of shards, or a server, have sent back, each message once.
    rounds : int
        Steps in which anything was exchanged.
    steps : dict of str to int
        By collective: steps in which it was used.
    """

    def __init__(self) -> None:
        self.sent: dict[str, Ledger] = {}
        self.down = Ledger()
        self.rounds = 0
        self.steps: dict[str, int] = {}
        self._last_steps: dict[str | None, int] = {}

    def exchanged(self, collective: str, step: int) -> None:
        """Count an agreement; several of one step are one round."""
        self.rounds += self._is_new(None, step)
        self.steps[collective] = self.steps.get(collective, 0) + self._is_new(collective, step)

    def _is_new(self, name: str | None, step: int) -> bool:
        is_new = self._last_steps.get(name) != step
        self._last_steps[name] = step
        return is_new

    def ledger(self, collective: str) -> Ledger:
        """Return where messages of a collective are counted."""
        if collective not in self.sent:
            self.sent[collective] = Ledger()
        return self.sent[collective]

    def sent_in_all(self) -> Ledger:
        """Return what was sent by all collectives: the ledger itself where there is one, otherwise a sum."""
        if len(self.sent) == 1:
            return next(iter(self.sent.values()))
        total = Ledger()
        for ledger in self.sent.values():
            total.merge(ledger)
        return total

    def flows(self, nodes: int) -> dict[str, Flow]:
        """Return `flow_of` each collective that was used, for N nodes, in the order of `COLLECTIVES`."""
        down = _message_bits(self.down)
        return {
            collective: flow_of(collective, nodes, rounds, _message_bits(self.ledger(collective)), down)
            for collective in COLLECTIVES
            if (rounds := self.steps.get(collective, 0))
        }

    def fields(self, nodes: int) -> dict[str, float]:
        """Return the counts as flat fields of an epoch's line, of one node; none without all sizes.

        They are "rounds", and for each collective that was used "NAME.rounds", "NAME.sent_bits" and
        "NAME.received_bits"; `flows_in` reads them.
        """
        if not all(_is_known(ledger) for ledger in (self.down, *self.sent.values())):
            return {}
        return {"rounds": self.rounds} | {
            f"{collective}.{name}": value if name == "rounds" else value / nodes
            for collective, flow in self.flows(nodes).items()
            for name, value in flow._asdict().items()
        }

    def add(self, other: Traffic) -> None:
        """Add what another rank has sent; all take part in the same rounds."""
        for collective, ledger in other.sent.items():
            self.ledger(collective).merge(ledger)
        self.down.merge(other.down)
        self.rounds, self.steps = other.rounds, dict(other.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-ready values; this waits for a device."""
        return {
            "sent": {collective: ledger.to_dict() for collective, ledger in self.sent.items()},
            "down": self.down.to_dict(),
            "rounds": self.rounds,
            "steps": dict(self.steps),
        }

    @classmethod
    def from_dict(cls, counts: dict[str, Any]) -> Traffic:
        """Rebuild the counts from `to_dict`."""
        traffic = cls()
        traffic.restore(counts)
        return traffic

    def restore(self, counts: dict[str, Any]) -> None:
        """Go on from the counts of `to_dict`, in place: forks share them."""
        self.sent = {collective: Ledger.from_dict(sums) for collective, sums in counts["sent"].items()}
        self.down = Ledger.from_dict(counts["down"])
        self.rounds, self.steps = counts["rounds"], dict(counts["steps"])


def flows_in(fields: Mapping[str, Any]) -> dict[str, Flow]:
    """Return the collectives of `Traffic.fields`, of one node.

    Raises
    ------
    KeyError
        If a collective has not all of its fields.
    """
    return {
        collective: Flow(*(fields[f"{collective}.{name}"] for name in Flow._fields))
        for collective in COLLECTIVES
        if f"{collective}.rounds" in fields
    }


def _message_bits(ledger: Ledger) -> int:
    """Return the bits of what was counted, in whole messages."""
    ledger.fetch()
    return ledger.bits.get("message", 0) + FLOAT_BITS * ledger.raw_coordinates


def _is_known(ledger: Ledger) -> bool:
    """Whether the size of every message is."""
    ledger.fetch()
    return ledger.covered.get("message", 0) == ledger.coordinates
