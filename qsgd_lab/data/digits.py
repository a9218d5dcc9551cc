"""scikit-learn's handwritten digits at 32x32: the embedded data set, which needs no download.

1797 real images of 8x8 pixels (UCI's optical recognition of handwritten digits, test part), enlarged
bilinearly, the grey value in three equal channels; 1257 for training, 180 for validation and 360 for testing,
stratified by class.
"""

from __future__ import annotations

import numpy as np
import torch

from qsgd_lab.data.dataset import Dataset, Part
from qsgd_lab.data.digits_table import read_digits
from qsgd_lab.data.split import stratified_split

NUM_VALIDATION, NUM_TEST = 180, 360
_MEAN, _STD = 4.88 / 16, 6.02 / 16  # of all pixels, grey values in [0, 1]


def load_digits() -> Dataset:
    """Return the digits, always split the same way."""
    pixels, classes = read_digits()
    grey = torch.from_numpy(pixels.astype(np.float32) / 16)
    large = torch.nn.functional.interpolate(grey[:, None], (32, 32), mode="bilinear", align_corners=False)
    images = ((large - _MEAN) / _STD).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(classes)
    test, validation, train = stratified_split(classes, (NUM_TEST, NUM_VALIDATION))
    indices = (torch.from_numpy(index) for index in (train, validation, test))
    parts = (Part(images[index].contiguous(), labels[index]) for index in indices)
    return Dataset("digits", 10, *parts)
