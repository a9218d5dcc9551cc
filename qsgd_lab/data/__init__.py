"""Data sets as arrays with a fixed split; finding, fetching and reading them safely.

Torch is loaded with the first data set, not before: finding, fetching and checking files does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qsgd_lab.data.registry import DATASETS, DatasetEntry, Source, load_dataset, register_dataset

if TYPE_CHECKING:
    from qsgd_lab.data.dataset import Dataset, Part


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "Part"):
        return getattr(import_module("qsgd_lab.data.dataset"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetEntry",
    "Part",
    "Source",
    "load_dataset",
    "register_dataset",
]
