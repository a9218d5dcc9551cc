"""The options of a table other than its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.terminal import DEFAULT_WIDTH

View = Literal["nodes", "method", "model", "setting", "task"]
#: What the columns are -> in words, for help.
VIEWS: dict[View, str] = {
    "nodes": "numbers of nodes, a table a model and setting",
    "method": "methods, a row a number of nodes",
    "model": "models side by side",
    "setting": "settings of one model side by side: presets, norms, buckets",
    "task": "tasks side by side: data sets, splits over the nodes, models",
}

Order = Literal["method", "bits"]
#: In which order the rows of methods are -> in words, for help.
ORDERS: dict[Order, str] = {
    "method": "fp32, then bits descending, then other methods",
    "bits": "by the bits that are really sent, most first",
}

#: What a table can show -> in words, for help and errors.
SHOWS: dict[str, str] = {
    "accuracy": "test accuracy",
    "difference": "its difference from fp32, with intervals, and the mean over N",
    "epochs": "epochs to the target",
    "bits": "levels, measured bits per coordinate, compression ratio",
    "codes": "measured bits per coordinate under every code",
    "traffic": "bytes a node sends, and what its collective moves",
    "time": "measured seconds per step, and their parts",
    "network": "modelled step time over a link, speed-up, break-even bandwidth",
}
#: In panels of its own: fp32 has no part in it.
DIFFERENCE = "difference"
DEFAULT_SHOW = ("accuracy", "epochs", "difference", "bits")
#: These depend on how long the runs took, and so differ between two sweeps of the same runs.
TIMED_SHOWS = frozenset({"time", "network"})

Style = Literal["siunitx", "plain"]
#: How LaTeX sets numbers: in siunitx's S columns, or as mathematics without that package.
STYLES: tuple[Style, ...] = ("siunitx", "plain")


class Page(NamedTuple):
    """What LaTeX's tables have to fit: a width in points, and a height in lines of numbers."""

    width: float
    lines: int


#: Both columns of IEEEtran, one of its columns, and the text of a one-column article in 10 points.
PAGES: dict[str, Page] = {
    "ieeetran": Page(516.0, 48),
    "ieeetran-column": Page(252.0, 30),
    "article": Page(345.0, 26),
}

#: A gigabit a second and 50 microseconds: a plain local network.
DEFAULT_LINK = Link(bandwidth=1.25e8, latency=50e-6)


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What a table shows and how.

    Attributes
    ----------
    show : tuple of str
        Keys of `SHOWS`, in the order of the panels.
    by : {"nodes", "method", "model", "setting", "task"}
        What the columns are. CSV and JSON have a line or object a cell and do not depend on it.
    sort : {"method", "bits"}
        The order of the methods; of CSV and JSON neither.
    style : {"siunitx", "plain"}
        Of LaTeX.
    page : str
        Which page LaTeX's tables fit, a key of `PAGES`.
    width : int
        Columns of the terminal that text fits, at least 40.
    link : Link
        That of the modelled step.
    compute : float or None
        Seconds of a node's forward and backward pass in the modelled step; None: as measured.
    quantize : float or None
        Seconds that a node quantizes and codes in it, with every method but fp32; None: as measured.
    overlap : float
        Share of the pass during which the network works already, 0 to 1.
    published : bool
        Whether published figures are shown beside the measured ones.
    margins : mapping of str to float
        Preset -> how near accuracies count as alike, in points; see `grouping.group_records`.

    Raises
    ------
    ValueError
        If `show` is empty or has an unknown name, or `page` has one.
    """

    show: tuple[str, ...] = DEFAULT_SHOW
    by: View = "nodes"
    sort: Order = "method"
    style: Style = "siunitx"
    page: str = "ieeetran"
    width: int = DEFAULT_WIDTH
    link: Link = DEFAULT_LINK
    compute: float | None = None
    quantize: float | None = None
    overlap: float = 0.0
    published: bool = False
    margins: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be shown."""
        unknown = [name for name in self.show if name not in SHOWS]
        if unknown or not self.show:
            problem = f"a table cannot show {unknown[0]!r}" if unknown else "nothing to show"
            raise ValueError(f"{problem}; it can show {', '.join(SHOWS)}")
        if self.page not in PAGES:
            raise ValueError(f"no page {self.page!r}; LaTeX's tables fit {', '.join(PAGES)}")


DEFAULT_OPTIONS = TableOptions()
