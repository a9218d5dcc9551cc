"""A data set from a user's .npz file: what is read, how it is split, what is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.data import registry
from qsgd_lab.data.array_file import _read, dataset_name, register_array_file
from qsgd_lab.errors import IntegrityError, LabError, UsageError


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    """Forget data sets: those of one name differ between tests."""
    yield
    registry.load_dataset.cache_clear()
    _read.cache_clear()


def saved(folder, **arrays):
    """Return the path of an .npz file."""
    path = folder / "my flowers.npz"
    np.savez(path, **arrays)
    return path


def vectors(count=200, dim=5, seed=0):
    """Return inputs and labels 0, 1, 2 of vectors."""
    rng = np.random.default_rng(seed)
    return rng.normal(3, 2, (count, dim)), rng.integers(0, 3, count)


def test_vectors_are_centred_by_feature_and_split_by_class(tmp_path):
    """70, 10 and 20 % of each class; float32; mean 0 and deviation 1 in the training part."""
    x, y = vectors(1000)
    entry = register_array_file(saved(tmp_path, x=x, y=y))
    assert (entry.name, entry.shape, entry.num_classes, entry.sizes) == (
        "my-flowers",
        (5,),
        3,
        (720, 80, 200),
    )
    dataset = registry.load_dataset("my-flowers")
    train = dataset.train.images
    assert train.dtype == torch.float32
    assert torch.allclose(train.mean(0), torch.zeros(5), atol=1e-6)
    assert torch.allclose(train.std(0, correction=0), torch.ones(5), atol=1e-5)
    counts = np.bincount(y)
    assert np.all(np.abs(np.bincount(dataset.test.labels.numpy()) - counts / 5) <= 1)


IMAGES = {
    "grey": ((30, 8, 6), (1, 8, 6)),
    "channels last": ((30, 8, 6, 3), (3, 8, 6)),
    "channels first": ((30, 3, 8, 6), (3, 8, 6)),
    "one channel last": ((30, 8, 6, 1), (1, 8, 6)),
}


@pytest.mark.parametrize("form", IMAGES)
def test_images_of_bytes_stay_bytes(tmp_path, form):
    """Channels come first, wherever the file has them; pixels are the file's."""
    shape, expected = IMAGES[form]
    x = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    y = np.arange(30) % 2
    register_array_file(saved(tmp_path, x_train=x, y_train=y, x_test=x, y_test=y))
    dataset = registry.load_dataset("my-flowers")
    assert dataset.inputs.shape == expected
    assert dataset.test.images.dtype == torch.uint8
    moved = x if form == "channels first" else x[:, None] if x.ndim == 3 else np.moveaxis(x, 3, 1)
    assert np.array_equal(dataset.test.images.numpy(), moved)
    centred, _ = dataset.train.batch(slice(None))
    assert torch.allclose(centred.mean((0, 2, 3)), torch.zeros(expected[0]), atol=1e-5)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("Train_X", "train_y", "test-x", "test_targets"),
    ],
)
def test_the_usual_names_mean_the_same(tmp_path, names):
    """Those of Keras and MedMNIST files; labels may have the shape (m, 1), and any integers as classes."""
    x, y = vectors()
    y = 7 * y[:, None] - 3
    arrays = dict(zip(names, (x, y, x[:50], y[:50]), strict=True))
    entry = register_array_file(saved(tmp_path, **arrays))
    assert entry.sizes == (180, 20, 50)
    assert registry.load_dataset(entry.name).test.labels.tolist() == ((y[:50, 0] + 3) // 7).tolist()


def bad(name):
    """Return arrays that are no data set, and a word of the message."""
    x, y = vectors()
    return {
        "no labels": ({"x": x}, "y_train"),
        "an unknown array": ({"x": x, "y": y, "weights": y}, "weights"),
        "two names for one": ({"x": x, "images": x, "y": y}, "images"),
        "train alone": ({"x_train": x, "y_train": y}, "x_test"),
        "fewer labels": ({"x": x, "y": y[:-1]}, "200 integers"),
        "float labels": ({"x": x, "y": y / 2}, "float64"),
        "one class": ({"x": x, "y": 0 * y}, "1 classes"),
        "nan": ({"x": np.where(x > 6, np.nan, x), "y": y}, "not finite"),
        "one number each": ({"x": x[:, 0], "y": y}, "shape"),
        "text": ({"x": np.full((200, 5), "a"), "y": y}, "numbers"),
        "a pickle": ({"x": np.array([{}] * 200, object), "y": y}, "numbers"),
        "unlike parts": ({"x_train": x, "y_train": y, "x_test": x[:, 1:], "y_test": y}, "one shape"),
        "nothing": ({"x": x[:0], "y": y[:0]}, "classes"),
        "too few": ({"x": x[:4], "y": y[:4] * 0 + [0, 1, 0, 1]}, "part needs"),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "no labels",
        "an unknown array",
        "two names for one",
        "train alone",
        "fewer labels",
        "float labels",
        "one class",
        "nan",
        "one number each",
        "text",
        "a pickle",
        "unlike parts",
        "nothing",
        "too few",
    ],
)
def test_what_is_no_data_set_is_one_line(tmp_path, name):
    """It names the file and what is wrong, and says what would be right; nothing is unpickled."""
    arrays, word = bad(name)
    path = tmp_path / "flowers.npz"
    np.savez(path, **arrays)
    with pytest.raises(UsageError) as caught:
        register_array_file(path)
    text = str(caught.value)
    assert str(path) in text
    assert word in text
    assert "\n" not in text


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_damaged_file_is_an_error_of_the_lab(tmp_path_factory, at, value):
    """Whatever byte is changed: the arrays as they were, or one line; never another exception."""
    buffer = io.BytesIO()
    x, y = vectors(12, 2)
    np.savez(buffer, x=x, y=y)
    content = bytearray(buffer.getvalue())
    content[at % len(content)] = value
    path = tmp_path_factory.mktemp("npz") / "flowers.npz"
    path.write_bytes(content)
    _read.cache_clear()
    with suppress(LabError):  # anything else fails the test
        _read(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """A member that claims more than its file can hold."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"")
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="claim"):
        register_array_file(path)


@pytest.mark.parametrize(
    ("stem", "name"), [("Iris", "iris"), ("2024_data", "data-2024-data"), ("my flowers (1)", "my-flowers-1")]
)
def test_the_name_is_the_files(tmp_path, stem, name):
    """In lower case, words joined by -, beginning with a letter."""
    assert dataset_name(tmp_path / f"{stem}.npz") == name
