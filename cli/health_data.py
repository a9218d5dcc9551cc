"""Checks of ``qsgd-lab doctor``: the embedded digits and CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from qsgd_lab.cli.health import Finding
from qsgd_lab.data.places import Source, find_cifar10, search_folders

FETCH = "qsgd-lab data fetch"


def check_digits() -> Finding:
    """Look for the handwritten digits, which come with scikit-learn."""
    spec = find_spec("sklearn")
    if spec is not None and spec.origin is not None:
        table = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if table.is_file():
            return Finding("digits", "ok", "embedded: 1797 handwritten digits", necessary=True)
    remedy = "python -m pip install --force-reinstall scikit-learn"
    return Finding("digits", "missing", "scikit-learn's digits are not there", remedy, necessary=True)


def check_cifar10(folders: Sequence[Path] | None = None) -> Finding:
    """Look for CIFAR-10 in `folders` (the usual ones by default), by names and sizes alone."""
    folders = search_folders() if folders is None else folders
    source = find_cifar10(folders)
    if source is None:
        detail = f"not in {', '.join(map(str, folders))}"
        return Finding("CIFAR-10", "missing", detail, FETCH)
    fault = _archive_fault(source) if source.is_archive else _folder_fault(source)
    if fault:
        return Finding("CIFAR-10", "warn", f"{source.path} {fault}", f"delete it, then: {FETCH}")
    return Finding("CIFAR-10", "ok", f"{source.form} {source.path} (checksums: qsgd-lab data verify)")


def _archive_fault(source: Source) -> str | None:
    actual, wanted = source.path.stat().st_size, source.edition.fingerprint.num_bytes
    return None if actual == wanted else f"has {actual} bytes instead of {wanted}"


def _folder_fault(source: Source) -> str | None:
    absent = [name for name in source.edition.members if not (source.path / name).is_file()]
    return f"lacks {', '.join(absent)}" if absent else None
