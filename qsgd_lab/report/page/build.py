"""The page as a whole: head, policy, sections, data and script.

The same contents give the same bytes: no date, host name, user or path is written. Everything can be read
without JavaScript; the script adds filters, sorting, curves seed by seed and the details of a run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from importlib import resources

from qsgd_lab.report.analysis.grouping import method_label
from qsgd_lab.report.figures.data import FigureRuns
from qsgd_lab.report.page.answer import answer
from qsgd_lab.report.page.contents import MAX_POINTS, PageContents, script_data
from qsgd_lab.report.page.markup import element, escape, items, json_island, pairs
from qsgd_lab.report.page.runs import filter_form, run_list
from qsgd_lab.report.page.svg import figures
from qsgd_lab.report.page.tables import table_markup
from qsgd_lab.report.tables.layout import lay_out
from qsgd_lab.report.tables.options import DEFAULT_LINK

_SECTIONS = {
    "results": "Results",
    "curves": "Curves",
    "runs": "Runs",
    "trouble": "Diverged and failed",
    "made": "Made with",
    "repeat": "Repeat",
}
_CURVES = (
    "Validation accuracy (%) by epoch: a thin line a seed, a thick line their mean, a dashed line the mean "
    "of fp32 at the same N. The filter, or a click on a cell of a table, chooses the runs here and below."
)
_NO_SCRIPT = "The curves need JavaScript; the figure of validation accuracy by epoch above shows their means."


def page(contents: PageContents) -> str:
    """Return the HTML of a page: one file, no request to anything else.

    Parameters
    ----------
    contents : PageContents
        Without runs the page says that none has finished.

    Raises
    ------
    IntegrityError
        If two records claim the same cell and seed.
    """
    css, script = (_resource(name) for name in ("page.css", "page.js"))
    title = escape(contents.title or _question(contents))
    refresh = contents.progress.refresh_s if contents.progress else 0
    head = (
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
        + (f'<meta http-equiv="refresh" content="{refresh}">\n' if refresh else "")
        + '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>\n{css}</style>"
    )
    body = (
        '<a class="skip" href="#main">To the results</a>\n'
        + _header(contents, title)
        + "\n"
        + element("main", "\n".join(_sections(contents)), id="main", tabindex="-1")
        + f'\n<script type="application/json" id="data">{json_island(script_data(contents))}</script>'
        + f"\n<script>{script}</script>"
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Return a policy under which the browser runs this script only and loads nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _question(contents: PageContents) -> str:
    models = dict.fromkeys(str(group.shared["model"]) for group in contents.groups)
    return f"What does compressing gradients cost {', '.join(models) or 'a model'} in accuracy?"


def _header(contents: PageContents, title: str) -> str:
    runs = contents.runs
    facts = {
        "runs": len(runs),
        "methods": len(contents.methods),
        "nodes": ", ".join(map(str, sorted({run.config.nodes for run in runs}))) or "0",
        "seeds": len({run.config.seed for run in runs}),
        "diverged": sum(run.status == "diverged" for run in runs),
    }
    if runs:
        said = answer(contents.groups, contents.group_titles)
    else:
        said = "No run has finished yet." if contents.progress else "No run of this version is stored."
    links = " ".join(element("a", name, href=f"#{anchor}") for anchor, name in _SECTIONS.items())
    return element(
        "header",
        element("p", "qsgd-lab report", class_="kicker")
        + element("h1", title)
        + _progress(contents)
        + element("p", escape(said), class_="answer")
        + element(
            "ul",
            "".join(element("li", f"{element('b', escape(v))} {name}") for name, v in facts.items()),
            class_="facts",
        )
        + element("nav", links, aria_label="Sections"),
    )


def _progress(contents: PageContents) -> str:
    progress = contents.progress
    if progress is None or (not progress.refresh_s and progress.done == progress.total):
        return ""
    bar = element("progress", "", value=progress.done, max=progress.total, aria_label="Runs finished")
    state = (
        "the sweep is running, and this page renews itself" if progress.refresh_s else "the sweep has stopped"
    )
    return element(
        "p", f"{bar} {progress.done} of {progress.total} runs finished; {state}.", class_="progress"
    )


def _sections(contents: PageContents) -> Iterator[str]:
    yield element("section", _heading("results") + "".join(_results(contents)))
    yield filter_form(contents)
    thinned = any(len(curve) > MAX_POINTS for curve in contents.epochs.values())
    hint = _CURVES + (f" Long curves are thinned to {MAX_POINTS} points." if thinned else "")
    yield element(
        "section",
        _heading("curves")
        + element("p", hint, class_="hint")
        + element("noscript", element("p", _NO_SCRIPT))
        + element("div", "", id="multiples"),
    )
    yield element("section", _heading("runs") + run_list(contents))
    yield element("section", _heading("trouble") + ("".join(_trouble(contents)) or element("p", "None.")))
    yield element("section", _heading("made") + "".join(_made_with(contents)))
    commands = element("code", escape("\n".join((*contents.commands, "qsgd-lab table --format text"))))
    yield element(
        "section",
        _heading("repeat")
        + element("p", "Runs that are stored already are not made again; a run that was stopped goes on.")
        + element("pre", commands, tabindex="0"),
    )


def _heading(anchor: str) -> str:
    return element("h2", _SECTIONS[anchor], id=anchor)


def _results(contents: PageContents) -> Iterator[str]:
    tables = lay_out(contents.groups, traffic_apart=True)
    epochs = {key: curve for key, curve in contents.epochs.items() if curve}
    for number, (group, table) in enumerate(zip(contents.groups, tables, strict=True)):
        data = FigureRuns(group, epochs, latency=DEFAULT_LINK.latency)
        # the script draws the same curves seed by seed
        drawn = "".join(
            element("noscript", figure) if name == "epochs" else figure
            for name, figure in figures(data, number)
        )
        title = contents.group_titles[number]
        yield element(
            "div",
            (element("h3", escape(title), class_="setting") if title else "")
            + table_markup(table)
            + element("div", drawn, class_="plots"),
            class_="group",
            data_group=number,
        )


def _trouble(contents: PageContents) -> Iterator[str]:
    if contents.warning:
        yield element("p", escape(f"Warning: {contents.warning}."))
    cells = Counter((contents.label(run), run.config.nodes) for run in contents.ordered)
    diverged = Counter(
        (contents.label(run), run.config.nodes) for run in contents.ordered if run.status == "diverged"
    )
    if diverged:
        yield element("h3", "Diverged")
        yield element(
            "p", "A result, not an error: the loss became infinite or stayed above that of guessing."
        )
        yield items(
            escape(f"{method}, N={nodes}: {count} of {cells[method, nodes]} runs")
            for (method, nodes), count in diverged.items()
        )
    if contents.unfinished:
        yield element("h3", "Failed or not finished")
        yield items(
            f"{element('code', escape(run.key))} {escape(run.state)}"
            + (f": {element('code', escape(run.reason))}" if run.reason else "")
            for run in contents.unfinished
        )
    if contents.left_out:
        yield element("h3", "Left out")
        yield element("p", "Made with other versions of the lab, and in no table above.")
        yield items(
            f"{element('code', escape(run.key))} "
            + escape(f"{method_label(run.config)}, N={run.config.nodes}, seed {run.config.seed}")
            for run in contents.left_out
        )


def _made_with(contents: PageContents) -> Iterator[str]:
    data = script_data(contents)
    if contents.runs:
        yield element("h3", "Settings that all runs share")
        yield pairs(data["shared"])
    made = Counter(json.dumps(run.environment, sort_keys=True) for run in contents.ordered)
    for text, count in made.items():
        environment = json.loads(text)
        dirty = ", from a checkout with uncommitted changes" if environment.get("dirty") else ""
        yield element("h3", f"{count} run{'s' * (count != 1)}{dirty}")
        yield pairs(environment)
