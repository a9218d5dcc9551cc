"""Write what the paper shows from a store of runs, numbers, tables and figures, or check that it is current.

python paper/scripts/make_paper.py               write paper/generated/ from the runs of paper/results.tex
python paper/scripts/make_paper.py --runs runs   write paper/results.tex, too, all from the runs of one folder
python paper/scripts/make_paper.py --check       exit with 1 if a text would change from the committed runs

A claim of the text that the committed runs contradict is an error. Figures are not committed: another
machine may compress them otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import click
from check_numbers import hand_typed_numbers
from claims import Verdict, verdicts
from equal_bits_table import equal_bits_table
from evidence import images_table, tasks_table
from evidence_claims import EVIDENCE_CLAIMS, shown_tasks
from flaws_table import flaws_table
from local_sgd import local_sgd_figures, local_sgd_floats
from models_table import models_table
from paper_figures import figure_files
from paper_runs import PAPER, RESULTS, PaperRuns, load_runs
from published_table import published_table
from quantizer_table import quantizer_table
from quoted_numbers import quoted_numbers
from settings_table import settings_table
from step_times import speed_table
from suite_table import suite_figure, suite_table
from worked_example import example_table

import qsgd_lab
from qsgd_lab.errors import LabError
from qsgd_lab.files import write_atomically
from qsgd_lab.report import render
from qsgd_lab.report.formats.latex import escape

SOURCE = PAPER / "paper.tex"
GENERATED = PAPER / "generated"
COMMITTED_RUNS = PAPER / "runs.jsonl"

_QUOTED = re.compile(r"\\lab\{([^}]*)\}")
_CLAIMED = re.compile(r"\\claim\{([^}]*)\}")


def generated_texts(runs: PaperRuns) -> dict[Path, str | None]:
    """Return the LaTeX that the runs decide, by path; None for a table that they do not have.

    Raises
    ------
    ClickException
        If the paper quotes a number or makes a claim that is not defined, or one is defined in vain.
    """
    source = _without_comments(SOURCE.read_text(encoding="utf-8"))
    numbers, found = quoted_numbers(runs), verdicts(runs)
    quoted = set(_QUOTED.findall(source))
    _must_agree("number", quoted, set(numbers))
    _must_agree("claim", set(_CLAIMED.findall(source)), set(found), exactly=True)
    texts: dict[str, str | None] = {
        "numbers.tex": _lines(rf"\setlab{{{key}}}{{{numbers[key]}}}" for key in sorted(quoted)),
        "claims.tex": _lines(
            chain(
                (_claim_line(name, verdict) for name, verdict in sorted(found.items())),
                (rf"\taskshown{{{task}}}" for task in shown_tasks()),
            )
        ),
        "example.tex": _header() + example_table(),
        "flaws.tex": flaws_table(runs),
        "models.tex": _header() + models_table(),
        "quantizers.tex": _header() + quantizer_table(),
        "equal-bits.tex": _header() + equal_bits_table(),
        "settings.tex": _header() + settings_table(),
        "published.tex": _header() + published_table(),
        "speed.tex": _header() + speed_table(runs),
        "local-sgd.tex": _header() + local_sgd_floats(),
        "suite.tex": _header() + suite_table(),
        "images.tex": images_table(),
        "tasks.tex": tasks_table(),
    }
    return {GENERATED / name: text for name, text in texts.items()}


def _header() -> str:
    return f"% made by: python paper/scripts/make_paper.py, qsgd-lab {qsgd_lab.__version__}\n"


def _lines(lines: Iterator[str]) -> str:
    return _header() + "".join(f"{line}%\n" for line in lines)


def _claim_line(name: str, verdict: Verdict) -> str:
    if verdict.holds:
        return rf"\claimholds{{{name}}}"
    kind = "claimuntested" if verdict.holds is None else "claimfails"
    return rf"\{kind}{{{name}}}{{{escape(verdict.reason)}}}"


def _without_comments(tex: str) -> str:
    return re.sub(r"(?<!\\)%.*", "", tex)


def _must_agree(kind: str, used: set[str], defined: set[str], *, exactly: bool = False) -> None:
    missing = sorted(used - defined)
    if missing:
        raise click.ClickException(f"paper.tex uses a {kind} that nothing defines: {', '.join(missing)}")
    if exactly and defined - used:
        raise click.ClickException(
            f"paper.tex never makes the {kind} {', '.join(sorted(defined - used))}; make it, or delete it"
        )


def _refuse_hand_typed() -> None:
    typed = hand_typed_numbers(SOURCE.read_text(encoding="utf-8"))
    if typed:
        found = "; ".join(f"line {line}: {text}" for line, text in typed)
        raise click.ClickException(f"paper.tex has numbers typed by hand, where \\lab is due: {found}")


def _report(runs: PaperRuns, *, strictly: bool) -> None:
    """Say which claims do not hold; an error where the runs are those that the text was written for."""
    # Of a task without complete cells the text says nothing.
    silent = {name for name in EVIDENCE_CLAIMS if name.partition(":")[0] not in shown_tasks()}
    broken = {
        name: verdict for name, verdict in verdicts(runs).items() if not verdict.holds and name not in silent
    }
    if broken and strictly:
        name, verdict = next(iter(broken.items()))
        raise click.ClickException(
            f"the runs in {runs.store} do not bear out the claim '{name}' ({verdict.reason}); "
            "rewrite the sentence"
        )
    for name, verdict in broken.items():
        click.echo(f"Warning: the paper marks its claim '{name}': {verdict.reason}.", err=True)


@click.command()
@click.option(
    "--runs", "folder", type=click.Path(path_type=Path), help="Make everything from the runs of this folder."
)
@click.option("--check", is_flag=True, help="Only compare.")
def main(folder: Path | None, check: bool) -> None:
    """Write the generated part of the paper, or check it."""
    try:
        _refuse_hand_typed()
        runs = load_runs(COMMITTED_RUNS if check and folder is None else folder)
        texts = generated_texts(runs)
        if folder is not None:
            texts[RESULTS] = render(runs.records, "latex")
        figures = {} if check else {**figure_files(runs), **local_sgd_figures(), "suite.pdf": suite_figure()}
    except LabError as error:
        raise click.ClickException(str(error)) from error
    _report(runs, strictly=runs.store.resolve() == COMMITTED_RUNS)
    if check:
        _compare(texts)
    else:
        _write({**texts, **{GENERATED / name: content for name, content in figures.items()}})


def _compare(texts: dict[Path, str | None]) -> None:
    for path, text in texts.items():
        if (path.read_text(encoding="utf-8") if path.exists() else None) != text:
            raise click.ClickException(
                f"{path.relative_to(PAPER.parent)} is not what the runs say; "
                "run: python paper/scripts/make_paper.py"
            )


def _write(contents: Mapping[Path, str | bytes | None]) -> None:
    """Write the files, and remove those of earlier runs that these have no content for."""
    GENERATED.mkdir(exist_ok=True)
    for path, content in contents.items():
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, content)


if __name__ == "__main__":
    main()
