r"""Find numbers typed by hand in the paper: its results must come from generated files.

python paper/scripts/check_numbers.py [FILE]        list them; exit with 1 if there are any

The rule. Between \begin{document} and the bibliography no figure is allowed, except

* in arguments that are not text: \cite, \ref, \label, \input, \includegraphics, \lab, \command, the name in
  \claim, and lengths;
* in names: ResNet-50, CIFAR-10, float32 and the like (`NAMES`);
* in mathematics, as a constant of a formula: a whole number of at most two digits with something beside it,
  is not followed by a percent sign or a unit, and follows no equality or estimate except that of a setting
  (`SETTINGS`), such as N = 8.

Numbers in words count as figures where they measure: "three points", "twice", "a quarter". "Two-bit levels"
name a method.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

PAPER = Path(__file__).resolve().parent.parent / "paper.tex"

#: Words with figures in them that are names, not numbers.
NAMES = (
    r"AlexNet",
    r"ResNet-?\d+",
    r"CIFAR-10",
    r"(?:fp|float|int)32",
    r"Philox\dx32-10",
    r"[01]-bit SGD",
    r"report-2023",
    r"alexnet-\d+",
)
#: What a formula may set to a number: sizes, levels and bits of an example, not measurements.
SETTINGS = ("N", "n", "s", "b", "k", "y", "i", "B_i", r"\delta", r"\zeta_i")

#: Commands whose (last) argument is not text. Optional arguments go with it.
_HIDING = (
    "cite|ref|eqref|label|input|include|includegraphics|generatedfigure|bibliography|bibliographystyle|lab|command|url|href|"
    "vspace|hspace|setlength|addtolength|begin|end|enlargethispage|IEEEtriggeratref|claim"
)
_ARGUMENTS = re.compile(rf"\\(?:{_HIDING})\*?(?:\[[^\]]*\])?\{{[^{{}}]*\}}")
_MATH = re.compile(
    r"(?<!\\)\$(?P<inline>[^$]+)(?<!\\)\$(?P<after>\s*~?(?:\\,)?\s*(?:\\?%|\w+)?)"
    r"|\\begin\{(?P<env>equation|align|gather)\*?\}(?P<display>.*?)\\end\{(?P=env)\*?\}",
    re.DOTALL,
)
_FIGURE = re.compile(r"\d[\d.,]*")
_COUNTS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|sixteen|twenty|thirty|forty|fifty|"
    "ninety|dozen|hundred|thousand|million|half|several hundred"
)
_MEASURES = (
    "percent|per cent|percentage|points?|times|orders?|seconds?|minutes?|hours?|milliseconds?|microseconds?|"
    "bits?|bytes?|kilobytes?|megabytes?|gigabytes?|epochs?|steps?|seeds?|runs?|images?|parameters?|"
    "standard deviations?"
)
_IN_WORDS = re.compile(
    rf"\b(?:{_COUNTS})(?!-bit\b)[\s~-]+(?:{_MEASURES})\b|\b(?:{_COUNTS}|many)[\s-]?fold\b|\btwice\b|\bthrice\b|"
    r"\bhalf\b(?! (?:way|open))|\ba (?:third|quarter|fifth|tenth)\b|"
    r"\b(?:doubl|tripl|quadrupl|halv)(?:es|ed|ing|e)\b",
    re.IGNORECASE,
)
_UNITS = re.compile(rf"\s*~?(?:\\,)?\s*(?:\\?%|(?:{_MEASURES}|s|ms|MB|GB|kB|bit/s)\b)")


def hand_typed_numbers(tex: str) -> list[tuple[int, str]]:
    """Return (line, text) of every number typed by hand, in the order of the lines."""
    body = _body(tex)
    found = list(_in_mathematics(body))
    text = _MATH.sub(lambda match: _blank(match[0]), body)
    found += [(match.start(), match[0]) for match in _FIGURE.finditer(text)]
    found += [(match.start(), match[0]) for match in _IN_WORDS.finditer(text)]
    return sorted((text.count("\n", 0, start) + 1, _one_line(typed)) for start, typed in found)


def _body(tex: str) -> str:
    """Return the text with everything that may hold figures blanked; every character keeps its place."""
    text = re.sub(r"(?<!\\)%.*", lambda match: _blank(match[0]), tex)
    start, stop = text.find(r"\begin{document}"), text.find(r"\bibliographystyle")
    start, stop = max(start, 0), len(text) if stop < 0 else stop
    text = _blank(text[:start]) + text[start:stop] + _blank(text[stop:])
    mathematics = [match.span() for match in _MATH.finditer(text)]
    for match in _ARGUMENTS.finditer(text):
        if not any(low < match.start() < high or low == match.start() for low, high in mathematics):
            text = text[: match.start()] + _blank(match[0]) + text[match.end() :]
    for name in NAMES:
        pattern = re.compile(rf"(?<![\w.]){name}(?![\w.]*\d)", re.IGNORECASE)
        text = pattern.sub(lambda match: _blank(match[0]), text)
    return text


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _in_mathematics(body: str) -> Iterator[tuple[int, str]]:
    for match in _MATH.finditer(body):
        name = "inline" if match["inline"] else "display"
        formula = re.sub(r"\\(?:label|lab|text)\{[^{}]*\}", lambda hidden: _blank(hidden[0]), match[name])
        alone = _FIGURE.fullmatch(formula.strip().rstrip(r"\,"))
        measured = any(map(str.isdigit, formula)) and _UNITS.match(match["after"] or "")
        if alone or (measured and not _has_symbols(formula)):
            yield match.start(), match[0]
            continue
        yield from ((match.start(name) + start, typed) for start, typed in _results(formula))


def _has_symbols(formula: str) -> bool:
    """Return whether letters take part, commands apart: b + 1 bits are not a measurement."""
    return any(map(str.isalpha, re.sub(r"\\[a-zA-Z]+", "", formula)))


def _is_setting(formula: str) -> bool:
    settings = "|".join(map(re.escape, SETTINGS))
    return bool(re.search(rf"(?:^|[\s,({{])(?:{settings})\s*(?:=|\\le|\\ge)\s*[\d.]+\s*$", formula))


def _results(formula: str) -> Iterator[tuple[int, str]]:
    """Yield the figures of a formula that are more than its constants."""
    for match in _FIGURE.finditer(formula):
        figure = match[0].rstrip(".,")
        before = formula[: match.end()].rstrip(".,")
        equated = re.search(r"(?:=|\\approx|\\sim|\\pm)\s*-?[\d.,]+$", before)
        if not re.fullmatch(r"\d{1,2}", figure) or (equated and not _is_setting(before)):
            yield match.start(), formula[max(0, match.start() - 10) : match.end()]


def main(path: Path) -> int:
    """Print what was found in a file, one a line; return the exit code."""
    typed = hand_typed_numbers(path.read_text(encoding="utf-8"))
    for line, text in typed:
        sys.stdout.write(f"{path.name}:{line}: {text}\n")
    return int(bool(typed))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAPER))
