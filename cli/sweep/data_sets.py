"""The data sets of a sweep: announced, there before it starts, and found by its workers."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from qsgd_lab.cli.standard_error import say, say_line
from qsgd_lab.data.registry import DEFAULT_DATASET, Copy, Source, dataset_entry, dataset_origins
from qsgd_lab.errors import DataMissingError


@contextmanager
def data_folder(data_dir: Path | None) -> Iterator[list[Path]]:
    """Yield the folders to search, and let worker processes search the same while inside.

    Workers load the data themselves: what they inherit of the command line is the environment.
    """
    from qsgd_lab.data.cifar10.find import DATA_VARIABLE, search_folders

    folders = search_folders(data_dir)
    if data_dir is None or os.environ.get(DATA_VARIABLE):
        if data_dir is not None and folders[0] != data_dir.expanduser():
            say_line(f"Warning: {DATA_VARIABLE}={folders[0]} overrides --data-dir {data_dir}")
        yield folders
        return
    os.environ[DATA_VARIABLE] = str(data_dir)
    try:
        yield folders
    finally:
        del os.environ[DATA_VARIABLE]


def describe_data(datasets: Collection[str], folders: list[Path]) -> None:
    """Say on stderr what a sweep would train on, and whether it is there."""
    for name in datasets:
        entry = dataset_entry(name)
        notice = entry.notice or f"Data: {entry.title}" + (", {files}." if entry.source else ".")
        copy = _found(entry.source, folders) if entry.source else None
        files = f"{copy.form} {copy.path}" if copy else f"not here; fetch it with: {_fetching(name)}"
        say(notice.replace("{files}", files))


def _found(source: Source, folders: list[Path]) -> Copy | None:
    try:
        return source.find(folders)
    except DataMissingError:
        return None


def _fetching(name: str) -> str:
    """Return the words that fetch a data set; one from outside needs its plug-in named again."""
    if dataset_origins(name):
        return "reproduce --download"
    return "qsgd-lab data fetch" + ("" if name == DEFAULT_DATASET else f" {name}")


def require_data(datasets: Collection[str], folders: list[Path], *, download: bool, offline: bool) -> None:
    """See to it that the data of a sweep are there and sound, before a run starts.

    Raises
    ------
    DataMissingError
        If files are wanted and not there, and may not, or cannot, be downloaded.
    IntegrityError
        If what is there is another file, or damaged.
    """
    sources = [source for name in datasets if (source := dataset_entry(name).source) is not None]
    for source in sources:
        if download and _found(source, folders) is None:
            from qsgd_lab.cli.download_display import display

            with display() as show:
                source.fetch(folders[0], progress=show.progress, notice=show.notice, offline=offline)
        try:
            copy = source.find(folders)
        except DataMissingError as error:
            raise DataMissingError(
                f"{error}; --download fetches it first, --preset demo needs none"
            ) from None
        source.verify(copy)
