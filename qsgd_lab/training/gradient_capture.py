"""Gradients of a real network as files, for the commands that measure quantizers on a vector.

A run is a function of its configuration, so that its first steps can be taken again at any time: nothing
has to be kept while a sweep runs, be it stopped, killed or resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab import files
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.data import load_dataset
from qsgd_lab.models.dropout import open_dropout_streams
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.devices import prepare, resolve_device
from qsgd_lab.training.engines.choose import make_engine
from qsgd_lab.training.presets import FP32, configurations
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer


def capture_gradients(config: RunConfig, folder: Path, steps: Sequence[int] | None = None) -> list[Path]:
    """Take the first steps of a run and save every node's gradient at some of them.

    Parameters
    ----------
    config : RunConfig
    folder : Path
        Made if it is not there; existing files are replaced.
    steps : sequence of int, optional
        Counted from 0; by default the first, the middle and the last of the first epoch.

    Returns
    -------
    list of Path
        ``KEY-step000012-node0.npy``, float32, shape (n,): the gradient as the network has it, before error
        feedback and quantization; KEY is the run's.

    Raises
    ------
    ValueError
        If a step is outside the run.
    """
    trainer = _trainer(config)
    wanted = sorted(set(_default_steps(trainer) if steps is None else steps))
    if not wanted or wanted[0] < 0 or wanted[-1] >= trainer.num_steps:
        raise ValueError(f"steps are {wanted}; they must be between 0 and {trainer.num_steps - 1}")
    folder.mkdir(parents=True, exist_ok=True)
    paths, watch = [], Stopwatch()
    for step in range(wanted[-1] + 1):
        if step in wanted:
            paths += _save(_gradients(trainer, step), folder, f"{config.key}-step{step:06d}")
        trainer.step(step, watch)
    return paths


def real_gradient() -> tuple[NDArray[np.float32], Layout]:
    """Return a gradient that a node sends, float32, shape (n,), and its tensors.

    It is node 0's of eight that train the demo's AlexNet on the embedded digits in float32, at the last step
    of the first epoch; n is 159,578. Another processor may round its last bits otherwise.
    """
    (config,) = configurations("demo", ["alexnet"], [8], [FP32], [0], {"epochs": 1})
    trainer, watch = _trainer(config), Stopwatch()
    last = trainer.steps_per_epoch - 1
    for step in range(last):
        trainer.step(step, watch)
    return _gradients(trainer, last)[0].copy(), trainer.model.layout


def _trainer(config: RunConfig) -> Trainer:
    device = resolve_device()
    prepare(device)  # as in the run itself
    return Trainer(config, load_dataset(config.dataset).to(device), device)


def _default_steps(trainer: Trainer) -> tuple[int, ...]:
    last = trainer.steps_per_epoch - 1
    return (0, last // 2, last)


def _gradients(trainer: Trainer, step: int) -> NDArray[np.float32]:
    """Return the nodes' gradients at the present parameters, shape (N, n), in a buffer of their own."""
    config = trainer.config
    rows = torch.zeros(config.nodes, trainer.model.num_parameters, device=trainer.device)
    engine = make_engine(
        trainer.model,
        rows,
        config.batch_size,
        inputs=trainer.dataset.inputs,
        engine=config.engine,
        precision=trainer.precision,
    )
    images, labels = trainer.batch(step)
    open_dropout_streams(trainer.model.module, config.seed, step)
    engine.compute(trainer.precision.lay_out(images), labels)
    values: NDArray[np.float32] = rows.cpu().numpy()
    return values


def _save(gradients: NDArray[np.float32], folder: Path, stem: str) -> list[Path]:
    paths = [folder / f"{stem}-node{node}.npy" for node in range(len(gradients))]
    for path, gradient in zip(paths, gradients, strict=True):
        files.save(path, partial(np.save, arr=gradient))
    return paths
