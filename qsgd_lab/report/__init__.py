"""From run records to tables: grouping, statistics, layout, and one writer a format.

The path is records → groups (`grouping`) of cells (`cells`) → a format-independent table
(`layout`, whose numbers are rounded in `entries` and whose words are in `captions`) → text
(`latex`, `text`, `markdown`, `machine`). `render` walks it. Everything here is a pure function of
the records, whatever order they come in.
"""

from qsgd_lab.report.render import FORMATS, render

__all__ = ["FORMATS", "render"]
