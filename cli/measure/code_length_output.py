"""The rows that ``qsgd-lab code-length`` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qsgd_lab.cli.measure.rows_output import NONE, Table, as_csv, as_json, as_latex, as_text, score
from qsgd_lab.theory.checks.code_length import CodeLengthCheck

#: Fields in bits of the whole vector; each is repeated a coordinate, with the suffix.
_BIT_FIELDS = ("bits_measured", "bits_exact", "bound_paper", "bound_explicit", "entropy", "lower_bound")
_SUFFIX = "_per_coord"
_HEADER = ("b", "s", "measured", "exact", "z", "proved bound", "paper's bound", "entropy", "lower bound")


def render(checks: Sequence[CodeLengthCheck], source: str, output_format: str) -> str:
    """Return the rows as ``text``, ``json``, ``csv`` or ``latex``, ending in a newline.

    Parameters
    ----------
    checks : sequence of CodeLengthCheck
        At least one, of one code, layout and vector source.
    source : str
        The distribution, or the file's name.
    output_format : {"text", "json", "csv", "latex"}
    """
    if output_format in ("json", "csv"):
        records = [_record(check, source) for check in checks]
        return (as_json if output_format == "json" else as_csv)(records)
    if output_format == "latex":
        from qsgd_lab.report.formats.latex import escape

        return as_latex(
            _table(checks),
            command="code-length",
            caption=f"Bits a coordinate, norms included: {escape(_describe(checks[0], source))}",
            symbols={"b": "$b$", "s": "$s$", "z": "$z$"},
        )
    heading = f"{_describe(checks[0], source)}\n{_conclusion(checks)}\n"
    return as_text([heading, _table(checks), _legend(checks[0])])


def _record(check: CodeLengthCheck, source: str) -> dict[str, object]:
    """Return the documented keys first: conditions, then bits, then bits a coordinate."""
    fields = dataclasses.asdict(check)
    keys = list(fields)
    last = keys.index(_BIT_FIELDS[-1]) + 1
    each = {
        name + _SUFFIX: None if fields[name] is None else fields[name] / check.dim for name in _BIT_FIELDS
    }
    head, tail = ({key: fields[key] for key in part} for part in (keys[:last], keys[last:]))
    return {**head, **each, **tail, "source": source}


def _table(checks: Sequence[CodeLengthCheck]) -> Table:
    return Table(
        (*_HEADER, "verdict"), [_cells(check) for check in checks], "Bits a coordinate, norms included", (-1,)
    )


def _cells(check: CodeLengthCheck) -> tuple[str, ...]:
    def each(bits: float | None) -> str:
        return NONE if bits is None else f"{bits / check.dim:.4f}"

    return (
        str(check.bits),
        str(check.levels),
        each(check.bits_measured),
        each(check.bits_exact),
        score(check.z),
        each(check.bound_explicit),
        each(check.bound_paper),
        each(check.entropy),
        each(check.lower_bound),
        check.verdict,
    )


def _describe(check: CodeLengthCheck, source: str) -> str:
    messages = f"{check.trials} messages" if check.trials > 1 else "one message"
    buckets = "one bucket" if check.bucket_size == check.dim else f"buckets of {check.bucket_size}"
    code = "fixed width" if check.layout == "fixed" else f"{check.code} code, {check.layout}"
    return (
        f"{code}: {source} vector, {check.dim} coordinates, {buckets}, {check.norm} norm, "
        f"{check.rounding} rounding, {messages}, seed {check.seed}"
    )


def _conclusion(checks: Sequence[CodeLengthCheck]) -> str:
    failed = [check for check in checks if not check.passed]
    if failed:
        bits = ", ".join(str(check.levels) for check in failed)
        return f"{len(failed)} of {len(checks)} rows FAIL (s = {bits}): see the verdict."
    return "Every message has the length of its code words, and they agree with their exact expectation."


_PAPER = {
    "sparse": "paper's bound: QSGD, Theorem 3.2 with o(1) = 0, which is then no theorem.",
    "dense": "paper's bound: the lemma behind Corollary 3.3, recalled, with o(1) = 0: no theorem.",
    "fixed": "The fixed width is its own bound.",
}


def _legend(check: CodeLengthCheck) -> str:
    deviations = "estimated" if check.layout == "sparse" else "exact"
    return " ".join(
        [
            "measured: encoded messages, norms and payload, chunks padded to words; header, directory not.",
            f"exact: for this vector, without the padding ({check.bits_padding / check.dim:.4f} in row one).",
            f"z: distance in {deviations} standard deviations. entropy: of the levels.",
            _PAPER[check.layout.removesuffix("-signed")],
            "proved bound: suffices in expectation for every vector. lower bound: some vector takes as much",
            "from any compressor of this worst-case variance.",
        ]
    )
