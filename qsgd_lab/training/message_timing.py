"""Seconds to encode and decode one node's message, measured once at the end of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.coding.decode_sum import add_decoded
from qsgd_lab.coding.encode import encode
from qsgd_lab.compressors import QSGD, ErrorFeedback
from qsgd_lab.stream import Stream
from qsgd_lab.training.trainer import Trainer

REPEATS = 3


def time_message(trainer: Trainer, step: int) -> dict[str, float]:
    """Time the wire format on the gradient of a step; a simulation never needs the bytes themselves.

    The gradients of the step are computed, and so the trainer's state moves on: for after the end of a run.

    Parameters
    ----------
    trainer : Trainer
    step : int
        Whose global batch is taken.

    Returns
    -------
    dict of str to float
        ``encode_message_s``: levels and norms of node 0 to the bytes of its message, in the shortest layout,
        on one thread of the host; ``decode_message_s``: its bytes to values added to a float32 sum. The least
        of a few repeats. Empty where a run quantizes nothing, or by a compressor without a wire format.
    """
    compressor = trainer.algorithm.compressor
    quantizer = compressor.inner if isinstance(compressor, ErrorFeedback) else compressor
    if not isinstance(quantizer, QSGD):
        return {}
    gradient = _gradient_of_node_0(trainer, step)
    state = quantizer.init(gradient.size, trainer.model.sizes)
    quantized, _ = quantizer.compress(gradient, state, Stream(trainer.config.seed, 0, step))
    message: Any = None
    total = np.zeros(gradient.size, np.float32)

    def write() -> None:
        nonlocal message
        message = encode(quantized)

    return {
        "encode_message_s": _least_seconds(write),
        "decode_message_s": _least_seconds(lambda: add_decoded([message], total)),
    }


def _gradient_of_node_0(trainer: Trainer, step: int) -> NDArray[np.float32]:
    """Return what node 0 would quantize next: its gradient, with error feedback on top of its residual."""
    with torch.enable_grad():
        trainer.compute_gradients(*trainer.batch(step), step)
    row: NDArray[np.float32] = trainer.gradients[0].cpu().numpy()
    return row


def _least_seconds(function: Callable[[], None]) -> float:
    function()  # compiles, or loads what was compiled
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
