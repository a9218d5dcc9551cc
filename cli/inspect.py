"""``qsgd-lab inspect``: what a message is made of."""

from __future__ import annotations

from pathlib import Path

import click

from qsgd_lab.cli.message_files import load_message, message_argument, named


@click.command()
@message_argument
@click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--max-coordinates", type=click.IntRange(0), help="Refuse messages of more coordinates.")
def inspect(message_file: Path, output_format: str, max_coordinates: int | None) -> None:
    """Print a message's header, the sizes of its parts, and its levels against their entropy.

    The whole message is decoded, so that it is also checked.

    \b
    Example:
      qsgd-lab inspect grad.qsgd
      qsgd-lab inspect grad.qsgd --format json
    """
    from qsgd_lab.cli.inspect_output import describe, render

    message = load_message(message_file)
    with named(message_file):
        description = describe(message, max_coordinates)
    click.echo(render(description, str(message_file), output_format), nl=False)
