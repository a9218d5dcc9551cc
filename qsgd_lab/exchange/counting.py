"""Traffic, forks and their seeds: the same in every exchange, wherever its nodes are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qsgd_lab.compressors.protocol import Compressor
from qsgd_lab.ledger import Ledger
from qsgd_lab.traffic import SERVER, Traffic

_Exchange = TypeVar("_Exchange", bound="CountingExchange")

#: The number of a fork has the upper 8 of a seed's 64 bits.
_MAX_FORKS = 255


class CountingExchange:
    """Counts what is sent, also for the exchanges that it forks.

    Parameters
    ----------
    compressor : Compressor
    seed : int
        Of the random words.
    parent : CountingExchange, optional
        Whose traffic counts; by default a count of its own.

    Attributes
    ----------
    traffic : Traffic
        Of the local nodes, by this exchange, its parent and its forks.
    """

    def __init__(self, compressor: Compressor, seed: int, parent: CountingExchange | None) -> None:
        self.compressor, self.seed = compressor, seed
        # One count and seed for an exchange and all that it forks, so that no two have the same words.
        self._root: CountingExchange = self if parent is None else parent._root
        self._forks = 0
        self.traffic: Traffic = Traffic() if parent is None else parent.traffic
        self._counts_in: Callable[[], Ledger] | None = None
        self._has_server = False
        #: Called after each agreement; training measures its time by it.
        self.after_mean: Callable[[], None] = lambda: None

    @property
    def collective(self) -> str:
        """By which collective the messages travel: one of `qsgd_lab.traffic.COLLECTIVES`."""
        return SERVER if self._has_server else self.compressor.aggregates

    @property
    def own_ledger(self) -> Ledger:
        """Where this exchange counts its messages: with all of its collective."""
        return self._counts_in() if self._counts_in else self.traffic.ledger(self.collective)

    def count_in(self, ledger: Callable[[], Ledger]) -> None:
        """Count in the ledger that a function returns, in place of one of the traffic."""
        self._counts_in = ledger

    @property
    def ledger(self) -> Ledger:
        """What the local nodes have sent, by this exchange and its forks; of a server, what goes down."""
        return self._counts_in() if self._counts_in else self.traffic.sent_in_all()

    @ledger.setter
    def ledger(self, ledger: Ledger) -> None:
        """Begin to count again."""
        self.traffic.sent = {self.collective: ledger}

    @property
    def down_ledger(self) -> Ledger:
        """What owners of shards, or a server, have sent, each message once; nothing where there are none."""
        return self.traffic.down

    def total_traffic(self) -> Traffic:
        """Return the traffic of all nodes; every rank must call it."""
        return self.traffic

    def _agreed(self, step: int) -> None:
        """Count an agreement."""
        self._root.traffic.exchanged(self.collective, step)
        self.after_mean()

    def _fork_seed(self) -> int:
        """Return the seed of a further exchange.

        Raises
        ------
        ValueError
            Beyond 255 exchanges of one run.
        """
        root = self._root
        if root._forks == _MAX_FORKS:
            raise ValueError(f"an exchange has more than {_MAX_FORKS} forks; make them once, in begin")
        root._forks += 1
        # Seeds of runs are below 2**32: no fork has the words of another run.
        return root.seed ^ (root._forks << 56)

    def _served(self, sender: _Exchange, *, counts: bool = True) -> _Exchange:
        """Exchange through a server from now on, and return what it sends by: counted as going down."""
        self._has_server = sender._has_server = True
        if counts:
            sender.count_in(lambda: self.traffic.down)
        return self._forked(sender)

    def _forked(self, other: _Exchange) -> _Exchange:
        """Return an exchange whose agreements count as this one's."""
        other._root = self._root
        other.after_mean = lambda: self.after_mean()
        return other
