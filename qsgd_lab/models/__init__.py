"""Networks, named so that nobody can mistake them; parameter counts are for 10 classes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from qsgd_lab.models.alexnet import alexnet

#: Name -> constructor.
MODELS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": alexnet,  # 2 472 266 parameters
    "alexnet-quarter": lambda: alexnet(width_divisor=4),  # 159 578 parameters
}

__all__ = ["MODELS", "alexnet"]
