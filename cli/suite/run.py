"""``qsgd-lab suite run``: the cells of a submission, its anchors and audits, and its result file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options.completion import one_of
from qsgd_lab.cli.options.stored_runs import runs_option
from qsgd_lab.cli.options.training import import_option
from qsgd_lab.cli.suite.options import RUNGS, submission_named, task_option

if TYPE_CHECKING:
    from qsgd_lab.suite.cells import CellResult
    from qsgd_lab.suite.result_file import Entry
    from qsgd_lab.suite.submission import Submission

#: Seconds of a processor that a cell takes, for the plan, where no baseline of its task is stored.
CELL_SECONDS = {"problem": 20.0, "network": 420.0}
#: What the audits of a task take, in cells. On problems they are 8 seeds of two anchors and 7 others, where a
#: cell has about 27; on networks 5 and 3, where a cell has 11.
AUDIT_CELLS = {"problem": 0.85, "network": 1.2}
#: Seconds of a processor that the audit of a method takes beforehand, and that of a test run afterwards.
METHOD_SECONDS, REPEATED_SECONDS = 6.0, 2.0
#: Runs that are repeated of a cell: the test seeds; and of a task: those of the digest's seeds and data.
CELL_RUNS, TASK_RUNS = 8, 5


@click.command()
@click.argument(
    "submissions",
    nargs=-1,
    required=True,
    metavar="FILE.toml|BASELINE...",
    shell_complete=one_of(lambda _: ["fp32", "minibatch", "local-sgd", "ef-top-k", "eden"]),
)
@click.option("--quick", is_flag=True, help="The rungs 8x and 32x alone.")
@click.option(
    "--rung",
    "rungs",
    multiple=True,
    type=click.Choice(RUNGS),
    help="Only this rung; may be given again.  [default: all]",
)
@task_option
@click.option("--dry-run", is_flag=True, help="Say which cells are missing and what they cost; run nothing.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Networks trained side by side.  [default: one a core]"
)
@click.option("--no-audit", is_flag=True, help="Leave out the audits; tables say so.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The result file; with several submissions, a line each.  [default: standard output]",
)
@import_option
@runs_option("folder")
def run(
    submissions: Sequence[str],
    quick: bool,
    rungs: Sequence[str],
    tasks: Sequence[str],
    dry_run: bool,
    jobs: int | None,
    no_audit: bool,
    output: Path | None,
    imports: Sequence[str],
    folder: Path,
) -> None:
    """Run submissions on the benchmark, and write their results.

    A submission is a TOML file (docs/benchmark.md) or the name of a baseline. Each cell is tuned on seeds of
    its own and then run on the test seeds. Finished runs are kept, and the same command goes on where it was
    stopped. Before the cells, messages are audited as by `suite verify`: a method that is not honest about
    its bits gets no result (exit code 4). Afterwards, baselines are run again as anchors, and the method on
    seeds and data that only the submission's digest names; and all its test runs are repeated by nodes that
    share nothing and send bytes. Tasks of networks are not scored, and run where --task names them.

    \b
    Example:
      qsgd-lab suite run my.toml --quick --dry-run
      qsgd-lab suite run my.toml --quick -o my.result.json
      qsgd-lab suite run minibatch local-sgd --task curved --rung 32x
      qsgd-lab suite run my.toml --task brackets --rung 32x -o nets.json
    """
    from qsgd_lab.files import write_atomically
    from qsgd_lab.suite.definition import load_suite
    from qsgd_lab.suite.result_file import to_json

    suite = load_suite()
    wanted = tuple(rungs) or (suite.quick_rungs if quick else suite.rungs)
    with argument_errors():
        chosen = [submission_named(text, imports) for text in submissions]
        keys = [suite.task(key).key for key in tasks] or [task.key for task in suite.scored]
    if dry_run:
        _plan(chosen, wanted, keys, not no_audit)
        return
    lines = "".join(
        to_json(_result(each, wanted, keys, folder, jobs, not no_audit), suite) for each in chosen
    )
    if output is None:
        click.echo(lines, nl=False)
    else:
        write_atomically(output, lines)
        rung = wanted[0] if len(wanted) == 1 else "32x"
        words = f"Wrote {output}; next: qsgd-lab suite table --rung {rung} --against {output}"
        if lacking := [task.key for task in suite.scored if task.key not in keys]:
            words = f"Wrote {output}; tables at this rung also need the task {' and '.join(lacking)}"
        click.echo(f"{words}.", err=True)


def _plan(
    submissions: Sequence[Submission], rungs: Sequence[str], keys: Sequence[str], audited: bool
) -> None:
    from qsgd_lab.suite.definition import WHOLE, load_suite
    from qsgd_lab.suite.submission import baselines

    suite = load_suite()
    cells, work = 0, 0.0
    for submission in submissions:
        for rung in (*rungs, WHOLE):
            for spec in submission.specs.get(rung, ()):
                cells += len(keys)
                work += sum(map(_cell_seconds, keys))
                click.echo(f"{submission.name}, {rung}: {spec} on {', '.join(keys)}")
        if audited and submission != baselines(suite).get(submission.name):
            specs = [submission.specs[rung] for rung in (*rungs, WHOLE) if rung in submission.specs]
            work += sum(AUDIT_CELLS[suite.task(key).kind] * _cell_seconds(key) for key in keys)
            work += METHOD_SECONDS * len({spec for each in specs for spec in each})
            problems = sum(suite.task(key).kind == "problem" for key in keys)
            work += REPEATED_SECONDS * problems * (CELL_RUNS * len(specs) + TASK_RUNS)
    click.echo(f"{cells} cells, about {work / 60:.1f} CPU minutes with audits, without what is stored.")


def _cell_seconds(key: str) -> float:
    """Return the mean time of the stored baselines' cells of a task."""
    from qsgd_lab.suite.definition import load_suite
    from qsgd_lab.suite.result_file import stored_entries

    suite = load_suite()
    entries = stored_entries(suite)
    known = [cell.cpu for entry in entries for (task, _), cell in entry.cells.items() if task == key]
    return sum(known) / len(known) if known else CELL_SECONDS[suite.task(key).kind]


def _result(
    submission: Submission,
    rungs: Sequence[str],
    keys: Sequence[str],
    folder: Path,
    jobs: int | None,
    audited: bool,
) -> Entry:
    from qsgd_lab.cli.sweep.compare_networks import train_missing
    from qsgd_lab.errors import IntegrityError
    from qsgd_lab.runs.environment import collect_environment
    from qsgd_lab.runs.store import RunStore
    from qsgd_lab.suite.anchors import audit
    from qsgd_lab.suite.cells import Runner, check_data
    from qsgd_lab.suite.definition import WHOLE, load_suite
    from qsgd_lab.suite.node_processes import NodeProcesses
    from qsgd_lab.suite.result_file import entry_of, stored_entries
    from qsgd_lab.suite.submission import baselines
    from qsgd_lab.suite.verify import audit_cells, audit_submission

    suite = load_suite()
    is_baseline = submission == baselines(suite).get(submission.name)
    tasks = [suite.task(key) for key in keys]
    if audited and not is_baseline:
        with argument_errors(), NodeProcesses(suite.nodes) as processes:
            for _, findings in audit_submission(submission, suite, tasks, processes):
                if findings:
                    raise IntegrityError(f"refused: {findings[0]}")
    store = RunStore(folder)
    at = ""
    runner = Runner(
        suite,
        store,
        lambda words: click.echo(f"{at}: {words}.", err=True),
        lambda configs: train_missing(configs, store, jobs, None),
    )
    found: list[CellResult] = []
    places = [(task, rung) for task in tasks for rung in (*rungs, WHOLE) if rung in submission.specs]
    for number, (task, rung) in enumerate(places, start=1):
        at = f"Cell {number} of {len(places)}, {task.key} at {rung}"
        check_data(suite, task)
        found.append(runner.cell(task, rung, submission.specs[rung]))
    at = "Audit"
    digest = "" if is_baseline else submission.digest(suite)
    if audited and not is_baseline:
        with NodeProcesses(suite.nodes) as processes:
            for cell, words, findings in audit_cells(found, runner, digest, processes):
                place = f"{cell.task} at {cell.rung}, {words}"
                if findings:
                    raise IntegrityError(f"refused: {place}: {findings[0]}")
                click.echo(f"{at}: {place}: equal by nodes that send bytes.", err=True)
    checked = None if is_baseline or not audited else audit(runner, digest, found, stored_entries(suite))
    return entry_of(
        submission,
        found,
        {name: str(value) for name, value in collect_environment().items()},
        status="baseline" if is_baseline else "self-reported",
        digest=digest,
        audit=checked,
    )
