"""From run records to the text of their tables, in any of the formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from qsgd_lab.report.analysis.grouping import Group, group_records
from qsgd_lab.report.formats.data import write_csv, write_json
from qsgd_lab.report.formats.latex import write_latex
from qsgd_lab.report.formats.markdown import write_markdown
from qsgd_lab.report.formats.text import write_text
from qsgd_lab.report.tables.options import DEFAULT_OPTIONS, TableOptions

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord


#: Every format's writer by its name on the command line.
FORMATS: Mapping[str, Callable[[Sequence[Group], TableOptions], str]] = MappingProxyType(
    {
        "latex": write_latex,
        "text": write_text,
        "markdown": write_markdown,
        "csv": write_csv,
        "json": write_json,
    }
)


def render(
    records: Iterable[RunRecord], format_name: str = "latex", options: TableOptions = DEFAULT_OPTIONS
) -> str:
    """Return the tables of ``records`` as text that ends in a newline.

    The text depends on the records alone: not on their order, environment or place, and on timing only where
    `options` show times.

    Parameters
    ----------
    records : iterable of RunRecord
        At least one. Runs of different presets, data sets, models or settings come in tables of their own.
    format_name : {"latex", "text", "markdown", "csv", "json"}
    options : TableOptions
        What is shown, and how.

    Raises
    ------
    ValueError
        If there are no records, or the format is unknown.
    IntegrityError
        If two records claim the same cell and seed.
    """
    if format_name not in FORMATS:
        raise ValueError(f"no table format {format_name!r}; there are {', '.join(FORMATS)}")
    groups = group_records(records, options.margins)
    if not groups:
        raise ValueError("no run records; a table needs at least one")
    return FORMATS[format_name](groups, options)
