"""Bytes to centred and scaled float32, the same bits on every device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
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
        import torch  # statistics of files are taken without it

        shape = (1, -1, 1, 1)
        centre = torch.tensor([255 * mean for mean in self.mean], device=images.device).view(shape)
        scale = torch.tensor([1 / (255 * std) for std in self.std], device=images.device).view(shape)
        return images.to(torch.float32).sub_(centre).mul_(scale)


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (means, standard deviations), one a channel, over all pixels of all images, of pixels in [0, 1].

    Parameters
    ----------
    images : uint8, shape (m, channels, height, width)
        Not empty.
    """
    value = np.arange(256) / 255
    means, deviations = [], []
    for channel in np.moveaxis(images, 1, 0):
        share = np.bincount(channel.ravel(), minlength=256) / channel.size
        means.append(float(share @ value))
        deviations.append(float(np.sqrt(share @ (value - means[-1]) ** 2)))
    return tuple(means), tuple(deviations)
