"""Small networks for images and vectors of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

_HIDDEN = 128


def conv28(num_classes: int = 10, image_shape: Sequence[int] = (1, 28, 28)) -> nn.Sequential:
    """Return three convolutions and two linear layers, without BatchNorm.

    Parameters
    ----------
    num_classes : int
    image_shape : sequence of int
        (channels, height, width); (1, 28, 28) gives 98 442 parameters at 10 classes.
    """
    channels, height, width = image_shape
    places = _places(height) * _places(width)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * places, _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, num_classes),
    )


def _places(length: int) -> int:
    """Return what two strides of 2 and one pooling leave of a side."""
    return -(-length // 4) // 2


def mlp(num_classes: int, image_shape: Sequence[int]) -> nn.Sequential:
    """Return one hidden layer of 128 units, for inputs of any shape.

    Parameters
    ----------
    num_classes : int
    image_shape : sequence of int
        Of one input; its values are taken as one vector.
    """
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(image_shape), _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, num_classes)
    )
