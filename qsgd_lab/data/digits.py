"""scikit-learn's handwritten digits at 32x32: the embedded data set, which needs no download.

1797 real images of 8x8 pixels (UCI's optical recognition of handwritten digits, test part), enlarged
bilinearly, the grey value in three equal channels; 1257 for training, 180 for validation and 360 for testing,
stratified by class.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.data.dataset import Dataset, Part
from qsgd_lab.randomness import Purpose, generator

NUM_VALIDATION, NUM_TEST = 180, 360
_SPLIT_SEED = 0
_MEAN, _STD = 4.88 / 16, 6.02 / 16  # of all pixels, grey values in [0, 1]


def load_digits() -> Dataset:
    """Return the digits, always split the same way."""
    from sklearn.datasets import load_digits as load_from_sklearn

    source = load_from_sklearn()
    grey = torch.from_numpy(source.images.astype(np.float32) / 16)
    large = torch.nn.functional.interpolate(grey[:, None], (32, 32), mode="bilinear", align_corners=False)
    images = ((large - _MEAN) / _STD).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(source.target.astype(np.int64))
    test, validation, train = stratified_split(source.target, (NUM_TEST, NUM_VALIDATION))
    parts = (Part(images[index].contiguous(), labels[index]) for index in (train, validation, test))
    return Dataset("digits", 10, *parts)


def stratified_split(labels: NDArray[np.int64], sizes: tuple[int, ...]) -> list[torch.Tensor]:
    """Return disjoint index tensors of the given sizes and, last, the rest; classes spread evenly over each.

    Examples are shuffled and sorted by class; an even comb over that order takes from each class its share,
    to within one.
    """
    shuffled = generator(_SPLIT_SEED, Purpose.SPLIT).permutation(len(labels))
    rest = shuffled[np.argsort(labels[shuffled], kind="stable")]
    parts = []
    for size in sizes:
        chosen = np.zeros(len(rest), bool)
        chosen[np.linspace(0, len(rest), size, endpoint=False).astype(int)] = True
        parts.append(torch.from_numpy(np.sort(rest[chosen])))
        rest = rest[~chosen]
    return [*parts, torch.from_numpy(np.sort(rest))]
