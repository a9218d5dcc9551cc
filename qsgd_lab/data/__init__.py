"""Data sets as arrays with a fixed split."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from qsgd_lab.data.dataset import Dataset, Part
from qsgd_lab.data.digits import load_digits

#: Name -> loader.
DATASETS: dict[str, Callable[[], Dataset]] = {"digits": load_digits}


@lru_cache(maxsize=2)
def load_dataset(name: str) -> Dataset:
    """Return a data set by name, loaded once a process."""
    return DATASETS[name]()


__all__ = ["DATASETS", "Dataset", "Part", "load_dataset"]
