"""The folders that are searched for data sets, and the forms of CIFAR-10 that are found there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qsgd_lab.data.cifar10.release import OFFICIAL, Edition, Release
from qsgd_lab.errors import DataMissingError

#: Names the folder of the data sets; overrides everything else.
DATA_VARIABLE = "QSGD_LAB_DATA"


@dataclass(frozen=True)
class Source:
    """One copy of CIFAR-10, found by its name and not looked into.

    Attributes
    ----------
    path : Path
        The archive, or the folder with the unpacked files.
    release : Release
        What the copy must be.
    edition : Edition
        Which of the release's editions it is.
    is_archive : bool
    """

    path: Path
    release: Release
    edition: Edition
    is_archive: bool

    @property
    def form(self) -> str:
        """The form in words, such as ``binary archive``."""
        return f"{self.edition.name} {'archive' if self.is_archive else 'folder'}"


def search_folders(data_dir: Path | None = None) -> list[Path]:
    """Return the folders where data sets are looked for, in order; the first is where they are fetched to.

    ``QSGD_LAB_DATA``; `data_dir`; the user's cache folder; ``data`` in the working folder; where torchvision
    users may keep them, ``$TORCH_HOME/datasets``.
    """
    from platformdirs import user_cache_path

    named = os.environ.get(DATA_VARIABLE)
    torch_home = os.environ.get("TORCH_HOME") or user_cache_path("torch")
    chosen = [Path(named)] if named else []
    given = [data_dir] if data_dir else []
    usual = [user_cache_path("qsgd-lab"), Path("data"), Path(torch_home) / "datasets"]
    return list(dict.fromkeys(path.expanduser() for path in (*chosen, *given, *usual)))


def find_cifar10(folders: Sequence[Path], release: Release = OFFICIAL) -> Source | None:
    """Return the first copy in the folders, None if there is none.

    In each folder archives are tried before unpacked files, and the binary edition before the Python one.
    """
    for folder in folders:
        for is_archive in (True, False):
            for edition in release.editions:
                path = folder / (edition.archive if is_archive else edition.folder)
                if path.is_file() if is_archive else path.is_dir():
                    return Source(path, release, edition, is_archive)
    return None


def require_cifar10(folders: Sequence[Path], release: Release = OFFICIAL) -> Source:
    """Return the first copy in the folders.

    Raises
    ------
    DataMissingError
        If there is none; it names the folders, the file that is wanted and the command that fetches it.
    """
    source = find_cifar10(folders, release)
    if source is None:
        binary = release.binary
        places = ", ".join(map(str, folders))
        raise DataMissingError(
            f"{release.title} is not in {places}; run '{release.fetch_command}', or put "
            f"{binary.archive} ({binary.fingerprint}) into {folders[0]}"
        )
    return source


def fault_of(source: Source) -> str | None:
    """Return what is wrong with a copy as far as names and sizes tell; None if nothing is."""
    if source.is_archive:
        actual, wanted = source.path.stat().st_size, source.edition.fingerprint.num_bytes
        return None if actual == wanted else f"has {actual} bytes instead of {wanted}"
    absent = [name for name in source.edition.members if not (source.path / name).is_file()]
    return f"lacks {', '.join(absent)}" if absent else None
