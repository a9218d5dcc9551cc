"""Write what docs/theory.md measures, its headline table and its figures, or check that they are current.

python docs/scripts/make_theory_page.py            write them
python docs/scripts/make_theory_page.py --check    exit with 1 if they would change
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from click.testing import CliRunner

from qsgd_lab.cli.main import cli
from qsgd_lab.report.figures.style import same_drawing
from qsgd_lab.theory.checks.headline import headline

DOCS = Path(__file__).resolve().parent.parent
PAGE = DOCS / "theory.md"
BEGIN, END = "<!-- headline: begin -->\n", "<!-- headline: end -->"
#: File in docs/figures -> the command that draws it.
FIGURES = {
    "tradeoff.svg": ["tradeoff"],
    "convergence.svg": ["convergence", "--steps", "30,100,300,1000"],
}


def current_page() -> str:
    """Return docs/theory.md with its table measured again."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}{headline()}\n{END}{rest.split(END)[1]}"


def draw(name: str) -> bytes:
    """Return a figure drawn again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        result = CliRunner().invoke(cli, [*FIGURES[name], "--plot", str(path)])
        if result.exit_code != 0:
            raise click.ClickException(f"'{' '.join(FIGURES[name])}' failed: {result.output}")
        return path.read_bytes()


def _is_current(path: Path, content: bytes) -> bool:
    if not path.exists():
        return False
    stored = path.read_bytes()
    return stored == content or (path.suffix == ".svg" and same_drawing(content.decode(), stored.decode()))


@click.command()
@click.option("--check", is_flag=True, help="Only compare.")
def main(check: bool) -> None:
    """Write the table and the figures, or check them."""
    fresh = {PAGE: current_page().encode(), **{DOCS / "figures" / name: draw(name) for name in FIGURES}}
    for path, content in fresh.items():
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        elif not _is_current(path, content):
            raise click.ClickException(
                f"{path.name} is not what the commands measure; run: python docs/scripts/make_theory_page.py"
            )


if __name__ == "__main__":
    main()
