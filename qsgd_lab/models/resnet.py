"""Residual networks for 32x32 images: the CIFAR family of depth 6n + 2, the ImageNet family with either stem.

The two families differ enough that a bare "ResNet-50" is ambiguous at this size: here `resnet50` is the
bottleneck network of 23.5 million parameters, and the 6n + 2 network of depth 50 (0.76 million) is called
`resnet50-cifar6n2`. The ImageNet family has a 3x3 stem here; with the ImageNet stem (7x7, stride 2, and a
pooling) it is made for images of 224x224, to which `resnet18-224` and `resnet50-224` enlarge theirs.

References
----------
He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016; section 4.2 for the CIFAR
family.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from qsgd_lab.models.resize import Resize


def _convolution(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, size, stride, padding=size // 2, bias=False)


class PaddedShortcut(nn.Module):
    """Option A of the paper: every second pixel, new channels zero. It has no parameters."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, channels_out - channels_in

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images at the block's output size."""
        thinned = images[:, :, :: self.stride, :: self.stride]
        return functional.pad(thinned, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))


def _projection(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    return nn.Sequential(_convolution(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out))


class Residual(nn.Module):
    """A body and a shortcut, added and rectified."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return relu(body + shortcut)."""
        return functional.relu(self.body(images) + self.shortcut(images))


def _basic_body(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        _convolution(channels_in, channels_out, 3, stride),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        _convolution(channels_out, channels_out, 3),
        nn.BatchNorm2d(channels_out),
    )


def _bottleneck_body(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    inner = channels_out // 4
    return nn.Sequential(
        _convolution(channels_in, inner, 1),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        _convolution(inner, inner, 3, stride),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        _convolution(inner, channels_out, 1),
        nn.BatchNorm2d(channels_out),
    )


def cifar_resnet(depth: int, num_classes: int = 10) -> nn.Sequential:
    """Return the network of depth 6n + 2 with 16, 32 and 64 channels and parameter-free shortcuts.

    Parameters
    ----------
    depth : int
        20 gives 0.27 million parameters, 110 gives 1.73 million.
    num_classes : int

    Raises
    ------
    ValueError
        If the depth is not 6n + 2.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth is {depth}; it must be 6n + 2, such as 20 or 110")
    layers: list[nn.Module] = [_convolution(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU()]
    channels = 16
    for width, first_stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            same = stride == 1 and channels == width
            shortcut = nn.Identity() if same else PaddedShortcut(channels, width, stride)
            layers.append(Residual(_basic_body(channels, width, stride), shortcut))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


_BASIC = ((2, 2, 2, 2), (64, 128, 256, 512))
_BOTTLENECK = ((3, 4, 6, 3), (256, 512, 1024, 2048))


def resnet18(num_classes: int = 10) -> nn.Sequential:
    """Return ResNet-18 with a 3x3 stem and no first pooling: 11.17 million parameters."""
    return _image_net_family(_small_stem(), *_BASIC, bottleneck=False, num_classes=num_classes)


def resnet50(num_classes: int = 10) -> nn.Sequential:
    """Return ResNet-50 with a 3x3 stem and no first pooling: 23.52 million parameters."""
    return _image_net_family(_small_stem(), *_BOTTLENECK, bottleneck=True, num_classes=num_classes)


def resnet18_224(num_classes: int = 10) -> nn.Sequential:
    """Return ResNet-18 as made for ImageNet, on images enlarged to 224x224: 11.18 million parameters."""
    return _image_net_family(_large_stem(), *_BASIC, bottleneck=False, num_classes=num_classes)


def resnet50_224(num_classes: int = 10) -> nn.Sequential:
    """Return ResNet-50 as made for ImageNet, on images enlarged to 224x224: 23.53 million parameters."""
    return _image_net_family(_large_stem(), *_BOTTLENECK, bottleneck=True, num_classes=num_classes)


def _small_stem() -> list[nn.Module]:
    return [_convolution(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU()]


def _large_stem() -> list[nn.Module]:
    pooling = nn.MaxPool2d(3, stride=2, padding=1)
    return [Resize(224), _convolution(3, 64, 7, stride=2), nn.BatchNorm2d(64), nn.ReLU(), pooling]


def _image_net_family(
    stem: list[nn.Module],
    blocks: tuple[int, ...],
    widths: tuple[int, ...],
    *,
    bottleneck: bool,
    num_classes: int,
) -> nn.Sequential:
    layers = [*stem]
    body = _bottleneck_body if bottleneck else _basic_body
    channels = 64
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            same = stride == 1 and channels == width
            shortcut = nn.Identity() if same else _projection(channels, width, stride)
            layers.append(Residual(body(channels, width, stride), shortcut))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
