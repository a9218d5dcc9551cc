"""AlexNet for 32x32 images, without BatchNorm and with one linear layer.

The shape of the classification zoo that lists AlexNet beside ResNet-110 for CIFAR: five convolutions (11, 5,
3, 3, 3), three poolings and a linear layer on the single position that remains. ``width`` divides the
channels.
"""

from __future__ import annotations

from torch import nn

_CHANNELS = (64, 192, 384, 256, 256)


def alexnet(num_classes: int = 10, width_divisor: int = 1) -> nn.Sequential:
    """Return AlexNet for inputs of shape (batch, 3, 32, 32).

    Parameters
    ----------
    num_classes : int
    width_divisor : int
        1 gives 2 472 266 parameters at 10 classes; 4 gives 159 578.
    """
    a, b, c, d, e = (channels // width_divisor for channels in _CHANNELS)
    return nn.Sequential(
        nn.Conv2d(3, a, 11, stride=4, padding=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(a, b, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(b, c, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(c, d, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(d, e, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(e, num_classes),
    )
