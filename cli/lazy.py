"""A Click group that imports a command's module only when that command is asked for."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from qsgd_lab.cli.standard_output import ReaderGoneError, reader_is_gone


class Entry(NamedTuple):
    """Where a command lives, and its line in the group's help."""

    module: str
    attribute: str
    help: str


def source_docstring(module: str, function: str) -> str | None:
    """Return a function's docstring from the source of its loaded module: ``python -OO`` drops it."""
    loader = getattr(sys.modules[module], "__loader__", None)
    source = getattr(loader, "get_source", lambda _: None)(module)
    for node in ast.walk(ast.parse(source or "")):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return ast.get_docstring(node)
    return None


class LazyGroup(click.Group):
    """A group whose commands are in a table.

    Parameters
    ----------
    table : mapping of str to Entry
        The commands by name, in the order of the help.
    """

    def __init__(self, *args: Any, table: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return the command, or None if the table has no such name."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(import_module(entry.module), entry.attribute)
        if command.help is None:
            command.help = source_docstring(entry.module, entry.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.table.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which there are."""
        name = args[0]
        if name not in self.table and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {name!r}; the commands are {', '.join(self.table)}.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; tell a reader that left from a pipe that broke inside the program.

        Click would end both in silence, with the exit code of a failed run.

        Raises
        ------
        ReaderGoneError
            If nobody reads standard output any more.
        RuntimeError
            If another pipe broke.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if reader_is_gone():
                raise ReaderGoneError from None
            raise RuntimeError("a pipe inside the program broke") from error
