"""Networks, named so that nobody can mistake them; parameter counts are for 10 classes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from qsgd_lab.models.alexnet import alexnet, alexnet_227, alexnet_batch_norm
from qsgd_lab.models.resnet import cifar_resnet, resnet18, resnet18_224, resnet50, resnet50_224

#: Name -> constructor.
MODELS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": alexnet,  # 2 472 266 parameters
    "alexnet-quarter": lambda: alexnet(width_divisor=4),  # 159 578 parameters
    "alexnet-quarter-bn-dropout": lambda: alexnet_batch_norm(width_divisor=4),  # 160 154 parameters
    "alexnet-227": alexnet_227,  # 58 325 066 parameters: the 2023 report's
    "resnet20": lambda: cifar_resnet(20),  # 269 722 parameters
    "resnet50-cifar6n2": lambda: cifar_resnet(50),  # 755 802 parameters: not what "ResNet-50" means
    "resnet110": lambda: cifar_resnet(110),  # 1 727 962 parameters
    "resnet18": resnet18,  # 11 173 962 parameters
    "resnet50": resnet50,  # 23 520 842 parameters
    "resnet18-224": resnet18_224,  # 11 181 642 parameters: the ImageNet stem, as in the 2023 report
    "resnet50-224": resnet50_224,  # 23 528 522 parameters
}

__all__ = [
    "MODELS",
    "alexnet",
    "alexnet_227",
    "alexnet_batch_norm",
    "cifar_resnet",
    "resnet18",
    "resnet18_224",
    "resnet50",
    "resnet50_224",
]
