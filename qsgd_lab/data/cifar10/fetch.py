"""CIFAR-10 from where it is published to where the lab looks for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from qsgd_lab.data.cifar10.release import OFFICIAL, Release
from qsgd_lab.data.download.download import Download, Notice, Progress
from qsgd_lab.errors import DataMissingError

#: Folders that hold the archive. The second redirects to the first, and may outlive it.
ADDRESSES = ("https://cave.cs.toronto.edu/kriz/", "https://www.cs.toronto.edu/~kriz/")
#: The address of the archive, or of a folder if it ends in ``/``, at a mirror that is tried before these.
MIRROR_VARIABLE = "QSGD_LAB_CIFAR_URL"
#: Set to anything but 0, no, off or false: no connection is ever opened.
OFFLINE_VARIABLE = "QSGD_LAB_OFFLINE"


def is_offline() -> bool:
    """Return whether the environment forbids connections."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "no", "off", "false")


def archive_urls(archive: str) -> list[str]:
    """Return the addresses of an archive, the user's mirror first."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    folders = ((mirror,) if mirror else ()) + ADDRESSES
    return [url + archive if url.endswith("/") else url for url in folders]


def fetch_cifar10(
    folder: Path,
    release: Release = OFFICIAL,
    *,
    progress: Progress,
    notice: Notice,
    offline: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Download the binary archive into a folder, replacing one that may be there.

    Parameters
    ----------
    folder : Path
        Made if need be.
    release : Release
    progress, notice, wait : callable
        As `Download` takes them.
    offline : bool
        Open no connection, as under ``QSGD_LAB_OFFLINE``.

    Returns
    -------
    Path
        The archive, whole and with the right checksums.

    Raises
    ------
    DataMissingError
        If it cannot be downloaded or written; offline, always.
    IntegrityError
        If something else is published under its name.
    """
    edition = release.binary
    target = folder / edition.archive
    if offline or is_offline():
        raise DataMissingError(
            f"offline, and {target} ({edition.fingerprint}) is wanted; put it there, or fetch it without "
            f"--offline and {OFFLINE_VARIABLE}"
        )
    urls = archive_urls(edition.archive)
    Download(urls, target, edition.fingerprint, progress=progress, notice=notice, wait=wait).run()
    return target
