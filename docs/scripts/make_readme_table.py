"""Write the demo's table into README.md from the committed runs, or check that it is current.

python docs/scripts/make_readme_table.py            write it
python docs/scripts/make_readme_table.py --check    exit with 1 if it would change

The runs are those of `make demo`, packed into paper/runs.jsonl; paper/results.tex is the same table as LaTeX.
"""

from __future__ import annotations

from pathlib import Path

import click

from qsgd_lab.report import render
from qsgd_lab.runs.store import RunStore

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "paper" / "results.tex"
BEGIN, END = "<!-- demo table: begin -->\n", "<!-- demo table: end -->"


def current_pages() -> dict[Path, str]:
    """Return what README.md and paper/results.tex should hold, by path."""
    records = list(RunStore(ROOT / "paper" / "runs.jsonl").records())
    readme = README.read_text(encoding="utf-8")
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return {
        README: f"{before}{BEGIN}{render(records, 'markdown')}{END}{after}",
        RESULTS: render(records, "latex"),
    }


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
