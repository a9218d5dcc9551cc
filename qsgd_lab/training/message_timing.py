"""Seconds to encode and decode one node's message, measured once at the end of a run."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

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
        of a few repeats. Empty for fp32, and for a compressor of several rounds.
    """
    compressor = trainer.exchange.compressor
    if trainer.config.is_full_precision or compressor.interactive:
        return {}
    gradient = _gradient_of_node_0(trainer, step)
    layout = trainer.model.layout
    # What error feedback adds is in the gradient already, and a fresh residual is zero.
    payload, _ = compressor.compress(gradient, compressor.init(layout), Stream(trainer.config.seed, 0, step))
    message = compressor.wire.pack(payload)
    total = np.zeros(gradient.size, np.float32)

    def read() -> None:
        compressor.add_decoded(message, layout, total)

    return {
        "encode_message_s": _least_seconds(lambda: compressor.wire.pack(payload)),
        "decode_message_s": _least_seconds(read),
    }


def _gradient_of_node_0(trainer: Trainer, step: int) -> NDArray[np.float32]:
    """Return what node 0 would quantize next: its gradient, with error feedback on top of its residual."""
    with torch.enable_grad():
        trainer.compute_gradients(*trainer.batch(step), step)
    row: NDArray[np.float32] = trainer.gradients[0].cpu().numpy()
    return row


def _least_seconds(function: Callable[[], object]) -> float:
    function()  # compiles, or loads what was compiled
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
