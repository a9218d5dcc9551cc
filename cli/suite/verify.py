"""``qsgd-lab suite verify``: whether what a submission's nodes send explains what they do."""

from __future__ import annotations

from collections.abc import Sequence

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options.completion import one_of
from qsgd_lab.cli.options.training import import_option
from qsgd_lab.cli.suite.options import submission_named, task_option


@click.command()
@click.argument(
    "submission",
    metavar="FILE.toml|BASELINE",
    shell_complete=one_of(lambda _: ["fp32", "minibatch", "local-sgd", "ef-top-k", "eden"]),
)
@task_option
@import_option
@click.pass_context
def verify(ctx: click.Context, submission: str, tasks: Sequence[str], imports: Sequence[str]) -> None:
    """Audit the messages of a submission.

    Every method of the submission runs 24 steps of each convex task twice: as in the benchmark, and by nodes
    that are processes of their own, with every message packed and unpacked. Both must end with the same bits,
    and sizes must be those of the bytes. A line says which check failed; the exit code is then 4. `suite run`
    repeats all runs that count in this way.

    \b
    Example:
      qsgd-lab suite verify my.toml
      qsgd-lab suite verify ef-top-k --task curved
    """
    from qsgd_lab.suite.definition import load_suite
    from qsgd_lab.suite.node_processes import NodeProcesses
    from qsgd_lab.suite.verify import audit_submission

    suite = load_suite()
    with argument_errors():
        found = submission_named(submission, imports)
        chosen = [suite.task(key) for key in tasks] or suite.scored
    failed = False
    with NodeProcesses(suite.nodes) as processes:
        for spec, findings in audit_submission(found, suite, chosen, processes):
            for finding in findings:
                click.echo(str(finding))
            if not findings:
                click.echo(f"{spec}: messages and sizes explain what nodes do")
            failed |= bool(findings)
    if failed:
        ctx.exit(4)
