"""Options of commands that train: the engine, the precision and the device of a sweep.

Options of commands that train: the settings of a protocol other than its hyper-parameters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options import completion
from qsgd_lab.cli.options.completion import devices, one_of
from qsgd_lab.cli.standard_error import say
from qsgd_lab.levels import CONVENTIONS
from qsgd_lab.runs.config import ALL_GATHER
from qsgd_lab.training.flaws import FLAWS
from qsgd_lab.training.methods import COLLECTIVES
from qsgd_lab.training.preset_table import PRESETS

#: What `--help` says of the presets, each with its models.
PRESETS_HELP = "Presets and their models:\n\n" + "\n\n".join(
    f"{name}: {preset.title} ({', '.join(preset.models)})" for name, preset in PRESETS.items()
)

#: What `--help` says of the residuals of error feedback, where the learning rate may change.
RESIDUAL_UNITS = (
    "ef(...) keeps residuals in units of the gradient; ef(..., unit=update) in those of the update, which "
    "rescales them when the learning rate changes."
)

#: Where a driver for CUDA shows itself on Linux, also under Windows: without any of these torch need not be
#: loaded to know that there is no device.
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def computing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --engine, --precision and --device to a command, as `engine`, `precision` and `device`."""
    options = (
        click.option(
            "--engine",
            type=click.Choice(["auto", "loop", "batched", "distributed"]),
            help="Gradients node by node, of all nodes in one pass, or under torchrun a process a node.  "
            "[default: auto, the faster of loop and batched]",
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
            shell_complete=one_of(devices),
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
    say(words)
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


NO_FLAW = "none"


def protocol_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --split, --convention, --raw-tensors-up-to, --scaling, --collective and --flaw to a command."""
    options = (
        click.option(
            "--split",
            metavar="SPLIT",
            shell_complete=one_of(completion.splits),
            help="Which images each node has: iid (any), shards:K (K pieces of the images by class) or "
            "dirichlet:ALPHA (shares of the classes by chance; small: few classes).  [default: iid]",
        ),
        click.option(
            "--convention",
            type=click.Choice(list(CONVENTIONS)),
            help="What b bits mean: magnitude, s = 2^b - 1; sign-inside, s = 2^(b-1) - 1, as papers count; "
            "power-of-two, s = 2^b.  [default: the preset's]",
        ),
        click.option(
            "--raw-tensors-up-to",
            type=click.IntRange(min=0),
            metavar="COORDINATES",
            help="Send tensors of at most so many coordinates in float32.  [default: the preset's]",
        ),
        click.option(
            "--scaling",
            type=click.Choice(["strong", "weak"]),
            help="Strong: the global batch is the same at every N. Weak: every node takes it whole, and the "
            "learning rate grows with N.  [default: the preset's]",
        ),
        click.option(
            "--collective",
            type=click.Choice(COLLECTIVES),
            default=ALL_GATHER,
            show_default=True,
            help="Every node receives all messages; or two-phase: owners of shards add them up, requantize, "
            "and send on. all-reduce: for methods that can be added up; auto: two-phase above two nodes.",
        ),
        click.option(
            "--flaw",
            "replayed",
            multiple=True,
            type=click.Choice([*FLAWS, NO_FLAW]),
            metavar="NAME",
            help=f"Replay a flaw of the 2023 protocol (see qsgd-lab flaws --list): {', '.join(FLAWS)}; "
            f"may be given again; {NO_FLAW} leaves out the preset's.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def flaws_asked_for(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the flaws of --flaw: None if it was not given, nothing if it was ``none``.

    Raises
    ------
    click.UsageError
        If ``none`` is given together with a flaw.
    """
    if NO_FLAW in names and len(set(names)) > 1:
        raise click.UsageError(f"--flaw {NO_FLAW} cannot be combined with a flaw; leave out one of them")
    return tuple(name for name in names if name != NO_FLAW) if names else None


def import_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --import to a command."""
    return click.option(
        "--import",
        "imports",
        multiple=True,
        metavar="FILE.py|MODULE",
        help="Import a plug-in (compressors, algorithms, models, data sets); may be given again.",
    )(command)
