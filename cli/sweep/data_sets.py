"""The data sets of a sweep: announced, there before it starts, and found by its workers."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from qsgd_lab.data.cifar10.release import OFFICIAL
from qsgd_lab.errors import DataMissingError

DIGITS = (
    "Data: scikit-learn's handwritten digits, embedded (1797 images enlarged to 32x32), not CIFAR-10; "
    "for that: qsgd-lab data fetch, then --preset quick."
)


@contextmanager
def data_folder(data_dir: Path | None) -> Iterator[list[Path]]:
    """Yield the folders to search, and let worker processes search the same while inside.

    Workers load the data themselves: what they inherit of the command line is the environment.
    """
    from qsgd_lab.data.cifar10.find import DATA_VARIABLE, search_folders

    folders = search_folders(data_dir)
    if data_dir is None or os.environ.get(DATA_VARIABLE):
        if data_dir is not None and folders[0] != data_dir.expanduser():
            click.echo(f"Warning: {DATA_VARIABLE}={folders[0]} goes before --data-dir {data_dir}", err=True)
        yield folders
        return
    os.environ[DATA_VARIABLE] = str(data_dir)
    try:
        yield folders
    finally:
        del os.environ[DATA_VARIABLE]


def describe_data(datasets: Collection[str], folders: list[Path]) -> None:
    """Say on stderr what a sweep would train on, and whether it is there."""
    if "digits" in datasets:
        click.echo(DIGITS, err=True)
    if "cifar10" in datasets:
        from qsgd_lab.data.cifar10.find import find_cifar10

        source = find_cifar10(folders, OFFICIAL)
        found = f"{source.form} {source.path}" if source else "not here; fetch it with: qsgd-lab data fetch"
        click.echo(f"Data: CIFAR-10, {found}.", err=True)


def require_data(datasets: Collection[str], folders: list[Path], *, download: bool, offline: bool) -> None:
    """See to it that the data of a sweep are there and sound, before a run starts.

    Raises
    ------
    DataMissingError
        If CIFAR-10 is wanted and not there, and may not, or cannot, be downloaded.
    IntegrityError
        If what is there is not CIFAR-10, or damaged.
    """
    if "cifar10" not in datasets:
        return
    from qsgd_lab.cli.download_display import display
    from qsgd_lab.data.cifar10.fetch import fetch_cifar10
    from qsgd_lab.data.cifar10.find import find_cifar10, require_cifar10
    from qsgd_lab.data.cifar10.read import read_cifar10

    if download and find_cifar10(folders, OFFICIAL) is None:
        with display() as show:
            fetch_cifar10(folders[0], OFFICIAL, progress=show.progress, notice=show.notice, offline=offline)
    try:
        source = require_cifar10(folders, OFFICIAL)
    except DataMissingError as error:
        raise DataMissingError(f"{error}; --download fetches it first, --preset demo needs none") from None
    read_cifar10(source)
