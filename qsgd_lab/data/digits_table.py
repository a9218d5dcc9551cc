"""The table of handwritten digits in scikit-learn's files, read without importing scikit-learn.

The import takes more than a second, of each worker process; the table takes a twentieth of one.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the pixels and the classes that ``sklearn.datasets.load_digits`` returns.

    Returns
    -------
    pixels : float64[1797, 8, 8]
        Grey values from 0 to 16.
    classes : int64[1797]

    Raises
    ------
    ModuleNotFoundError
        Without scikit-learn.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("no scikit-learn, which has the digits: python -m pip install scikit-learn")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():  # a release that keeps it elsewhere
        from sklearn.datasets import load_digits

        pixels, classes = load_digits(return_X_y=True)
        return pixels.reshape(-1, 8, 8), classes.astype(np.int64)
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
