"""Mean and deviation of each colour channel, exactly summed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
