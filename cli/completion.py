"""``qsgd-lab completion``: tab completion for bash, zsh and fish."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, to be sourced by it.

    \b
    Example:
      qsgd-lab completion bash > \\
        ~/.local/share/bash-completion/completions/qsgd-lab
      qsgd-lab completion zsh > ~/.zfunc/_qsgd-lab
      qsgd-lab completion fish > ~/.config/fish/completions/qsgd-lab.fish
    """
    script_maker = get_completion_class(shell)
    assert script_maker is not None
    root = ctx.find_root().command
    click.echo(script_maker(root, {}, "qsgd-lab", "_QSGD_LAB_COMPLETE").source())
