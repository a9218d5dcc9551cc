"""An engine's step as one CUDA graph: hundreds of launches become one.

Small networks on a large device wait for the host to launch kernels, not for the kernels. A step has the same
shapes and addresses every time, so that it can be recorded once and replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from qsgd_lab.training.flat_model import FlatModel

WARM_UP_CALLS = 3

Compute = Callable[[], torch.Tensor]


class Engine(Protocol):
    """What fills a buffer with the nodes' gradients."""

    model: FlatModel
    gradients: torch.Tensor
    accumulate: bool

    def compute(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Fill `gradients` and return the nodes' mean losses, shape (N,)."""


def record_cuda_graph(compute: Compute) -> Compute:
    """Record what a function launches on the current CUDA device; return what launches it again.

    Raises
    ------
    RuntimeError
        If the function does what a graph cannot hold, such as waiting for the device.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_CALLS):  # libraries allocate their workspaces at the first calls
            compute()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = compute()

    def replay() -> torch.Tensor:
        graph.replay()
        return output

    return replay


class StepGraph:
    """The same contract as the engine that it records at its first call.

    Recording runs the step several times: gradients and running statistics are put back afterwards. A batch
    of another shape than the first, and every batch after a recording that failed, goes to the engine itself.

    Parameters
    ----------
    engine : Engine
    record : callable
        As `record_cuda_graph`.
    """

    def __init__(self, engine: Engine, record: Callable[[Compute], Compute] = record_cuda_graph) -> None:
        self.engine, self.model, self.gradients = engine, engine.model, engine.gradients
        self.accumulate = engine.accumulate
        self._record = record
        self._batch: tuple[torch.Tensor, torch.Tensor] | None = None
        self._replay: Compute | None = None
        self.failure: str | None = None

    def compute(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Fill `gradients` and return the nodes' mean losses, shape (N,)."""
        if self._batch is None:
            self._batch = images.clone(), labels.clone()
            self._replay = self._recorded()
        fits = self._batch[0].shape == images.shape and self._batch[0].dtype == images.dtype
        if self._replay is None or not fits:
            return self.engine.compute(images, labels)
        self._batch[0].copy_(images)
        self._batch[1].copy_(labels)
        return self._replay().clone()  # the next replay writes to the same place

    def _recorded(self) -> Compute | None:
        assert self._batch is not None
        static = self._batch
        changed = [self.gradients, *self.model.module.buffers()]
        before = [tensor.clone() for tensor in changed]
        try:
            return self._record(lambda: self.engine.compute(*static))
        except RuntimeError as error:
            self.failure = str(error)
            return None
        finally:
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
