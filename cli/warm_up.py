"""``qsgd-lab warm-up``: compile all kernels now, so that nothing waits for them later."""

from __future__ import annotations

import click

from qsgd_lab.compilation import before_first_compilation


@click.command()
def warm_up() -> None:
    """Compile all kernels of the CPU now, rather than each at its first use.

    Numba keeps what it compiles beside the sources, or in NUMBA_CACHE_DIR: once for an installation, a minute
    or two. Where everything is compiled already, this takes seconds.

    \b
    Example:
      qsgd-lab warm-up
    """
    import time

    from qsgd_lab.compressors.warm_up import warm_up as steps

    before_first_compilation(lambda: None)  # it is what the user asked for
    start = time.monotonic()
    for step in steps():
        click.echo(f"{step} ...", err=True)
    click.echo(f"All kernels are compiled ({time.monotonic() - start:.0f} s).")
