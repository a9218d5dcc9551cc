"""Bytes to centred and scaled float32, the same bits on every device."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Attributes
    ----------
    mean, std : tuple of float
        One a channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``(images / 255 - mean) / std``.

        One exact conversion, one subtraction and one multiplication in float32: no addition follows the
        multiplication, so that a fused multiply-add has nothing to change.

        Parameters
        ----------
        images : uint8 tensor, shape (m, channels, height, width)

        Returns
        -------
        float32 tensor
            Of the same shape and memory format, on the same device.
        """
        shape = (1, -1, 1, 1)
        centre = torch.tensor([255 * mean for mean in self.mean], device=images.device).view(shape)
        scale = torch.tensor([1 / (255 * std) for std in self.std], device=images.device).view(shape)
        return images.to(torch.float32).sub_(centre).mul_(scale)
