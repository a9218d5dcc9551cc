"""Errors as the user sees them: one sentence on stderr and a fixed exit code; a bug keeps its traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import click

from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.errors import LabError

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
READER_GONE = 141  # 128 + SIGPIPE

#: Failures of the machine rather than of the program: no space, quota used up, read-only file system.
_MACHINE_ERRORS = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS})

#: Names that no file can have, and places where none can be: the user's, if the error says which.
_PLACE_ERRORS = frozenset(
    {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM}
)


@contextmanager
def argument_errors(option: str | None = None) -> Iterator[None]:
    """Turn a library function's ValueError or TypeError into a usage error (exit code 2).

    Put it round the one call that checks the user's arguments, never round the work itself: there,
    such an exception is a bug and its traceback is wanted.

    Parameters
    ----------
    option : str, optional
        The option at fault, such as ``--bits``, where it is known.

    Raises
    ------
    click.UsageError
        In place of the ValueError or TypeError.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        context = click.get_current_context(silent=True)
        if option is None:
            raise click.UsageError(str(error), ctx=context) from error
        raise click.BadParameter(str(error), ctx=context, param_hint=f"'{option}'") from error


def report_error(error: Exception) -> int:
    """Print `error` on stderr: in one line, which a terminal gets in lines of its width.

    Returns
    -------
    int
        The exit code: 2 for usage errors and places that cannot be used, `LabError.exit_code`, 1 for failures
        of the machine.

    Raises
    ------
    Exception
        `error` itself, if it is neither of these: it is then a bug.
    """
    if isinstance(error, click.ClickException):
        say_line(f"Error: {_one_line(error.format_message()).rstrip('.')}{_help_hint(error)}")
        return error.exit_code
    if isinstance(error, LabError):
        say_line(f"Error: {_one_line(str(error))}")
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        where = f": {error.filename}" if error.filename else ""
        say_line(f"Error: {error.strerror}{where}; free some space or write elsewhere")
        return 1
    if isinstance(error, OSError) and error.errno in _PLACE_ERRORS and error.filename:
        say_line(f"Error: {error.filename}: {error.strerror}; name another place")
        return 2
    raise error


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _help_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return "" if context is None else f" (see '{context.command_path} --help')"
