"""What a sweep is computed on, and how: options of commands that train."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from qsgd_lab.cli.errors import argument_errors

#: Where a driver for CUDA shows itself on Linux, also under Windows: without any of these torch need not be
#: loaded to know that there is no device.
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def computing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --engine, --precision and --device to a command, as `engine`, `precision` and `device`."""
    options = (
        click.option(
            "--engine",
            type=click.Choice(["auto", "loop", "batched"]),
            help="Gradients node by node, or of all nodes in one pass.  [default: auto, the faster]",
        ),
        click.option(
            "--precision",
            type=click.Choice(["float32", "bfloat16"]),
            help="Of forward and backward pass.  [default: float32]",
        ),
        click.option(
            "--device",
            default="auto",
            show_default=True,
            envvar="QSGD_LAB_DEVICE",
            help="auto (CUDA if there is a device), cpu, cuda or cuda:1.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class SweepDevice:
    """The device of a sweep.

    Attributes
    ----------
    name : str
        Such as "cpu" or "cuda:0".
    jobs : int
        Processes side by side, if the user names no number.
    """

    name: str
    jobs: int


@contextmanager
def sweep_device(name: str, cores: int) -> Iterator[SweepDevice]:
    """Choose the device, say on stderr which, and let worker processes take it while inside.

    Parameters
    ----------
    name : str
        As the option has it.
    cores : int
        Processor cores that may be used.

    Raises
    ------
    click.BadParameter
        If the name means nothing, or a device that is not there.
    """
    chosen, words = _choose(name, cores)
    click.echo(words, err=True)
    before = os.environ.get("QSGD_LAB_DEVICE")
    os.environ["QSGD_LAB_DEVICE"] = chosen.name
    try:
        yield chosen
    finally:
        if before is None:
            del os.environ["QSGD_LAB_DEVICE"]
        else:
            os.environ["QSGD_LAB_DEVICE"] = before


def _choose(name: str, cores: int) -> tuple[SweepDevice, str]:
    if name == "cpu" or (name == "auto" and not _may_have_cuda()):
        return SweepDevice("cpu", cores), "Device: the processor, a core for each run."
    from qsgd_lab.training.devices import describe, memory_bytes, processes_for, resolve_device

    with argument_errors("--device"):
        device = resolve_device(name)
    if device.type == "cpu":
        return SweepDevice("cpu", cores), "Device: the processor, a core for each run; torch sees no CUDA."
    jobs = min(cores, processes_for(memory_bytes(device)))
    return SweepDevice(str(device), jobs), f"Device: {device}, {describe(device)['device_name']}."


def _may_have_cuda() -> bool:
    return sys.platform != "linux" or any(path.exists() for path in DRIVER_FILES)
