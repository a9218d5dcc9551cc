"""Data sets as arrays with a fixed split; finding, fetching and reading them safely.

Torch is loaded with the first data set, not before: finding, fetching and checking files does without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qsgd_lab.data.dataset import Dataset, Part


def _digits() -> Dataset:
    from qsgd_lab.data.digits import load_digits

    return load_digits()


def _cifar10() -> Dataset:
    from qsgd_lab.data.cifar10.load import load_cifar10

    return load_cifar10()


#: Name -> loader.
DATASETS: dict[str, Callable[[], Dataset]] = {"digits": _digits, "cifar10": _cifar10}


@lru_cache(maxsize=2)
def load_dataset(name: str) -> Dataset:
    """Return a data set by name, loaded once a process."""
    return DATASETS[name]()


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "Part"):
        return getattr(import_module("qsgd_lab.data.dataset"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["DATASETS", "Dataset", "Part", "load_dataset"]
