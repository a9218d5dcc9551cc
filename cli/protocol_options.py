"""What a protocol fixes besides its hyper-parameters: options of commands that train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from qsgd_lab.levels import CONVENTIONS
from qsgd_lab.training.flaws import FLAWS

NO_FLAW = "none"


def protocol_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --convention, --raw-tensors-up-to, --scaling and --flaw to a command."""
    options = (
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
            "--flaw",
            "replayed",
            multiple=True,
            type=click.Choice([*FLAWS, NO_FLAW]),
            help="Replay a flaw of the 2023 protocol (see qsgd-lab flaws --list); may be given again; none "
            "leaves out the preset's.",
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
        If ``none`` stands beside a flaw.
    """
    if NO_FLAW in names and len(set(names)) > 1:
        raise click.UsageError(f"--flaw {NO_FLAW} stands alone; leave it out, or the flaws beside it")
    return tuple(name for name in names if name != NO_FLAW) if names else None
