"""The LaTeX writer: sound structure for any records, and a compiled page without a bad box."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_runs import demo_records, names, record, sweeps
from hypothesis import given
from naive_report import KNOWN_MACROS, macros, tabulars, unbalanced, without_comments

from qsgd_lab.report import render
from qsgd_lab.report.formats.latex import escape
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.runs.record import RunRecord

PACKAGES = ("IEEEtran.cls", "booktabs.sty", "siunitx.sty")

DOCUMENT = r"""
\documentclass%s
%s
\begin{document}
Tables %s.
\input{results}
\end{document}
"""


@given(sweeps())
def test_structure(records: list[RunRecord]) -> None:
    """Rows fill exactly their columns, everything opened is closed, and only known macros occur."""
    source = without_comments(render(records, "latex"))

    assert unbalanced(source) == []
    assert macros(source) <= KNOWN_MACROS
    assert tabulars(source)
    for num_columns, rows in tabulars(source):
        assert set(rows) == {num_columns}


@given(sweeps())
def test_labels_are_unique_and_plain(records: list[RunRecord]) -> None:
    """Every float has a label of its own, of characters that a reference can hold."""
    labels = re.findall(r"\\label\{(.*)\}", render(records, "latex"))

    assert len(set(labels)) == len(labels) > 0
    assert all(re.fullmatch(r"tab:[A-Za-z0-9-]+", label) for label in labels)


@given(names)
def test_escaped_text_is_ascii_and_inert(text: str) -> None:
    """An escaped string has no bare special character and nothing outside ASCII."""
    escaped = escape(text)

    assert escaped.isascii()
    assert not re.search(r"(?<!\\)[&%#_~]", escaped)
    assert unbalanced(escaped) == []


def test_header_has_version_and_keys_and_no_place() -> None:
    """The comments name the program and every run, and nothing of where or when."""
    records = demo_records()
    source = render(records, "latex")
    comments = " ".join(re.findall("^% (.*)$", source, flags=re.MULTILINE))

    assert source.startswith("% made by: qsgd-lab ")
    assert all(run.key in comments for run in records)
    assert "/" not in comments
    assert source.isascii()


def test_entries_are_for_s_columns() -> None:
    """Numbers are written as siunitx reads them, words in braces, marks in boxes without width."""
    source = render(demo_records(), "latex")

    assert "{--}" in source
    assert "{div.}" in source
    assert re.search(r"\d\d\.\d \+- \d\d\.\d \{\\rlap\{\$\^\\dagger\$\}\}", source)
    assert r"{--\rlap{$^{0/3}$}}" in source
    assert "S[table-format=2.1(2.1)]" in source


@pytest.fixture
def latexmk() -> str:
    """Find latexmk; skip where it or a package is missing."""
    program, finder = shutil.which("latexmk"), shutil.which("kpsewhich")
    if program is None or finder is None:
        pytest.skip("latexmk is not installed")
    missing = [
        name
        for name in PACKAGES
        if subprocess.run([finder, name], capture_output=True, check=False).returncode
    ]
    if missing:
        pytest.skip(f"LaTeX lacks {', '.join(missing)}")
    return program


def _awkward_records() -> list[RunRecord]:
    """Return the demo; ten numbers of nodes with the widest cells; marks; several settings; odd names."""
    wide = [
        record(
            preset="wide",
            bits=bits,
            nodes=2**k,
            seed=seed,
            accuracy=(0.0, 1.0, 0.9)[seed],
            epochs_to_target=(None, 1, 150)[seed],
            status="diverged" if seed == 0 else "done",
        )
        for bits in (8, 2)
        for k in range(10)
        for seed in range(3)
        if (bits, k, seed) != (2, 3, 2)
    ]
    strange = [
        record(preset=r"50%_$x^2$ & #1 {~\}", dataset="日本 <é|`>", seed=1),
        record(preset=r"50%_$x^2$ & #1 {~\}", dataset="日本 <é|`>", seed=1, learning_rate=0.5),
    ]
    timing = {"total_s": 9.0, "compute_s": 5.0, "quantize_s": 2.0, "other_s": 2.0}
    marked = [
        record(
            model=model,
            dataset="cifar10",
            preset=preset,
            norm=norm,
            bits=bits,
            rounding=rounding,
            nodes=nodes,
            seed=seed,
            accuracy=0.9
            + 0.0001 * ((7 * seed + 3 * bits + nodes) % 5)
            - (0.03 if rounding == "nearest" else 0),
            num_parameters=58_325_000,
            timing=timing,
        )
        for model in ("alexnet-227", "resnet110")
        for preset, norm in (("report", "max"), ("report", "l2"), ("report-2023", "max"))
        for bits, rounding in ((32, None), (8, "stochastic"), (3, "stochastic"), (2, "nearest"))
        for nodes in (1, 2, 4, 8)
        for seed in range(5)
        if (bits, norm) != (32, "l2")  # the baseline of both norms
    ]
    return [*demo_records(), *wide, *strange, *marked]


#: Together these show every measure in every view and in both styles.
_SHOWN = {
    "default": TableOptions(),
    "plain": TableOptions(style="plain", show=("accuracy", "network", "bits")),
    "by method": TableOptions(by="method", show=("accuracy", "epochs", "codes")),
    "by model": TableOptions(by="model", show=("accuracy", "bits", "traffic"), published=True),
    "by setting": TableOptions(
        by="setting", style="plain", show=("accuracy", "time", "codes"), published=True
    ),
    "article": TableOptions(page="article", show=("accuracy", "epochs", "bits", "codes")),
    "article by setting": TableOptions(
        page="article", by="setting", style="plain", show=("accuracy", "traffic")
    ),
    "column": TableOptions(page="ieeetran-column", show=("accuracy", "bits", "codes")),
}


@pytest.mark.latex
@pytest.mark.slow
@pytest.mark.parametrize("shown", _SHOWN)
def test_page_has_no_bad_boxes(latexmk: str, tmp_path: Path, shown: str) -> None:
    """The page that it is for takes every table: no error, overfull box or undefined reference."""
    options = _SHOWN[shown]
    results = render(_awkward_records(), "latex", options)
    document_class = "{article}" if options.page == "article" else "[conference]{IEEEtran}"
    references = ", ".join(rf"\ref{{{label}}}" for label in re.findall(r"\\label\{(.*)\}", results))
    (tmp_path / "results.tex").write_text(results, encoding="utf-8")
    packages = "\n".join(re.findall(r"\\usepackage\{\w+\}", results.splitlines()[1]))
    (tmp_path / "paper.tex").write_text(DOCUMENT % (document_class, packages, references), encoding="utf-8")

    run = subprocess.run(
        [latexmk, "-pdf", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=300,
    )

    log = (tmp_path / "paper.log").read_text(encoding="latin-1")
    assert run.returncode == 0, log[-2000:]
    assert "Overfull \\hbox" not in log
    assert "Overfull \\vbox" not in log
    assert "Float too large" not in log
    assert "undefined references" not in log
    assert "multiply-defined labels" not in log
    assert (tmp_path / "paper.pdf").stat().st_size > 0
