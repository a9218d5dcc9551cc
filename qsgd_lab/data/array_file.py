"""A data set from one .npz file of the user's: inputs and labels, no code.

The arrays are ``x`` and ``y``, or with their part ``x_train``, ``y_train``, ``x_test``, ...; ``train_x``,
``train_images`` and ``train_labels`` mean the same, ``val`` and ``validation`` too. Only numbers are read,
never a pickle.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.foreign_arrays import read_arrays
from qsgd_lab.data.normalisation import channel_statistics
from qsgd_lab.data.registry import DatasetEntry, register_dataset
from qsgd_lab.data.split import stratified_split
from qsgd_lab.errors import UsageError

if TYPE_CHECKING:
    from qsgd_lab.data.dataset import Dataset

PARTS = ("train", "validation", "test")
#: Shares of what a file does not part itself.
TEST_SHARE, VALIDATION_SHARE = 5, 10
_WORDS = {"x": "x", "images": "x", "inputs": "x", "y": "y", "labels": "y", "targets": "y"}
_PART_WORDS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_FORM = "x and y, or x_train, y_train, x_test, y_test and, if wanted, x_val, y_val"


class _Arrays(NamedTuple):
    """Inputs and labels of the three parts; labels are 0 to num_classes - 1."""

    inputs: dict[str, NDArray[Any]]
    labels: dict[str, NDArray[np.int64]]
    num_classes: int


def dataset_name(path: Path) -> str:
    """Return the name that a file's data set is registered by: its stem, in lower case, words joined by -."""
    words = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    return words if words[:1].isalpha() else f"data-{words}".rstrip("-")


def register_array_file(path: Path) -> DatasetEntry:
    """Register a file as a data set, under `dataset_name`.

    Parameters
    ----------
    path : Path
        Inputs have the shape (m, d) for vectors, (m, height, width) for grey images, (m, height, width,
        channels) or (m, channels, height, width) for 1 or 3 channels. Images of uint8 stay bytes; all else
        becomes float32. Vectors are centred and scaled by feature, images by channel, with the mean and the
        deviation of the training part. Labels are integers of shape (m,) or (m, 1). What the file does not
        part is split the same way every time: a fifth for testing, a tenth of the rest for validation.

    Raises
    ------
    UsageError
        If the file does not hold such arrays.
    DataMissingError, IntegrityError
        If it is not there, or is damaged.
    """
    arrays = _read(path)
    x = arrays.inputs
    stores_bytes = x["train"].ndim == 4 and x["train"].dtype == np.uint8
    train, validation, test = (len(x[part]) for part in PARTS)
    return register_dataset(
        DatasetEntry(
            name=dataset_name(path),
            title=path.name,
            shape=x["train"].shape[1:],
            num_classes=arrays.num_classes,
            sizes=(train, validation, test),
            load=lambda: _load(path),
            stores_bytes=stores_bytes,
            notice=f"Data: {path.name}, {train} inputs for training, {validation} for validation, {test} for "
            f"testing, {arrays.num_classes} classes.",
        )
    )


def _load(path: Path) -> Dataset:
    import torch

    from qsgd_lab.data.dataset import Dataset, Part
    from qsgd_lab.data.normalisation import Normalisation

    arrays = _read(path)
    x = arrays.inputs
    normalisation = None
    if x["train"].dtype == np.uint8 and x["train"].ndim == 4:
        mean, std = channel_statistics(x["train"])
        normalisation = Normalisation(mean, tuple(value or 1.0 for value in std))
    else:
        x = _scaled(x)
    parts = (
        # Copies: torch wants arrays that can be written, and those of a file cannot.
        Part(
            torch.from_numpy(np.array(x[part], order="C")),
            torch.from_numpy(arrays.labels[part]),
            normalisation,
        )
        for part in PARTS
    )
    return Dataset(dataset_name(path), arrays.num_classes, *parts)


def _scaled(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Return inputs centred and scaled by the training part's statistics."""
    train = inputs["train"].astype(np.float64)
    axes = (0,) if train.ndim == 2 else (0, 2, 3)
    mean, std = train.mean(axes, keepdims=True), train.std(axes, keepdims=True)
    std[std == 0] = 1.0  # a feature that never changes
    return {part: ((x - mean) / std).astype(np.float32) for part, x in inputs.items()}


@lru_cache(maxsize=1)
def _read(path: Path) -> _Arrays:
    """Return what a file holds, checked and split."""
    try:
        return _arrays(read_arrays(path))
    except ValueError as error:
        raise UsageError(f"{path} {error}") from error


def _arrays(held: dict[str, NDArray[Any]]) -> _Arrays:
    found: dict[tuple[str, str], NDArray[Any]] = {}
    for name, array in held.items():
        meaning = _meaning(name)
        if meaning is None or meaning in found:
            raise ValueError(f"has an array {name!r}; the arrays are {_FORM}")
        found[meaning] = array
    whole = {part for _, part in found}
    if not ({""} == whole or {"train", "test"} <= whole <= set(PARTS)):
        raise ValueError(f"has the arrays {', '.join(held) or 'none'}; they must be {_FORM}")
    inputs, labels = {}, {}
    for part in sorted(whole):
        if ("x", part) not in found or ("y", part) not in found:
            raise ValueError(f"has the arrays {', '.join(held)}; they must be {_FORM}")
        inputs[part] = _inputs(found["x", part])
        labels[part] = _labels(found["y", part], len(inputs[part]))
    classes = np.unique(np.concatenate(list(labels.values())))
    if classes.size < 2:
        raise ValueError(f"has {classes.size} classes; at least 2 are needed")
    numbers = {part: np.searchsorted(classes, values) for part, values in labels.items()}
    inputs, numbers = _parted(inputs, numbers)
    shapes = {x.shape[1:] for x in inputs.values()}
    if len(shapes) > 1 or any(len(x) == 0 for x in inputs.values()):
        sizes = ", ".join(f"{part} {x.shape}" for part, x in inputs.items())
        raise ValueError(f"has inputs of the shapes {sizes}; each part needs inputs, all of one shape")
    return _Arrays(inputs, numbers, int(classes.size))


def _meaning(name: str) -> tuple[str, str] | None:
    """Return ("x" or "y", part or "") of an array's name, None if it has no meaning."""
    words = name.lower().replace("-", "_").split("_")
    what = [_WORDS[word] for word in words if word in _WORDS]
    part = [_PART_WORDS[word] for word in words if word in _PART_WORDS]
    if len(what) != 1 or len(part) > 1 or len(what) + len(part) != len(words):
        return None
    return what[0], "".join(part)


def _inputs(x: NDArray[Any]) -> NDArray[Any]:
    """Return inputs as (m, d) or (m, channels, height, width)."""
    if x.dtype.kind not in "buif":
        raise ValueError(f"has inputs of {x.dtype}; they must be integers or floats")
    if x.ndim not in (2, 3, 4) or 0 in x.shape[1:]:
        raise ValueError(
            f"has inputs of the shape {x.shape}; vectors are (m, d), images (m, height, width[, channels])"
        )
    if not np.isfinite(x).all():
        raise ValueError("has inputs that are not finite")
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        return np.moveaxis(x, 3, 1)
    return x


def _labels(y: NDArray[Any], count: int) -> NDArray[Any]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind not in "bui" or y.shape != (count,):
        raise ValueError(f"has labels of {y.dtype} with the shape {y.shape}; they must be {count} integers")
    return y


def _parted(
    inputs: dict[str, NDArray[Any]], labels: dict[str, NDArray[np.int64]]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.int64]]]:
    """Return the three parts, splitting those that are not there from what is."""
    if "" in inputs:
        x, y = inputs[""], labels[""]
        test, train = stratified_split(y, (len(y) // TEST_SHARE,))
        inputs, labels = {"train": x[train], "test": x[test]}, {"train": y[train], "test": y[test]}
    if "validation" not in inputs:
        x, y = inputs["train"], labels["train"]
        validation, train = stratified_split(y, (len(y) // VALIDATION_SHARE,))
        inputs = {**inputs, "train": x[train], "validation": x[validation]}
        labels = {**labels, "train": y[train], "validation": y[validation]}
    return inputs, labels
