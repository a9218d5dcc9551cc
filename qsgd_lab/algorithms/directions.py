"""What N nodes want to subtract from their models: rate times gradient, decay and momentum of their own."""

from __future__ import annotations

import numpy as np
import torch

from qsgd_lab.algorithms.protocol import Arrays, Hyperparameters


class Directions:
    """The nodes' updates, as torch's SGD makes them, before anything is exchanged.

    d = g + decay x; m <- beta m + d; the update is rate m, or with Nesterov momentum rate (d + beta m).

    Parameters
    ----------
    like : torch.Tensor
        Shape (N, n): of the nodes' models.
    settings : Hyperparameters
    """

    def __init__(self, like: torch.Tensor, settings: Hyperparameters) -> None:
        self.settings = settings
        self.momenta = torch.zeros_like(like) if settings.momentum else None

    def write(
        self, models: torch.Tensor, gradients: torch.Tensor, rate: float, out: torch.Tensor
    ) -> torch.Tensor:
        """Write the updates of a step to `out`, shape (N, n), and return it."""
        settings = self.settings
        # Node by node: torch rounds the last coordinates of a tensor otherwise than others, so that a node
        # on a rank of its own would differ.
        for node, direction in enumerate(out):
            torch.add(gradients[node], models[node], alpha=settings.weight_decay, out=direction)
            if self.momenta is None:
                direction.mul_(rate)
                continue
            momentum = self.momenta[node]
            momentum.mul_(settings.momentum).add_(direction)
            if settings.nesterov:
                direction.add_(momentum, alpha=settings.momentum).mul_(rate)
            else:
                torch.mul(momentum, rate, out=direction)
        return out

    def arrays(self) -> Arrays:
        """Return the momenta, for a checkpoint."""
        return {} if self.momenta is None else {"momenta": self.momenta.cpu().numpy()}

    def restore(self, arrays: Arrays) -> None:
        """Continue with the momenta."""
        if self.momenta is not None:
            self.momenta.copy_(torch.from_numpy(np.array(arrays["momenta"])))
