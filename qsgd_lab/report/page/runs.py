"""The list of runs, and the boxes that choose among them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qsgd_lab.report.page.contents import PageContents, sent_bits
from qsgd_lab.report.page.markup import element, escape
from qsgd_lab.report.page.tables import scroll_box

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

#: Heading of a column, and how it is sorted: by number, by text, or in the order of the tables.
_COLUMNS = (
    ("Method", "order"),
    ("N", "number"),
    ("Seed", "number"),
    ("Test (%)", "number"),
    ("Validation (%)", "number"),
    ("Epochs to target", "number"),
    ("Bits/coord., sent", "number"),
    ("Time (s)", "number"),
    ("Status", "text"),
    ("Run", "text"),
)


def run_list(contents: PageContents) -> str:
    """Return the table of all runs, complete without the script, which makes it sortable."""
    heads = "".join(
        element(
            "th", element("button", escape(name), type="button", disabled=True), scope="col", data_type=kind
        )
        for name, kind in _COLUMNS
    )
    rows = "\n".join(_row(run, contents.label(run), index) for index, run in enumerate(contents.ordered))
    table = element("thead", element("tr", heads)) + element("tbody", rows)
    return scroll_box(element("table", table, id="runs-table"), "All runs", class_="scroll tall")


def _row(run: RunRecord, method: str, index: int) -> str:
    config, result, bits = run.config, run.result, sent_bits(run)
    target = result["epochs_to_target"]
    name = element(
        "button",
        escape(method),
        type="button",
        class_="open",
        aria_expanded="false",
        aria_label=f"{method}, N={config.nodes}, seed {config.seed}: details",
        disabled=True,
    )
    cells = (
        str(config.nodes),
        str(config.seed),
        f"{100 * result['test_accuracy']:.1f}",
        f"{100 * result['validation_accuracy']:.1f}",
        "–" if target is None else str(target),
        "–" if bits is None else f"{bits:.2f}",
        f"{run.timing['total_s']:.1f}",
        element("span", escape(run.status), class_=f"status {run.status}"),
        element("code", escape(run.key)),
    )
    row = element("th", name, scope="row") + "".join(element("td", cell) for cell in cells)
    return element("tr", row, id=f"run-{run.key}", data_i=index)


def filter_form(contents: PageContents) -> str:
    """Return the boxes by setting, method, nodes, seed and status; the script shows them."""
    configs = [run.config for run in contents.ordered]
    nodes, seeds = (sorted({getattr(config, name) for config in configs}) for name in ("nodes", "seed"))
    statuses = dict.fromkeys(run.status for run in contents.ordered)
    sets = (
        _boxes("method", "Method", enumerate(contents.methods))
        + _boxes("nodes", "Nodes", ((n, f"N={n}") for n in nodes))
        + _boxes("seed", "Seed", ((seed, seed) for seed in seeds))
        + _boxes("status", "Status", ((status, status) for status in statuses))
    )
    if len(contents.groups) > 1:
        sets = _boxes("setting", "Setting", enumerate(contents.group_titles)) + sets
    details = element("summary", "Filter curves and runs") + element("div", sets, class_="sets")
    count = element("output", "", id="count", aria_live="polite")
    reset = element("button", "Show all", type="button", id="reset")
    return element(
        "form",
        element("details", details, open=True) + element("p", f"{count} {reset}"),
        id="filters",
        hidden=True,
        aria_label="Filter curves and runs",
    )


def _boxes(name: str, legend: str, values: Iterable[tuple[object, object]]) -> str:
    labels = "".join(
        element(
            "label",
            f'<input type="checkbox" name="{name}" value="{escape(value)}" checked> {escape(text)}',
        )
        for value, text in values
    )
    return element("fieldset", element("legend", legend) + labels)
