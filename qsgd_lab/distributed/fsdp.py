"""FSDP2 with compressed gradients: the first phase of two, since the owner of a shard keeps it.

``model.set_custom_reduce_scatter(QuantizedReduceScatter(bits=4))``, after ``fully_shard(model)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from qsgd_lab.compressors import ErrorFeedback
from qsgd_lab.compressors.protocol import Compressor, Layout, divide
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.distributed.exchange import message_of
from qsgd_lab.distributed.hook_arguments import check_timeout
from qsgd_lab.distributed.lane import DEFAULT_TIMEOUT_S, Lane
from qsgd_lab.exchange.state import flatten, restored
from qsgd_lab.exchange.two_phase import check_two_phase, up_node
from qsgd_lab.stream import Stream


class QuantizedReduceScatter:
    """A reduce-scatter of codes; one for each module that `fully_shard` was called on.

    Parameters
    ----------
    bits : int
        Of QSGD with the max norm, buckets of 512. Left aside where `compressor` is given.
    compressor : str, optional
        Any method of one message, such as ``"top-k(fraction=0.01)"``.
    error_feedback : bool
        Keep what was not sent, and add it to the next gradient.
    seed : int
    timeout_s : float
        After so long without an answer a rank is taken for lost.

    Notes
    -----
    What FSDP passes is cut into as many equal pieces as there are ranks; a bucket may have coordinates of
    several parameters. A rank adds up the messages of its piece in the order of ranks. Nothing is rounded
    twice: the result stays where it is. Gradients on another device go through host memory, and the call
    waits for it.

    Raises
    ------
    ValueError
        If the method takes several rounds, sends differences, or must be told the learning rate.
    """

    def __init__(
        self,
        bits: int = 4,
        *,
        compressor: str | None = None,
        error_feedback: bool = True,
        seed: int = 0,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        check_timeout(timeout_s)
        Stream(seed).check()
        made: Compressor = COMPRESSORS.parse(compressor or f"qsgd(bits={bits},norm=max)").make()
        check_two_phase(made)
        if isinstance(made, ErrorFeedback) and made.unit == "update":
            raise ValueError(f"{made!r}: FSDP tells no learning rate; leave out unit=update")
        if error_feedback and not made.keeps_errors:
            made = ErrorFeedback(made)
        self.compressor, self.seed, self.timeout_s, self.step = made, seed, timeout_s, 0
        self._lane: Lane | None = None
        self._layout: Layout | None = None
        self._states: list[Any] = []

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Return memory for what goes in or comes out."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: torch.Tensor,
        input_tensor: torch.Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> None:
        """Write the sum, or the mean, of this rank's pieces.

        Raises
        ------
        ValueError
            If the operation is another, or gradients have another size than before.
        PeerError
            If a rank is lost, or its message damaged.
        """
        if op not in (dist.ReduceOp.SUM, dist.ReduceOp.AVG):
            raise ValueError(f"the reduce-scatter is asked for {op}; it adds up, or takes the mean")
        self._begin(input_tensor.numel(), group)
        assert self._lane is not None
        rows = input_tensor.detach().float().cpu().numpy().reshape(self._lane.size, -1)
        total = self._lane.submit(self._sum, rows).result()
        if op == dist.ReduceOp.AVG:
            divide(total, self._lane.size)
        output_tensor.copy_(torch.from_numpy(total).view(output_tensor.shape))
        self.step += 1

    def _begin(self, size: int, group: dist.ProcessGroup) -> None:
        if self._lane is None:
            self._lane = Lane(self.timeout_s, group)
            self._layout = Layout.of(size // self._lane.size)
            self._states = [self.compressor.init(self._layout) for _ in range(self._lane.size)]
        assert self._layout is not None
        if size != self._layout.num_coordinates * self._lane.size:
            raise ValueError("gradients have another size than before: give each module an object of its own")

    def _sum(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self._lane is not None
        assert self._layout is not None
        messages = []
        for owner, row in enumerate(rows):
            stream = Stream(self.seed, up_node(self._lane.size, owner) + self._lane.rank, self.step)
            payload, self._states[owner] = self.compressor.compress(row, self._states[owner], stream)
            messages.append(np.frombuffer(self.compressor.wire.pack(payload), np.uint8))
        total = np.zeros(rows.shape[1], np.float32)
        for rank, message in enumerate(self._lane.scatter(messages)):
            with message_of(rank, self.step):
                self.compressor.add_decoded(bytes(message), self._layout, total)
        return total

    @property
    def bytes_sent(self) -> int:
        """By this rank so far."""
        return 0 if self._lane is None else self._lane.bytes_sent

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's residuals and step, as ``torch.load(weights_only=True)`` takes them."""
        arrays = flatten(self._states)
        return {"step": self.step, **{name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from this rank's state, after a first backward pass.

        Raises
        ------
        ValueError
            If the state is of another size, or before any gradient has said what that is.
        """
        if not self._states:
            raise ValueError("load the state after a first backward pass, which says how large gradients are")
        arrays = {name: value.numpy() for name, value in state.items() if name != "step"}
        known = flatten(self._states)
        if {name: a.shape for name, a in arrays.items()} != {name: a.shape for name, a in known.items()}:
            raise ValueError("the state is of another module, or of another number of ranks")
        self._states, self.step = restored(self._states, arrays), int(state["step"])

    def close(self) -> None:
        """End the thread."""
        if self._lane is not None:
            self._lane.close()
