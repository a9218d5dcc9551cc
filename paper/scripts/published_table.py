"""Accuracies on CIFAR-10 that others published: context, marked as not measured here."""

from __future__ import annotations

from collections.abc import Sequence

from qsgd_lab.report.published import PublishedFigure, published_figures

#: Source -> the key of its entry in references.bib, in the order of the table.
CITED = {"2023 report": "optiml2023", "QSGD": "alistarh2017", "He et al.": "he2016"}
BITS = (32, 8, 4, 2)
MISSING = "--"


def published_table() -> str:
    """Return the published figures as a LaTeX float."""
    rows = [
        rf"\cite{{{key}}} & {model} & {' & '.join(_cell(figures, bits) for bits in BITS)} \\"
        for name, key in CITED.items()
        for model, figures in _by_model(name).items()
    ]
    heads = " & ".join("float32" if bits == 32 else rf"{bits} bit" for bits in BITS)
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            r"\caption{Published test accuracies on CIFAR-10 (\%), bits as their sources label them. "
            r"None was measured for this paper; protocols differ.}",
            r"\label{tab:published}",
            r"\footnotesize",
            r"\begin{tabular*}{\columnwidth}{@{\extracolsep{\fill}}l l r r r r@{}}",
            r"\toprule",
            rf"Source & Network & {heads} \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table}",
            "",
        ]
    )


def _by_model(source: str) -> dict[str, list[PublishedFigure]]:
    found: dict[str, list[PublishedFigure]] = {}
    for figure in published_figures(dataset="cifar10"):
        if figure.source.name == source:
            found.setdefault(figure.model, []).append(figure)
    return found


def _cell(figures: Sequence[PublishedFigure], bits: int) -> str:
    """Return one accuracy; where a source gives both, the mean of its runs rather than the best."""
    chosen = sorted((f for f in figures if f.bits == bits), key=lambda figure: figure.is_best)
    if not chosen:
        return MISSING
    figure = chosen[0]
    deviation = "" if figure.deviation is None else rf" \pm {figure.deviation:.2f}"
    return f"${figure.accuracy:.2f}{deviation}$"
