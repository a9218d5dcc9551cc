"""Gradients of a network at other points than the parameters, for algorithms that need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class TrainerOracle:
    """Computes with a trainer's engine, and leaves its parameters, gradients and statistics as they were.

    Parameters
    ----------
    trainer : Trainer
        Whose nodes share one parameter vector.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def again(self, point: torch.Tensor) -> torch.Tensor:
        """Return the gradients of the step's batch at another point."""
        trainer = self.trainer

        def compute() -> torch.Tensor:
            trainer.compute_gradients(*trainer.last_batch)
            return trainer.gradients.clone()  # type: ignore[no-any-return]

        return self._at(point, compute)

    def full(self, point: torch.Tensor) -> torch.Tensor:
        """Return the mean gradients of each node's training examples, as they are stored: none is augmented.

        Where any node may have any example, they are dealt in equal shares; fewer than N are left out.
        """
        trainer = self.trainer
        examples = trainer.examples_of_nodes()
        share = trainer.config.batch_size // trainer.config.nodes
        step = trainer.last_batch[2]

        def compute() -> torch.Tensor:
            total = torch.zeros_like(trainer.gradients)
            for columns in examples.split(share, dim=1):
                images, labels = trainer.dataset.train.batch(columns.reshape(-1))
                trainer.compute_gradients(images, labels, step)
                total.add_(trainer.gradients, alpha=columns.shape[1] / examples.shape[1])
            return total

        return self._at(point, compute)

    def _at(self, point: torch.Tensor, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        trainer = self.trainer
        kept = trainer.model.snapshot()
        gradients = trainer.gradients.clone()
        trainer.model.parameters.copy_(point)
        found = compute()
        trainer.model.restore(kept)
        trainer.gradients.copy_(gradients)
        return found
