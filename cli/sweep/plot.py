"""``qsgd-lab plot``: figures of the stored runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from qsgd_lab.cli.options.completion import of_stored_runs
from qsgd_lab.cli.options.lists import NODES_LIST
from qsgd_lab.cli.options.quantities import SHORT_TIME
from qsgd_lab.cli.options.stored_runs import only, read_epochs, read_records, selection_options
from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.errors import DataMissingError, UsageError
from qsgd_lab.files import check_folder, check_place, save
from qsgd_lab.report.figures.registry import FIGURES, NEEDS
from qsgd_lab.report.figures.style import SUFFIXES
from qsgd_lab.report.tables.options import DEFAULT_LINK
from qsgd_lab.report.tables.units import format_seconds
from qsgd_lab.training.presets import margins

if TYPE_CHECKING:
    from qsgd_lab.report.analysis.grouping import Group
    from qsgd_lab.report.figures.data import FigureRuns
    from qsgd_lab.runs.epochs import EpochRecord
    from qsgd_lab.runs.record import RunRecord

#: The figures that need the runs epoch by epoch.
_BY_EPOCH = {"epochs", "megabytes"}


class Drawn(NamedTuple):
    """A figure ready to be written."""

    path: Path
    content: bytes


@click.command()
@click.argument("figures", nargs=-1, type=click.Choice(list(FIGURES)), metavar="[FIGURE]...")
@selection_options("Draw")
@click.option("--nodes", type=NODES_LIST, default=(), help="Draw only these numbers of nodes.")
@click.option(
    "--method",
    multiple=True,
    shell_complete=of_stored_runs("method"),
    help='Draw only this method, such as "2 bit, nearest"; may be given again.',
)
@click.option("--stale", is_flag=True, help="Draw runs of other versions too, in figures of their own.")
@click.option(
    "--code",
    type=click.Choice(["sent", "auto", "fixed", "gamma", "delta", "omega"]),
    default="sent",
    show_default=True,
    help="Whose bits count; sent: whole messages, or the shortest code where those were not measured.",
)
@click.option(
    "--latency",
    type=SHORT_TIME,
    default=DEFAULT_LINK.latency,
    help=f"Of a message in the modelled network.  [default: {format_seconds(DEFAULT_LINK.latency)}]",
)
@click.option(
    "--compute",
    type=SHORT_TIME,
    help="A node's forward and backward pass: 80ms; as measured by default.",
)
@click.option(
    "--quantize",
    type=SHORT_TIME,
    help="What a node spends on quantizing and coding a step: 2ms; as measured by default.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice([suffix.removeprefix(".") for suffix in SUFFIXES]),
    multiple=True,
    default=("pdf",),
    show_default=True,
    help="May be given again.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("figures"),
    show_default=True,
    help="The folder to write to, or, for a single figure, a file ending in .pdf, .png or .svg.",
)
def plot(
    figures: Sequence[str],
    runs: Path,
    preset: Sequence[str],
    dataset: Sequence[str],
    model: Sequence[str],
    nodes: Sequence[int],
    method: Sequence[str],
    stale: bool,
    code: str,
    latency: float,
    compute: float | None,
    quantize: float | None,
    formats: Sequence[str],
    output: Path,
) -> None:
    """Draw stored runs; print the files written.

    \b
    FIGURE, all of them by default, is named by its x axis:
      bits        test accuracy against measured bits a coordinate
      frontier    the best accuracy for the bits, of all norms and buckets
      epochs      validation accuracy by epoch, with bands over the seeds
      megabytes   validation accuracy against the megabytes that a node has sent
      bandwidth   modelled speed-up over fp32 against bandwidth

    Runs of different presets, data sets, models or settings come in figures of their own, named after
    them. The same runs give the same bytes. The speed-up is a model: a ring of nodes, an all-reduce of
    fp32 against an all-gather of codes, with the measured times of computing and quantizing.

    \b
    Example:
      qsgd-lab plot
      qsgd-lab plot bits epochs --preset demo --nodes 8 -o paper/figures
      qsgd-lab plot bandwidth --latency 50us --compute 80ms --quantize 2ms \\
        -o speed-up.svg
    """
    check_output(output)
    records = read_records(runs, stale=stale)
    for name, wanted in (("preset", preset), ("dataset", dataset), ("model", model), ("nodes", nodes)):
        records = only(records, name, wanted)
    chosen = [name for name in FIGURES if name in figures or not figures]
    named = _groups(
        records,
        read_epochs(runs, records) if _BY_EPOCH & set(chosen) else {},
        method,
        code=None if code == "sent" else code,
        latency=latency,
        compute=compute,
        quantize=quantize,
    )
    suffixes = [output.suffix] if output.suffix in SUFFIXES else [f".{name}" for name in formats]
    drawn = list(_draw(chosen, named, list(dict.fromkeys(suffixes)), output))
    if not drawn:
        wanted = "; or ".join(f"{name} takes {NEEDS[name]}" for name in chosen)
        raise DataMissingError(f"these runs have nothing to draw: {wanted}")
    write_all(drawn, output)


def check_output(output: Path) -> None:
    """Refuse, before the work is done, an output that can be neither the folder nor the file.

    Raises
    ------
    UsageError
        With what would be right.
    """
    if not output.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {output.parent} to write {output.name} in; make it first")
    if output.suffix in SUFFIXES:
        check_place(output)
    elif output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; name a folder, or a file ending in {', '.join(SUFFIXES)}")
    elif output.is_dir():
        check_folder(output)


def _groups(
    records: list[RunRecord],
    epochs: Mapping[str, Sequence[EpochRecord]],
    methods: Sequence[str],
    *,
    code: str | None,
    latency: float,
    compute: float | None,
    quantize: float | None,
) -> dict[str, FigureRuns]:
    """Return what to draw by the name of each group."""
    from qsgd_lab.report.analysis.grouping import group_records
    from qsgd_lab.report.figures.data import FigureRuns, families
    from qsgd_lab.report.figures.registry import group_names

    # Chosen after the tests over the seeds, whose outcome depends on what is tested.
    groups = [_with_methods(group, methods) for group in group_records(records, margins())]
    groups = [group for group in groups if group.methods]
    if not groups:
        there = "; ".join(sorted({record.config.method for record in records}))
        raise DataMissingError(f"no runs with --method {' or '.join(methods)}; there are: {there}")
    return {
        name: FigureRuns(
            group, epochs, code=code, latency=latency, compute=compute, quantize=quantize, family=family
        )
        for name, group, family in zip(group_names(groups), groups, families(groups), strict=True)
    }


def _with_methods(group: Group, labels: Sequence[str]) -> Group:
    """Return a group with only the methods of these labels, or with all if there are no labels."""
    chosen = [method for method in group.methods if not labels or method.label in labels]
    return dataclasses.replace(group, methods=tuple(chosen))


def _draw(
    chosen: Sequence[str], named: dict[str, FigureRuns], suffixes: Sequence[str], output: Path
) -> Iterator[Drawn]:
    """Draw everything before anything is written; say on stderr what the figures cannot."""
    from qsgd_lab.report.figures.data import remarks
    from qsgd_lab.report.figures.registry import draw
    from qsgd_lab.report.figures.style import figure_bytes, style

    for group, data in named.items():
        for remark in remarks(data, by_epoch=bool(_BY_EPOCH & set(chosen))):
            say_line(f"{group}: {remark}")
        for name in chosen:
            if name == "frontier" and not data.leads_family:
                continue  # drawn with the first of its family
            with style():
                figure = draw(name, data)
                if figure is None:
                    say_line(f"{group}: no figure {name}, which takes {NEEDS[name]}")
                    continue
                for suffix in suffixes:
                    path = output if output.suffix in SUFFIXES else output / f"{group}-{name}{suffix}"
                    yield Drawn(path, figure_bytes(figure, suffix))


def write_all(drawn: Sequence[Drawn], output: Path) -> None:
    """Write the files, each whole or not at all, and print their paths.

    Raises
    ------
    UsageError
        If there are several figures and `output` is one file.
    """
    if output.suffix in SUFFIXES and len(drawn) > 1:
        raise UsageError(f"{output} is one file and there are {len(drawn)} figures; name a folder")
    if output.suffix not in SUFFIXES:
        _make_folder(output)
    for path, content in drawn:
        save(path, content)
        click.echo(str(path))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {folder}: {error.strerror or error}; name another with -o"
        ) from error
