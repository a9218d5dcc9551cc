"""Checks of ``qsgd-lab doctor``: the embedded digits and CIFAR-10."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from qsgd_lab.cli.health import Finding

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
#: To go when the reader comes: until then nobody should be sent to download 170 MB.
NOT_READ_YET = " (this version does not read it yet)"
#: Sizes in bytes of the two official archives.
CIFAR10_ARCHIVES = {"cifar-10-binary.tar.gz": 170_052_171, "cifar-10-python.tar.gz": 170_498_071}
#: Files of the unpacked archives.
CIFAR10_FOLDERS = {
    "cifar-10-batches-bin": ("test_batch.bin", *(f"data_batch_{i}.bin" for i in range(1, 6))),
    "cifar-10-batches-py": ("test_batch", *(f"data_batch_{i}" for i in range(1, 6))),
}


def data_folders() -> list[Path]:
    """Return the folders where data sets are looked for, in order.

    ``QSGD_LAB_DATA`` if it is set, the user's cache folder, and ``data`` in the working folder.
    """
    from platformdirs import user_cache_dir

    named = os.environ.get("QSGD_LAB_DATA")
    return [*([Path(named)] if named else []), Path(user_cache_dir("qsgd-lab")), Path("data")]


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
    """Look for CIFAR-10 in `folders` (`data_folders` by default), as an archive or unpacked."""
    folders = data_folders() if folders is None else folders
    for folder in folders:
        if found := _find_cifar10(folder):
            return found
    remedy = f"nothing yet: runs use the digits; the reader to come wants {CIFAR10_URL} in {folders[0]}"
    return Finding("CIFAR-10", "missing", f"not in {', '.join(map(str, folders))}", remedy)


def _find_cifar10(folder: Path) -> Finding | None:
    for name, files in CIFAR10_FOLDERS.items():
        if (folder / name).is_dir():
            return _judge_unpacked(folder / name, files)
    for name, size in CIFAR10_ARCHIVES.items():
        if (folder / name).is_file():
            return _judge_archive(folder / name, size)
    return None


def _judge_unpacked(folder: Path, files: Sequence[str]) -> Finding:
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        remedy = f"unpack {CIFAR10_URL} there again"
        return Finding("CIFAR-10", "warn", f"{folder} lacks {', '.join(absent)}", remedy)
    return Finding("CIFAR-10", "ok", f"unpacked in {folder}{NOT_READ_YET}")


def _judge_archive(archive: Path, size: int) -> Finding:
    actual = archive.stat().st_size
    if actual != size:
        detail = f"{archive} has {actual} bytes instead of {size}"
        return Finding("CIFAR-10", "warn", detail, f"delete it and fetch {CIFAR10_URL} again")
    return Finding("CIFAR-10", "ok", f"archive {archive}{NOT_READ_YET}")
