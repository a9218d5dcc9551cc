"""Ledgers, forks and their seeds: the same in every exchange, wherever its nodes are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qsgd_lab.ledger import Ledger

_Exchange = TypeVar("_Exchange", bound="CountingExchange")

#: The number of a fork has the upper 8 of a seed's 64 bits.
_MAX_FORKS = 255


class CountingExchange:
    """Counts what is sent, also for the exchanges that it forks.

    Parameters
    ----------
    seed : int
        Of the random words.
    parent : CountingExchange, optional
        Whose ledgers count; by default ledgers of its own.
    """

    def __init__(self, seed: int, parent: CountingExchange | None) -> None:
        self.seed, self._parent = seed, parent
        # One count and seed for an exchange and all that it forks, so that no two have the same words.
        self._root, self._forks = self, 0
        self._ledger, self._down_ledger = Ledger(), Ledger()
        self._server_of: CountingExchange | None = None
        #: Called after each agreement; training measures its time by it.
        self.after_mean: Callable[[], None] = lambda: None

    @property
    def ledger(self) -> Ledger:
        """What the local nodes have sent, by this exchange and its forks; of a server, what goes down."""
        if self._server_of is not None:
            return self._server_of.down_ledger
        return self._ledger if self._parent is None else self._parent.ledger

    @ledger.setter
    def ledger(self, ledger: Ledger) -> None:
        """Begin to count again, or go on from a checkpoint."""
        self._ledger = ledger
        self._ledgers_changed()

    @property
    def down_ledger(self) -> Ledger:
        """What owners of shards, or a server, have sent, each message once; nothing where there are none."""
        return self._down_ledger if self._parent is None else self._parent.down_ledger

    @down_ledger.setter
    def down_ledger(self, ledger: Ledger) -> None:
        """Begin to count again, or go on from a checkpoint."""
        self._down_ledger = ledger
        self._ledgers_changed()

    def _ledgers_changed(self) -> None:
        """Tell exchanges that are parts of this one; here there are none."""

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

    def _counted_down(self, server: _Exchange) -> _Exchange:
        """Return what a server sends by, counting in `down_ledger`: also after a checkpoint replaced it."""
        server._server_of = self
        return server

    def _forked(self, other: _Exchange) -> _Exchange:
        """Return an exchange whose agreements count as this one's."""
        other._root = self._root
        other.after_mean = lambda: self.after_mean()
        return other
