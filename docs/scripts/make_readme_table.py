"""Write the demo's table into docs/demo.md, and its accuracies into README.md, or check both.

python docs/scripts/make_readme_table.py            write it
python docs/scripts/make_readme_table.py --check    exit with 1 if it would change

The runs are those of `make demo`, packed into paper/runs.jsonl; paper/results.tex is the same table as LaTeX.
"""

from __future__ import annotations

from pathlib import Path

import click

from qsgd_lab.report import render
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.runs.store import RunStore

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
DEMO = ROOT / "docs" / "demo.md"
RESULTS = ROOT / "paper" / "results.tex"
BEGIN, END = "<!-- demo table: begin -->\n", "<!-- demo table: end -->"


def current_pages() -> dict[Path, str]:
    """Return what README.md, docs/demo.md and paper/results.tex should hold, by path."""
    records = list(RunStore(ROOT / "paper" / "runs.jsonl").records())
    accuracies = render(records, "markdown", TableOptions(show=("accuracy",)))
    return {
        README: _with_table(README, accuracies.split("\n* ")[0].rstrip() + "\n\n"),
        DEMO: _with_table(DEMO, render(records, "markdown")),
        RESULTS: render(records, "latex"),
    }


def _with_table(page: Path, table: str) -> str:
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}{table}{END}{rest.split(END)[1]}"


@click.command()
@click.option("--check", is_flag=True, help="Only compare.")
def main(check: bool) -> None:
    """Write the tables of the committed runs, or check them."""
    for path, text in current_pages().items():
        if check:
            stale = not path.exists() or path.read_text(encoding="utf-8") != text
            if stale:
                raise click.ClickException(
                    f"{path.name} is not what paper/runs.jsonl says; "
                    "run: python docs/scripts/make_readme_table.py"
                )
        else:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
