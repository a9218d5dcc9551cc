"""Rows of figures as text, JSON, CSV and LaTeX: what the commands of the theory have in common."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from qsgd_lab import __version__
from qsgd_lab.terminal import fill, text_width

NONE = "--"
#: Between two columns of text.
_GAP = "  "
#: Words are wrapped, but in a column of at least this width.
_MIN_WORDS = 12


@dataclass(frozen=True)
class Table:
    """Cells to print, as strings.

    Attributes
    ----------
    header : sequence of str
        One a column; in text, "; " or a blank before "bound" becomes a line break.
    rows : sequence of sequences of str
    title : str
    left : collection of int
        The columns that are aligned left; negative numbers count from the end.
    keys : int
        The first columns, which say what a row is: where a table is too wide for text, each of its blocks
        begins with them.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    left: tuple[int, ...] = ()
    keys: int = 2

    def is_left(self, column: int) -> bool:
        """Whether a column is aligned left."""
        return column in self.left or column - len(self.header) in self.left


def as_json(records: Sequence[Mapping[str, object]]) -> str:
    """Return a JSON list of records, ending in a newline; NaN is refused."""
    return json.dumps([dict(record) for record in records], indent=1, allow_nan=False) + "\n"


def as_json_lines(records: Iterable[Mapping[str, object]]) -> str:
    """Return a JSON object a line; NaN is refused."""
    return "".join(f"{json.dumps(dict(record), allow_nan=False)}\n" for record in records)


def as_csv(records: Sequence[Mapping[str, object]]) -> str:
    """Return CSV with a header, of at least one record; None is an empty cell."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def as_text(parts: Iterable[str | Table], width: int | None = None) -> str:
    """Return tables and prose for a terminal, ending in a newline.

    Parameters
    ----------
    parts : iterable of str or Table
        Each line of a string is a paragraph. A table that is too wide comes in blocks, one below the other.
    width : int, optional
        Columns of the terminal; by default those that it has, and 80 where there is none.
    """
    columns = text_width() if width is None else width
    pieces = (
        "\n".join(fill(line, columns) for line in part.split("\n")) + "\n"
        if isinstance(part, str)
        else _table_text(part, columns)
        for part in parts
    )
    return "".join(pieces)


def _table_text(table: Table, width: int) -> str:
    blocks = "\n\n".join("\n".join(_block(table, columns, width)) for columns in _blocks(table, width))
    return (f"{fill(table.title, width)}\n" if table.title else "") + f"\n{blocks}\n\n"


def _blocks(table: Table, width: int) -> list[list[int]]:
    """Cut the columns after the keys into the fewest equal blocks that fit the width: each one's columns."""
    keys = list(range(table.keys))
    others = len(table.header) - len(keys)
    blocks: list[list[int]] = []
    for count in range(1, max(others, 1) + 1):
        edges = [len(keys) + part * others // count for part in range(count + 1)]
        blocks = [[*keys, *range(*edge)] for edge in pairwise(edges)]
        if max(_total([_width(table, column) for column in block]) for block in blocks) <= width:
            break
    return blocks


def _total(sizes: Collection[int]) -> int:
    return sum(sizes) + len(_GAP) * (len(sizes) - 1)


def _width(table: Table, column: int) -> int:
    cells = (row[column] for row in table.rows)
    return max(map(len, [*_break_line(table.header[column]).splitlines(), *cells]))


def _block(table: Table, columns: Sequence[int], width: int) -> Iterator[str]:
    """Yield the lines of some columns under their headings; words are wrapped to the width."""
    sizes = {column: _width(table, column) for column in columns}
    words = [column for column in columns if table.is_left(column)]
    excess = _total(sizes.values()) - width
    if excess > 0 and words:
        widest = max(words, key=lambda column: sizes[column])
        sizes[widest] = max(sizes[widest] - excess, _MIN_WORDS)

    def lines(cells: Sequence[str], *, at_bottom: bool = False) -> Iterator[str]:
        parts = [
            [piece for line in cells[c].splitlines() for piece in textwrap.wrap(line, sizes[c])]
            for c in columns
        ]
        height = max(map(len, parts))
        above = [[""] * (height - len(part)) * at_bottom + part for part in parts]
        for row in zip_longest(*above, fillvalue=""):
            adjusted = (
                cell.ljust(sizes[c]) if table.is_left(c) else cell.rjust(sizes[c])
                for c, cell in zip(columns, row, strict=True)
            )
            yield _GAP.join(adjusted).rstrip()

    yield from lines([_break_line(heading) for heading in table.header], at_bottom=True)
    yield "─" * _total(sizes.values())
    for row in table.rows:
        yield from lines(row)


def _break_line(header: str) -> str:
    return header.replace("; ", "\n") if "; " in header else header.replace(" bound", "\nbound")


def as_latex(table: Table, *, command: str, caption: str, symbols: Mapping[str, str] | None = None) -> str:
    """Return a booktabs table, ending in a newline.

    Parameters
    ----------
    table : Table
        Cells are escaped.
    command : str
        What made it, such as ``variance``.
    caption : str
        LaTeX, not escaped.
    symbols : mapping of str to str
        LaTeX for header cells.
    """
    from qsgd_lab.report.formats.latex import escape

    known = symbols or {}
    header = [known.get(name, escape(name.replace("; ", " "))) for name in table.header]
    columns = "".join("l" if table.is_left(number) else "r" for number in range(len(header)))
    lines = [
        f"% made by: qsgd-lab {__version__} {command}",
        r"% needs: \usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(" & ".join(escape(cell) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def figure(value: float | None) -> str:
    """Return four significant digits, or a dash for None."""
    return NONE if value is None else f"{value:#.4g}"


def score(z: float | None) -> str:
    """Return a z-score to one decimal, without -0.0."""
    return NONE if z is None else f"{round(z, 1) + 0.0:.1f}"
