"""Accuracy on one part of a data set: in evaluation mode, or as a flawed protocol has it."""

from __future__ import annotations

import torch
from torch import nn

from qsgd_lab.data import Part
from qsgd_lab.models.dropout import open_dropout_streams
from qsgd_lab.stream import Purpose

_BATCH = 500


def accuracy(module: nn.Module, part: Part) -> float:
    """Return the share of labels named correctly; the module's training mode is left as it was."""
    was_training = module.training
    module.eval()
    correct = sum(_correct(module, part, slice(i, i + _BATCH)) for i in range(0, len(part), _BATCH))
    module.train(was_training)
    return correct / part.labels.numel()


def accuracy_in_training_mode(module: nn.Module, part: Part, batch: int, seed: int, index: int) -> float:
    """Return the accuracy with batch statistics and active dropout: a flaw, see `training.flaws`.

    What is predicted for an image then depends on the images beside it and on which activations are dropped.
    Running statistics are left as they were.

    Parameters
    ----------
    module : nn.Module
    part : Part
    batch : int
        Most images at once; they are spread evenly, so that no batch is a single image.
    seed, index : int
        Key of the dropout's random numbers.
    """
    buffers = [buffer.clone() for buffer in module.buffers()]
    was_training = module.training
    module.train()
    open_dropout_streams(module, seed, index, Purpose.DROPOUT_IN_EVALUATION)
    pieces = -(-len(part) // batch)
    bounds = [len(part) * i // pieces for i in range(pieces + 1)]
    correct = sum(_correct(module, part, slice(bounds[i], bounds[i + 1])) for i in range(pieces))
    module.train(was_training)
    for buffer, before in zip(module.buffers(), buffers, strict=True):
        buffer.copy_(before)
    return correct / part.labels.numel()


def _correct(module: nn.Module, part: Part, chosen: slice) -> int:
    with torch.no_grad():
        images, labels = part.batch(chosen)
        return int((module(images).argmax(1) == labels).sum())
