"""The embedded data: real images, a fixed split, nothing shared between its parts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.data import DATASETS, load_dataset
from qsgd_lab.data.split import stratified_split


def test_digits_have_the_documented_sizes() -> None:
    """1257 training, 180 validation and 360 test images of 3x32x32."""
    digits = load_dataset("digits")
    assert [len(p) for p in (digits.train, digits.validation, digits.test)] == [1257, 180, 360]
    assert digits.train.images.shape[1:] == (3, 32, 32)
    assert digits.train.images.dtype == torch.float32


def test_digits_never_change() -> None:
    """The digest of all arrays is pinned: a changed split or scaling would change every result."""
    assert load_dataset("digits").sha256 == DATASETS["digits"].load().sha256
    assert load_dataset("digits").sha256.startswith("60c2da898e24e98c")


def test_digits_are_scaled() -> None:
    """Pixels are centred on all images, the three channels are equal."""
    images = load_dataset("digits").train.images
    assert abs(float(images.mean())) < 0.02
    assert torch.equal(images[:, 0], images[:, 2])


@given(st.lists(st.integers(0, 4), min_size=30, max_size=200), st.integers(1, 10), st.integers(1, 10))
def test_split_is_a_stratified_partition(labels: list[int], first: int, second: int) -> None:
    """Parts are disjoint, cover everything, have the sizes asked for and each class's share to within two."""
    array = np.array(labels, np.int64)
    parts = stratified_split(array, (first, second))
    assert [len(p) for p in parts] == [first, second, len(labels) - first - second]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for label in range(5):
        share = (array == label).mean()
        assert abs((array[parts[0]] == label).sum() - share * first) < 2


def test_every_class_is_in_every_part() -> None:
    """All ten digits appear in training, validation and test in equal shares."""
    digits = load_dataset("digits")
    for part in (digits.train, digits.validation, digits.test):
        counts = torch.bincount(part.labels, minlength=10) / len(part)
        assert counts.tolist() == pytest.approx([0.1] * 10, abs=0.02)
