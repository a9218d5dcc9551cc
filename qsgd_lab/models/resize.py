"""Enlarging images inside a network, on their device: 32x32 images for networks made for larger ones."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Resize(nn.Module):
    """Bilinear enlargement to a square; it has no parameters.

    Parameters
    ----------
    size : int
        Pixels a side.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return images of shape (batch, channels, size, size)."""
        return functional.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        """Return the size, for printing."""
        return f"size={self.size}"
