"""How wide text may be: as wide as the terminal, and 80 columns in files and pipes."""

from __future__ import annotations

import shutil
import textwrap

#: Where standard output is not a terminal, so that a file does not depend on the window it was made in.
DEFAULT_WIDTH = 80
#: Narrower text is not readable; a narrower terminal breaks the lines itself.
MIN_WIDTH = 40
#: Prose in longer lines is hard to read.
MAX_PROSE_WIDTH = 100


def text_width() -> int:
    """Return the columns that text may take: what COLUMNS says, else the terminal's width, else 80."""
    return max(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, MIN_WIDTH)


def fill(paragraph: str, width: int | None = None, *, indent: str = "", hanging: str | None = None) -> str:
    """Return a paragraph in lines of at most `width` columns, by default `text_width` and at most 100.

    Parameters
    ----------
    paragraph : str
    width : int, optional
    indent, hanging : str
        What the first line and the others begin with; the others like the first by default.
    """
    return textwrap.fill(
        paragraph,
        min(text_width() if width is None else width, MAX_PROSE_WIDTH),
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
