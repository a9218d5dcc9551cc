"""The table of the flaws' effects as text, Markdown, LaTeX and JSON: the same numbers in each."""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Callable, Sequence

from qsgd_lab.report.flaws.effects import Effect
from qsgd_lab.report.formats.latex import escape
from qsgd_lab.terminal import DEFAULT_WIDTH, fill

#: Of comments in LaTeX.
COMMENT_WIDTH = 100

#: A network's name, the headings, and the rows.
Block = tuple[str, list[str], list[list[str]]]

_NOTE = (
    "Test accuracy in %, mean ± standard deviation over the seeds; then the mean difference from the "
    "corrected protocol, paired by seed, with its 95 % interval. *: significant at 5 % after Holm's "
    "adjustment over all differences of the table. =: every seed reports what the corrected protocol does. "
    "void: the flaw needs a quantizer. Epochs: to the target on validation, as the protocol measures it, "
    "and how many runs got there where not all did."
)
_DIVERGED = "†: with a diverged run among them, and so in no test."


def write_effects(effects: Sequence[Effect], format_name: str, title: str, width: int = DEFAULT_WIDTH) -> str:
    """Return the table.

    Parameters
    ----------
    effects : sequence of Effect
        Every protocol of every network and method.
    format_name : str
        A key of `FLAW_FORMATS`.
    title : str
        What was run: data, nodes, seeds.
    width : int
        Columns that text may take.
    """
    return FLAW_FORMATS[format_name](effects, title, width)


def _text(effects: Sequence[Effect], title: str, width: int) -> str:
    tables = [_aligned(block) for block in _blocks(effects)]
    if max(len(line) for table in tables for line in table.splitlines()) > width:
        apart: dict[tuple[str, str], list[Effect]] = {}
        for effect in effects:
            apart.setdefault((effect.cell.model, effect.cell.method), []).append(effect)
        tables = [_aligned(block) for own in apart.values() for block in _blocks(own)]
    return "\n\n".join([fill(title, width), *tables, fill(_note(effects), width)]) + "\n"


def _aligned(block: Block) -> str:
    model, header, rows = block
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join([model, *lines])


def _markdown(effects: Sequence[Effect], title: str, _width: int) -> str:
    blocks = [title]
    for model, header, rows in _blocks(effects):
        rule = ["---", *["---:"] * (len(header) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (header, rule, *rows)]
        blocks.append("\n".join([f"**{model}**", "", *lines]).replace("*|", "\\*|"))
    return "\n\n".join([*blocks, _note(effects)]).replace(" *", " \\*").replace("]*", "]\\*") + "\n"


def _latex(effects: Sequence[Effect], title: str, _width: int) -> str:
    blocks = _blocks(effects)
    methods = blocks[0][1][1:]
    body = []
    for model, _, rows in blocks:
        body += [
            r"\addlinespace[2pt]",
            rf"\multicolumn{{{len(methods) + 1}}}{{l}}{{\emph{{{escape(model)}}}}} \\",
        ]
        body += [" & ".join(escape(word) for word in row) + r" \\" for row in rows]
    keys = sorted({key for effect in effects for key in effect.to_dict()["run_keys"]})
    comment = textwrap.fill(
        f"runs: {' '.join(keys)}", COMMENT_WIDTH, initial_indent="% ", subsequent_indent="%   "
    )
    return "\n".join(
        [
            "% made by: qsgd-lab flaws --format latex",
            r"% needs: \usepackage{booktabs}",
            comment,
            r"\begin{table*}[tbp]",
            r"\centering",
            rf"\caption{{{escape(title)}}}",
            r"\label{tab:flaws}",
            r"\footnotesize",
            rf"\begin{{tabular*}}{{\textwidth}}{{@{{\extracolsep{{\fill}}}}l{'r' * len(methods)}@{{}}}}",
            r"\toprule",
            " & ".join(["Protocol", *(escape(method) for method in methods)]) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular*}",
            "",
            r"\smallskip",
            rf"\parbox{{\textwidth}}{{\scriptsize {escape(_note(effects))}}}",
            r"\end{table*}",
            "",
        ]
    )


def _json(effects: Sequence[Effect], title: str, _width: int) -> str:
    document = {"title": title, "effects": [effect.to_dict() for effect in effects]}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


FLAW_FORMATS: dict[str, Callable[[Sequence[Effect], str, int], str]] = {
    "text": _text,
    "latex": _latex,
    "markdown": _markdown,
    "json": _json,
}


def _blocks(effects: Sequence[Effect]) -> list[Block]:
    """Return (model, header, rows) of each network: a row a protocol, three columns a method."""
    blocks = []
    for model in dict.fromkeys(effect.cell.model for effect in effects):
        own = {(e.cell.protocol, e.cell.method): e for e in effects if e.cell.model == model}
        protocols, methods = (list(dict.fromkeys(key[i] for key in own)) for i in range(2))
        rows = [
            [name, *(word for method in methods for word in _entries(own[name, method]))]
            for name in protocols
        ]
        header = ["protocol", *(word for method in methods for word in (method, "difference", "epochs"))]
        blocks.append((model, header, rows))
    return blocks


def _entries(effect: Effect) -> tuple[str, str, str]:
    """Return the words of a cell: accuracy, its difference, and epochs to the target."""
    return _accuracy(effect), _difference(effect), _epochs(effect)


def _epochs(effect: Effect) -> str:
    reached, runs = effect.epochs_to_target, len(effect.accuracies)
    if not effect.cell.applies or not runs:
        return ""
    mean = f"{statistics.fmean(reached):.1f}" if reached else "none"
    return mean if len(reached) == runs else f"{mean} ({len(reached)}/{runs})"


def _accuracy(effect: Effect) -> str:
    if effect.mean is None:
        return "not run"
    if not effect.cell.applies:
        return "void"
    deviation = "" if effect.deviation is None else f" ± {effect.deviation:.1f}"
    return f"{effect.mean:.1f}{deviation}{'†' if effect.num_diverged else ''}"


def _difference(effect: Effect) -> str:
    if effect.comparison is None or effect.comparison.difference is None:
        return ""
    if effect.is_identical:
        return "="
    difference = effect.comparison.difference
    if effect.half_width is None:
        return _signed(difference)
    low, high = difference - effect.half_width, difference + effect.half_width
    star = "*" if effect.is_significant else ""
    return f"{_signed(difference)} [{_signed(low)}, {_signed(high)}]{star}"


def _signed(number: float) -> str:
    """Return a number with one decimal and its sign; what rounds to zero has none."""
    text = f"{number:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def _note(effects: Sequence[Effect]) -> str:
    return f"{_NOTE} {_DIVERGED}" if any(effect.num_diverged for effect in effects) else _NOTE
