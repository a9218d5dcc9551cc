"""``qsgd-lab submit``: a sweep over the tasks of a cluster."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"ignore_unknown_options": False})
@click.option(
    "--array",
    "tasks",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Tasks of the array.",
)
@click.option(
    "--executor",
    type=click.Choice(["auto", "slurm", "local"]),
    default="auto",
    show_default=True,
    help="SLURM, or processes of this machine; auto is SLURM where it is there.",
)
@click.option("--slurm-partition", metavar="NAME", help="SLURM's partition.")
@click.option(
    "--minutes", type=click.IntRange(min=1), default=240, show_default=True, help="Time limit of a task."
)
@click.option(
    "--processors", type=click.IntRange(min=1), default=4, show_default=True, help="Cores of a task."
)
@click.option("--devices", type=click.IntRange(min=0), default=0, show_default=True, help="GPUs of a task.")
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("submitted"),
    show_default=True,
    help="The folder of the tasks' logs.",
)
@click.option("--wait", is_flag=True, help="Wait for the tasks, then print the table.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def submit(
    ctx: click.Context,
    tasks: int,
    executor: str,
    slurm_partition: str | None,
    minutes: int,
    processors: int,
    devices: int,
    logs: Path,
    wait: bool,
    arguments: tuple[str, ...],
) -> None:
    """Run a sweep as an array of tasks, by submitit (the extra "cluster").

    After -- comes the command, reproduce and its options. Task i of k runs the cells i, i + k, ... of the
    plan into the same folder of runs, which all machines must see. Tasks take no cell of each other, so that
    the folder's file system needs no locks. The same command again goes on where tasks were stopped.

    \b
    Example:
      qsgd-lab submit --array 32 --slurm-partition gpu --devices 1 \\
        -- reproduce --preset quick --nodes 1,2,4,8
      qsgd-lab submit --executor local --array 2 --wait -- reproduce --nodes 1,2
    """
    from qsgd_lab.cli.sweep.reproduce import reproduce
    from qsgd_lab.runs import cluster

    if not arguments or arguments[0] != "reproduce":
        raise click.UsageError("after -- write reproduce and its options; no other command is submitted")
    given = list(arguments[1:])
    parsed = reproduce.make_context("reproduce", list(given), parent=ctx).params  # refuses what is wrong now
    if parsed["share"] is not None or parsed["dry_run"] or parsed["engine"] == "distributed":
        raise click.UsageError(
            "leave out --share, --dry-run and --engine distributed: tasks have shares already"
        )
    request = cluster.Request(tasks, executor, minutes, processors, devices, slurm_partition, logs)
    jobs = cluster.submit(given, request)
    for index, job in enumerate(jobs):
        click.echo(f"Task {index} of {tasks}: job {job.job_id}, log {job.paths.stdout}", err=True)
    if not wait:
        click.echo("When they have ended: qsgd-lab table, or the same command with --wait.", err=True)
        return
    failed = [index for index, job in enumerate(jobs) if job.exception() is not None]
    for index in failed:
        click.echo(f"Error: task {index} failed; see {jobs[index].paths.stderr}", err=True)
    if failed:
        ctx.exit(1)
    ctx.invoke(reproduce, **parsed)
