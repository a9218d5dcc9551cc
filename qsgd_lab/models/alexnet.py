"""AlexNet in three forms: for 32x32 images without and with BatchNorm, and the 2023 report's at 227x227.

The first is the shape of the classification zoo that lists AlexNet beside ResNet-110 for CIFAR: five
convolutions (11, 5, 3, 3, 3), three poolings and a linear layer on the single position that remains. The
second adds what the third has, BatchNorm after every convolution and dropout before the linear layer. The
third is a widespread variant of the ImageNet network, with single columns, BatchNorm and three linear layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from qsgd_lab.models.dropout import KeyedDropout
from qsgd_lab.models.resize import Resize

_CHANNELS = (64, 192, 384, 256, 256)


def alexnet(
    num_classes: int = 10, width_divisor: int = 1, image_shape: Sequence[int] = (3, 32, 32)
) -> nn.Sequential:
    """Return AlexNet for images of 32x32, without BatchNorm.

    Parameters
    ----------
    num_classes : int
    width_divisor : int
        Divides the channels; 1 gives 2 472 266 parameters at 10 classes, 4 gives 159 578.
    image_shape : sequence of int
        (channels, height, width). Smaller square images of an even size are padded with zeros to 32x32.
    """
    features = _features(width_divisor, batch_norm=False, image_shape=image_shape)
    return nn.Sequential(*features, _classifier(width_divisor, num_classes))


def alexnet_batch_norm(num_classes: int = 10, width_divisor: int = 1) -> nn.Sequential:
    """Return the same with BatchNorm after every convolution and half of the last activations dropped.

    Parameters
    ----------
    num_classes : int
    width_divisor : int
        Divides the channels; 4 gives 160 154 parameters at 10 classes.
    """
    return nn.Sequential(
        *_features(width_divisor, batch_norm=True), KeyedDropout(0.5), _classifier(width_divisor, num_classes)
    )


def _features(
    width_divisor: int, *, batch_norm: bool, image_shape: Sequence[int] = (3, 32, 32)
) -> list[nn.Module]:
    a, b, c, d, e = (channels // width_divisor for channels in _CHANNELS)
    height, width = image_shape[1:]
    if height != width or height > 32 or height % 2:
        raise ValueError("AlexNet takes square images of an even size, at most 32x32")
    around = (32 - height) // 2

    def convolution(
        channels_in: int, channels_out: int, size: int, stride: int = 1, around: int = 0
    ) -> list[nn.Module]:
        layer = nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=size // 2 + around)
        return [layer, *([nn.BatchNorm2d(channels_out)] if batch_norm else []), nn.ReLU()]

    return [
        *convolution(image_shape[0], a, 11, stride=4, around=around),
        nn.MaxPool2d(2),
        *convolution(a, b, 5),
        nn.MaxPool2d(2),
        *convolution(b, c, 3),
        *convolution(c, d, 3),
        *convolution(d, e, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
    ]


def _classifier(width_divisor: int, num_classes: int) -> nn.Linear:
    return nn.Linear(_CHANNELS[-1] // width_divisor, num_classes)


def alexnet_227(num_classes: int = 10) -> nn.Sequential:
    """Return the 2023 report's AlexNet: 58 325 066 parameters at 10 classes, most in one linear layer.

    Images of shape (batch, 3, 32, 32) are enlarged to 227x227 inside.
    """
    return nn.Sequential(
        Resize(227),
        *_normalised(3, 96, 11, stride=4, padding=0),
        nn.MaxPool2d(3, stride=2),
        *_normalised(96, 256, 5, padding=2),
        nn.MaxPool2d(3, stride=2),
        *_normalised(256, 384, 3, padding=1),
        *_normalised(384, 384, 3, padding=1),
        *_normalised(384, 256, 3, padding=1),
        nn.MaxPool2d(3, stride=2),
        nn.Flatten(),
        KeyedDropout(0.5),
        nn.Linear(256 * 6 * 6, 4096),
        nn.ReLU(),
        KeyedDropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, num_classes),
    )


def _normalised(
    channels_in: int, channels_out: int, size: int, *, stride: int = 1, padding: int
) -> tuple[nn.Module, nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=padding)
    return convolution, nn.BatchNorm2d(channels_out), nn.ReLU()
