"""The interface of an exchange: N nodes send compressed vectors, and all receive the same mean."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors.protocol import Array, Compressor
from qsgd_lab.ledger import Ledger


class Exchange(Protocol):
    """Agreement of N nodes; an algorithm knows this interface and neither compressor nor network.

    Attributes
    ----------
    nodes : int
        N.
    local : range
        The nodes whose vectors this process holds: all N in a simulation, one where a process is a node.
    ledger : Ledger
        What the local nodes have sent.
    """

    nodes: int
    local: range
    ledger: Ledger

    @property
    def buffer(self) -> Array | None:
        """Return the array of shape (len(local), n) to which vectors may be added instead of being passed.

        With error feedback it is the residuals. None where vectors must be passed.
        """

    def at_rate(self, rate: float) -> None:
        """Tell the compressor the learning rate by which the next mean will be multiplied.

        Algorithms that exchange gradients call it; those that exchange updates or parameters do not.
        """

    def mean(self, vectors: Array | None, step: int, out: Array) -> None:
        """Write the mean of what all nodes' payloads decode to.

        Parameters
        ----------
        vectors : float32, shape (len(local), n), or None
            A row a node; None where they have been added to `buffer`.
        step : int
            Counts from 0; part of the random stream. No step is used twice.
        out : float32, shape (n,)
            Overwritten.
        """

    def partial_mean(self, rows: Array, step: int, out: Array) -> None:
        """Write the mean of what all nodes' payloads decode to, and leave in each row what was not sent.

        For algorithms that keep the rest themselves.

        Parameters
        ----------
        rows : float32, shape (len(local), n)
            A row a node; overwritten.
        step, out
            As in `mean`.
        """

    def all_rows(self, rows: Array) -> Array:
        """Return the rows of all nodes, shape (N, n), as they are: to evaluate; what it sends is not counted.

        Parameters
        ----------
        rows : float32, shape (len(local), n)
        """

    def fork(self, compressor: Compressor) -> Exchange:
        """Return a second exchange among the same nodes, with states and random words of its own.

        It counts in the same ledger. Its states are in no checkpoint but that of who forked.
        """

    def server(self, compressor: Compressor) -> Exchange:
        """Exchange through a server from now on, and return what it sends by.

        That is an exchange of one sender, whose messages all nodes receive: its `mean` takes one row. This
        exchange's `mean` is then what the server computes.
        """

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the compressors' states, for a checkpoint."""

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from the states of `arrays`; `buffer` stays the same array."""
