"""``qsgd-lab data``: the files of data sets fetched, verified, found."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.lazy import Entry, LazyGroup
from qsgd_lab.cli.options.training import import_option
from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.data.registry import DATASETS, DEFAULT_DATASET, Source, dataset_entry

_HERE = "qsgd_lab.cli.data"
SUBCOMMANDS = {
    "fetch": Entry(_HERE, "fetch", "Download a data set, or go on with a download."),
    "verify": Entry(_HERE, "verify", "Read a data set whole and check every byte."),
    "where": Entry(_HERE, "where", "Print where a data set is."),
}


def dataset_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the name of a data set, ``--import`` and ``--data-dir``."""
    command = click.argument("dataset", default=DEFAULT_DATASET, metavar="[DATASET]")(import_option(command))
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder of the data sets; QSGD_LAB_DATA, where it is set, overrides it.",
    )(command)


@click.group(cls=LazyGroup, table=SUBCOMMANDS, invoke_without_command=True)
@click.pass_context
def data(ctx: click.Context) -> None:
    """Fetch, verify or find the files of a data set: CIFAR-10, or the one that is named.

    They are looked for in QSGD_LAB_DATA, --data-dir, the user's cache folder, ./data and
    $TORCH_HOME/datasets; CIFAR-10 as the archive cifar-10-binary.tar.gz or cifar-10-python.tar.gz or
    unpacked from one of them. --import brings data sets of your own. The handwritten digits of the demo
    come with scikit-learn and need none of this.

    \b
    Example:
      qsgd-lab data fetch
      qsgd-lab data verify --data-dir /scratch/data
      ls -l "$(qsgd-lab data where)"
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


@click.command()
@dataset_options
@click.option("--offline", is_flag=True, help="Open no connection, as if QSGD_LAB_OFFLINE=1.")
def fetch(dataset: str, data_dir: Path | None, offline: bool, imports: Sequence[str]) -> None:
    """Download a data set, or go on with a download, and print where it is.

    CIFAR-10 (170 MB) if none is named. A copy that is there already is verified instead.
    QSGD_LAB_CIFAR_URL names a mirror to try before
    the University of Toronto, which may need an hour. Proxies are taken from the environment. The exit
    code is 3 if the data cannot be had, 4 if what came is something else.

    \b
    Example:
      qsgd-lab data fetch
      QSGD_LAB_CIFAR_URL=https://mirror.example.org/cifar/ qsgd-lab data fetch
    """
    from qsgd_lab.cli.download_display import display
    from qsgd_lab.errors import IntegrityError

    source, folders = _source(dataset, imports), _folders(data_dir)
    try:
        path = _sound_copy(source, folders)
    except IntegrityError as error:
        say_line(f"Not used: {error}")
        path = None
    if path is None:
        with display() as show:
            path = source.fetch(folders[0], progress=show.progress, notice=show.notice, offline=offline)
    click.echo(path)


@click.command()
@dataset_options
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print what was found.",
)
def verify(dataset: str, data_dir: Path | None, output_format: str, imports: Sequence[str]) -> None:
    """Read a data set whole, check every byte, and print what it is: CIFAR-10 if none is named.

    Of CIFAR-10, sizes and checksums of the archive and of its files, labels and their balance are
    checked. The digests of the decoded images and of the split into training and validation are printed,
    and the mean and deviation of the training part's channels. The exit code is 3 if there is no copy, 4
    if it is damaged.

    \b
    Example:
      qsgd-lab data verify
      qsgd-lab data verify --format json
    """
    source = _source(dataset, imports)
    facts = source.describe(source.find(_folders(data_dir)))
    if output_format == "json":
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))


@click.command()
@dataset_options
def where(dataset: str, data_dir: Path | None, imports: Sequence[str]) -> None:
    """Print where a data set is, CIFAR-10 if none is named; the exit code is 3 if it is nowhere.

    The copy is found by its name and not looked into.

    \b
    Example:
      qsgd-lab data where
    """
    click.echo(_source(dataset, imports).find(_folders(data_dir)).path)


def _source(dataset: str, imports: Sequence[str]) -> Source:
    """Return where a data set's files come from; a usage error if there is none, or it has no files."""
    from qsgd_lab import plugins

    with argument_errors():
        plugins.load(imports)
        source = dataset_entry(dataset).source
        if source is None:
            with_files = ", ".join(name for name, entry in DATASETS.items() if entry.source)
            raise ValueError(f"the data set {dataset!r} needs no files; those that do: {with_files}")
    return source


def _folders(data_dir: Path | None) -> list[Path]:
    """Return the folders to search, and warn if the named one is not the first."""
    from qsgd_lab.data.cifar10.find import DATA_VARIABLE, search_folders

    folders = search_folders(data_dir)
    if data_dir and folders[0] != data_dir.expanduser():
        say_line(f"Warning: {DATA_VARIABLE}={folders[0]} overrides --data-dir {data_dir}")
    return folders


def _sound_copy(source: Source, folders: list[Path]) -> Path | None:
    """Return the path of the first copy after reading it whole, None if there is none."""
    from qsgd_lab.errors import DataMissingError

    try:
        copy = source.find(folders)
    except DataMissingError:
        return None
    source.verify(copy)
    return copy.path
