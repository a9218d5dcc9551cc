"""`load_runs`: stored runs as columns, for pandas, polars or plain Python."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from qsgd_lab.errors import DataMissingError


def load_runs(path: str | Path = "runs", *, epochs: bool = False) -> dict[str, list[Any]]:
    """Return stored runs as tidy columns, a row a run or a row an epoch.

    Parameters
    ----------
    path : path-like
        A folder of runs, a packed file of them, or a folder that holds both.
    epochs : bool
        Whether a row is an epoch rather than a run.

    Returns
    -------
    dict of str to list
        Columns by name, which both ``pandas.DataFrame`` and ``polars.DataFrame`` take as it is. Values are
        str, int, float or bool by column, or None; accuracies are shares in [0, 1], times are in seconds, and
        the names have the units. ``qsgd-lab runs export --columns`` says what each column is. Runs made with
        other versions of the lab are among them, marked in ``is_stale``.

    Raises
    ------
    DataMissingError
        If there are no runs.
    IntegrityError
        If there are some, but all are damaged. Where only some are, they are left out with one warning.

    Examples
    --------
    >>> import tempfile
    >>> from qsgd_lab.errors import DataMissingError
    >>> try:
    ...     columns = load_runs(tempfile.mkdtemp())  # pandas.DataFrame(load_runs("paper/runs.jsonl"))
    ... except DataMissingError as error:
    ...     print("no runs there")
    no runs there
    """
    # Loaded here, not above: `import qsgd_lab` is to be quick.
    from qsgd_lab.report.tidy import epoch_columns, run_columns
    from qsgd_lab.runs.store import RunStore

    store = RunStore(path)
    contents = store.read()
    contents.require_sound(store.path)
    if not contents.records:
        raise DataMissingError(f"no runs in {path}; name a folder of runs or a packed file")
    if contents.warning:
        warnings.warn(contents.warning, stacklevel=2)
    if not epochs:
        return run_columns(contents.records)
    found, damaged = store.all_epochs(contents.records)
    if damaged:
        warnings.warn(f"skipped the epochs of {len(damaged)} runs; the first: {damaged[0]}", stacklevel=2)
    return epoch_columns(contents.records, found)
