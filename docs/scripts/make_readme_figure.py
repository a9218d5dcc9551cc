"""Draw README.md's figure from the committed runs, or check that it is current.

python docs/scripts/make_readme_figure.py            write docs/figures/demo.svg
python docs/scripts/make_readme_figure.py --check    exit with 1 if it would change

The same numbers drawn by another version of matplotlib are other bytes. So the file carries a digest of the
numbers that are drawn, and the check compares drawings only where the installed matplotlib is the one that
the file names as its maker.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.figures.data import FigureRuns
from qsgd_lab.report.figures.registry import draw
from qsgd_lab.report.figures.style import figure_bytes, same_drawing, style
from qsgd_lab.runs.store import RunStore

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / "docs" / "figures" / "demo.svg"
FIGURE = "bits"
MARK = "<!-- drawn numbers: {} -->\n"


def current_figure(runs: Path = ROOT / "paper" / "runs.jsonl") -> bytes:
    """Return the figure of stored runs of one group, as SVG, with the digest of its numbers."""
    (group,) = group_records(RunStore(runs).records())
    with style():
        figure = draw(FIGURE, FigureRuns(group, {}))
        if figure is None:
            raise click.ClickException(f"{runs} has no runs that measured their bits")
        return figure_bytes(figure, ".svg") + MARK.format(digest(figure)).encode()


def digest(figure: Figure) -> str:
    """Return the SHA-256 of all that is drawn as numbers or words, numbers to ten digits."""
    panels = [[axes.get_title(), _lines(axes), _bars(axes)] for axes in figure.axes]
    words = [figure.get_suptitle(), *(text.get_text() for key in figure.legends for text in key.get_texts())]
    document = json.dumps({"panels": panels, "words": words}, sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()


def is_current(stored: bytes, fresh: bytes) -> bool:
    """Return whether a stored figure shows the fresh one's numbers, drawn the same where that can be told."""
    if stored == fresh:
        return True
    if stored.splitlines()[-1:] != fresh.splitlines()[-1:]:
        return False
    text = stored.decode(errors="replace")
    return f"Matplotlib v{mpl.__version__}," not in text or same_drawing(fresh.decode(), text)


def _lines(axes: Axes) -> list[list[object]]:
    return [[line.get_label(), _rounded(line.get_xydata())] for line in axes.lines]


def _bars(axes: Axes) -> list[list[list[str]]]:
    return [_rounded(path.vertices) for bars in axes.collections for path in bars.get_paths()]


def _rounded(points: object) -> list[list[str]]:
    return [[f"{value:.10g}" for value in point] for point in np.asarray(points, dtype=float)]


@click.command()
@click.option("--check", is_flag=True, help="Only compare.")
def main(check: bool) -> None:
    """Write the figure of the committed runs, or check it."""
    fresh = current_figure()
    if not check:
        TARGET.write_bytes(fresh)
    elif not TARGET.exists() or not is_current(TARGET.read_bytes(), fresh):
        raise click.ClickException(
            f"{TARGET.name} is not what paper/runs.jsonl says; run: python docs/scripts/make_readme_figure.py"
        )


if __name__ == "__main__":
    main()
