"""Crops, flips, statistics and normalisation, pixel by pixel. Imports nothing from the package."""

from __future__ import annotations

import numpy as np


def crop_and_flip(image: np.ndarray, row: int, column: int, flipped: bool, padding: int) -> np.ndarray:
    """Return one image (channels, height, width) moved: pad with 0, cut a window out, mirror it."""
    channels, height, width = image.shape
    moved = np.zeros_like(image)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                from_y = y + row - padding
                from_x = (width - 1 - x if flipped else x) + column - padding
                if 0 <= from_y < height and 0 <= from_x < width:
                    moved[c, y, x] = image[c, from_y, from_x]
    return moved


def mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and the standard deviation of bytes, as numbers in [0, 1], summed one by one."""
    numbers = [int(value) / 255 for value in values.ravel()]
    mean = sum(numbers) / len(numbers)
    return mean, (sum((number - mean) ** 2 for number in numbers) / len(numbers)) ** 0.5
