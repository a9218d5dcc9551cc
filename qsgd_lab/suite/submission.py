"""A submission: a TOML file that names a method at each rung, and the plug-in that brings it.

Nothing in the file is run but the plug-in that it names; texts, names and lengths are checked first.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from qsgd_lab import plugins
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.runs import validation
from qsgd_lab.suite.definition import REFERENCE, WHOLE, Suite

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
#: Texts of methods a rung.
MOST_SPECS = 3
MOST_BYTES = 1 << 16
_KNOWN = ("suite", "name", "title", "authors", "license", "import", "specs")


@dataclass(frozen=True)
class Submission:
    """A method as it enters the benchmark.

    Attributes
    ----------
    name, title, license : str
    authors : tuple of str
    plugin : str
        A file's path, a module's name, or "" for methods of the lab.
    specs : dict of str to tuple of str
        Texts of methods by rung; a rung left out is not entered.
    """

    name: str
    title: str
    specs: Mapping[str, tuple[str, ...]]
    authors: tuple[str, ...] = ()
    license: str = ""
    plugin: str = ""

    def load(self) -> None:
        """Import the plug-in, and parse all specs.

        Raises
        ------
        ValueError
            In one line, if the plug-in or a spec is not sound.
        """
        if self.plugin:
            plugins.load([self.plugin])
        for specs in self.specs.values():
            for spec in specs:
                ComparedMethod.parse(spec)

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the methods of the specs come from, as far as they are not the lab's: names and digests."""
        methods = [ComparedMethod.parse(spec) for specs in self.specs.values() for spec in specs]
        return tuple(sorted({o for m in methods for o in (*m.algorithm.origins, *m.compressor.origins)}))

    def digest(self, suite: Suite) -> str:
        """Return the digest of the submission and the suite, hexadecimal.

        Verification seeds and held-out data follow from it, so that nobody can tune on them: a change of the
        plug-in or of a spec changes both. The plug-in must be loaded.
        """
        parts = {
            "suite": suite.digest,
            "name": self.name,
            "specs": {rung: list(specs) for rung, specs in self.specs.items()},
            "origins": list(self.origins),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_submission(path: Path, suite: Suite) -> Submission:
    """Return the submission of a TOML file.

    Raises
    ------
    ValueError
        In one line, with what would be right.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} is too large for a submission")
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not TOML: {str(error)[:100]}") from None
    return submission_of(document, suite, str(path), path.parent)


def submission_of(document: Mapping[str, Any], suite: Suite, where: str, folder: Path) -> Submission:
    """Return the checked submission of a document; plug-in files are relative to `folder`.

    Raises
    ------
    ValueError
        In one line, with what would be right.
    """
    if unknown := sorted(set(document) - set(_KNOWN)):
        raise ValueError(f"{where}: unknown field {unknown[0]!r}; a submission has {', '.join(_KNOWN)}")
    for name in ("suite", "name", "specs"):
        if name not in document:
            raise ValueError(f"{where}: the field {name} is missing")
    if document["suite"] != suite.name:
        raise ValueError(f"{where}: it is for {document['suite']!r}, and this lab has {suite.name}")
    name = document["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{where}: name is {name!r}; use up to 40 lower-case letters, digits and -")
    texts = {key: document.get(key, "") for key in ("title", "license", "import")}
    for key, value in texts.items():
        validation.text(value, f"{where}: {key}")
    authors = validation.list_of(validation.text)(document.get("authors", []), f"{where}: authors")
    plugin = texts["import"]
    if plugin.endswith(".py"):
        plugin = str(folder / plugin)
    specs = _specs(document["specs"], suite, where)
    return Submission(name, texts["title"] or name, specs, tuple(authors), texts["license"], plugin)


def _specs(given: Any, suite: Suite, where: str) -> dict[str, tuple[str, ...]]:
    rungs = (*suite.rungs, WHOLE)
    if not isinstance(given, Mapping) or not given or not set(given) <= set(rungs):
        raise ValueError(f'{where}: [specs] needs lines such as "32x" = ["my-method"]; rungs: {rungs}')
    for rung, specs in given.items():
        is_list = isinstance(specs, list) and 0 < len(specs) <= MOST_SPECS
        if not is_list or not all(isinstance(spec, str) and 0 < len(spec) <= 300 for spec in specs):
            raise ValueError(f"{where}: {rung} needs a list of 1 to {MOST_SPECS} texts of methods")
    return {rung: tuple(given[rung]) for rung in rungs if rung in given}


@cache
def baselines(suite: Suite) -> dict[str, Submission]:
    """Return the stored baselines by name, the reference first."""
    text = files("qsgd_lab.suite").joinpath("baselines.json").read_text(encoding="utf-8")
    document = json.loads(text)
    assert next(iter(document)) == REFERENCE
    return {
        name: submission_of({"suite": suite.name, "name": name, **entry}, suite, f"baseline {name}", Path())
        for name, entry in document.items()
    }
