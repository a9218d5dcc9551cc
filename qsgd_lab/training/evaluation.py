"""Accuracy on one part of a data set, in evaluation mode."""

from __future__ import annotations

import torch
from torch import nn

from qsgd_lab.data import Part

_BATCH = 500


def accuracy(module: nn.Module, part: Part) -> float:
    """Return the share of images classified correctly; the module's training mode is left as it was."""
    was_training = module.training
    module.eval()
    correct = 0
    with torch.no_grad():
        for start in range(0, len(part), _BATCH):
            images, labels = part.batch(slice(start, start + _BATCH))
            correct += int((module(images).argmax(1) == labels).sum())
    module.train(was_training)
    return correct / len(part)
