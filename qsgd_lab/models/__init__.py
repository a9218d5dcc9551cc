"""Networks, named so that nobody can mistake them; parameter counts are for 10 classes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from qsgd_lab.models.alexnet import alexnet
from qsgd_lab.models.resnet import cifar_resnet, resnet18, resnet50

#: Name -> constructor.
MODELS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": alexnet,  # 2 472 266 parameters
    "alexnet-quarter": lambda: alexnet(width_divisor=4),  # 159 578 parameters
    "resnet20": lambda: cifar_resnet(20),  # 269 722 parameters
    "resnet110": lambda: cifar_resnet(110),  # 1 727 962 parameters
    "resnet18": resnet18,  # 11 173 962 parameters
    "resnet50": resnet50,  # 23 520 842 parameters
}

__all__ = ["MODELS", "alexnet", "cifar_resnet", "resnet18", "resnet50"]
