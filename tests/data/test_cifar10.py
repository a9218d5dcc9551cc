"""CIFAR-10 as a data set: its split, its bytes made ready for a model, its places."""

from __future__ import annotations

from pathlib import Path

import cifar_fixture as fixture
import naive_images
import numpy as np
import pytest
import torch

from qsgd_lab.data import DATASETS, load_dataset
from qsgd_lab.data.augmentation import crop_and_flip, draw_placements
from qsgd_lab.data.cifar10 import read
from qsgd_lab.data.cifar10.find import find_cifar10, search_folders
from qsgd_lab.data.cifar10.load import load_cifar10
from qsgd_lab.data.cifar10.read import train_validation_split
from qsgd_lab.data.cifar10.release import OFFICIAL
from qsgd_lab.data.dataset import Dataset, Part
from qsgd_lab.data.normalisation import Normalisation, channel_statistics
from qsgd_lab.data.split import split_sha256
from qsgd_lab.errors import DataMissingError, IntegrityError

RELEASE = fixture.tiny_release()
NORMALISATION = Normalisation(OFFICIAL.mean, OFFICIAL.std)
#: Of the split for labels 0, 1, ..., 9, 0, 1, ...
SPLIT = "bb938c1f4aab5cf45f482c923121903f93e01408cba46027f6d9283bdea2dacc"


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the fixture's binary archive."""
    archive = fixture.archive_of(RELEASE.binary.folder, fixture.binary_files())
    (tmp_path / RELEASE.binary.archive).write_bytes(archive)
    return tmp_path


def test_parts_are_cut_from_the_files(folder):
    """A tenth of the training images is for validation, all are in one part; the test file is the test."""
    dataset = load_cifar10(folder, RELEASE)
    images, labels = fixture.images_and_labels()
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [90, 10, 20]
    for part in (dataset.train, dataset.validation, dataset.test):
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert len(set(torch.bincount(part.labels, minlength=10).tolist())) == 1
    np.testing.assert_array_equal(dataset.test.images, images[5])
    np.testing.assert_array_equal(dataset.test.labels, labels[5])

    rows = torch.cat([dataset.train.images, dataset.validation.images]).flatten(1).tolist()
    assert sorted(rows) == sorted(images[:5].reshape(100, -1).tolist())


def test_both_editions_are_the_same_data_set(folder, tmp_path):
    """The digest that a run records does not depend on the form in which the data were stored."""
    other = tmp_path / "other"
    fixture.write_folder(other / RELEASE.python.folder, fixture.python_files())
    assert load_cifar10(folder, RELEASE).sha256 == load_cifar10(other, RELEASE).sha256


def test_the_split_of_the_official_size_never_changes():
    """45 000 and 5 000, 4 500 and 500 a class; pinned by its digest for labels in turn."""
    labels = (np.arange(50_000) % 10).astype(np.uint8)
    train, validation = train_validation_split(labels)
    assert np.bincount(labels[train]).tolist() == [4500] * 10
    assert np.bincount(labels[validation]).tolist() == [500] * 10
    assert len(np.union1d(train, validation)) == 50_000
    assert split_sha256((train, validation)) == SPLIT


def test_another_permutation_is_an_error(monkeypatch):
    """If NumPy came to permute otherwise, loading would stop instead of training on another split."""
    monkeypatch.setattr(read, "PERMUTATION_SHA256", "0" * 64)
    with pytest.raises(IntegrityError, match="permutes otherwise"):
        train_validation_split(np.zeros(10, np.uint8))


def test_statistics_are_those_of_the_pixels(folder):
    """Mean and deviation of each channel equal the sums over its pixels, one by one."""
    images = load_cifar10(folder, RELEASE).train.images.numpy()
    mean, std = channel_statistics(images)
    for channel in range(3):
        expected = naive_images.mean_and_deviation(images[:, channel])
        assert (mean[channel], std[channel]) == pytest.approx(expected, rel=1e-12)


def test_normalised_images_are_centred_and_scaled(folder):
    """Normalised by their own statistics, images have mean 0 and deviation 1 in each channel."""
    images = load_cifar10(folder, RELEASE).train.images
    normalised = Normalisation(*channel_statistics(images.numpy())).apply(images).double()
    assert normalised.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-6)
    assert normalised.std((0, 2, 3), correction=0).tolist() == pytest.approx([1] * 3, abs=1e-6)


def test_normalisation_is_the_textbooks():
    """All 256 values become (value/255 - mean) / std, to within float32."""
    value = np.arange(256)
    images = torch.from_numpy(np.tile(value, (3, 1)).astype(np.uint8)).view(1, 3, 16, 16)
    mean, std = (np.array(part)[:, None] for part in (NORMALISATION.mean, NORMALISATION.std))
    expected = (value / 255 - mean) / std
    np.testing.assert_allclose(NORMALISATION.apply(images).view(3, 256), expected, rtol=3e-7, atol=3e-7)


def test_normalisation_keeps_the_memory_format():
    """Channels-last images stay channels-last, with the same bits."""
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    other = NORMALISATION.apply(images.contiguous(memory_format=torch.channels_last))
    assert other.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(other, NORMALISATION.apply(images))


def test_a_batch_is_moved_then_normalised(folder):
    """A part makes batches: the chosen bytes, moved by their placements, then normalised."""
    train = load_cifar10(folder, RELEASE).train
    chosen, placements = torch.tensor([5, 80, 5]), draw_placements(len(train), 3, 1)
    images, labels = train.batch(chosen, placements)
    moved = crop_and_flip(train.images[chosen], placements[chosen])
    assert torch.equal(images, NORMALISATION.apply(moved))
    assert images.dtype == torch.float32
    assert torch.equal(labels, train.labels[chosen])

    plain, _ = train.batch(slice(0, 4))
    assert torch.equal(plain, NORMALISATION.apply(train.images[:4]))


def test_ready_images_pass_as_they_are():
    """A part whose images are float32 already gives them unchanged."""
    digits = load_dataset("digits").train
    images, labels = digits.batch(slice(10, 20))
    assert torch.equal(images, digits.images[10:20])
    assert torch.equal(labels, digits.labels[10:20])


def test_moving_to_a_device_changes_no_bit(folder):
    """A data set on another device has the same digest, and says what it was."""
    dataset = load_cifar10(folder, RELEASE)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    moved = dataset.to(device)
    assert (moved.sha256, moved.name) == (dataset.sha256, dataset.name)
    assert moved.validation.images.device.type == device
    assert moved.test.normalisation == NORMALISATION


def test_the_digest_sees_every_part():
    """A changed pixel or label in any part is another data set."""
    part = Part(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    pixel = Part(part.images.clone(), part.labels)
    pixel.images[1, 2, 3, 3] = 1
    label = Part(part.images, torch.tensor([0, 1]))
    parts = [(part,) * 3, (pixel, part, part), (part, pixel, part), (part, part, pixel), (part, part, label)]
    assert len({Dataset("x", 10, *three).sha256 for three in parts}) == len(parts)


def test_cifar10_is_found_where_it_is_named(folder, monkeypatch):
    """The data set table's CIFAR-10 looks in QSGD_LAB_DATA, and refuses what is not the official release."""
    monkeypatch.setenv("QSGD_LAB_DATA", str(folder))
    with pytest.raises(IntegrityError, match="instead of 170052171"):
        DATASETS["cifar10"].load()
    monkeypatch.setenv("QSGD_LAB_DATA", str(folder / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "empty"))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.chdir(folder)
    with pytest.raises(DataMissingError, match="qsgd-lab data fetch"):
        DATASETS["cifar10"].load()


def test_places_have_an_order(monkeypatch, tmp_path):
    """QSGD_LAB_DATA, the folder given, the cache folder, ./data, torchvision's; each once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("QSGD_LAB_DATA", raising=False)
    usual = [tmp_path / "cache" / "qsgd-lab", Path("data"), tmp_path / "torch" / "datasets"]
    assert search_folders() == usual
    assert search_folders(tmp_path) == [tmp_path, *usual]
    assert search_folders(Path("data")) == [Path("data"), usual[0], usual[2]]
    monkeypatch.setenv("QSGD_LAB_DATA", "~/there")
    assert search_folders(tmp_path) == [Path.home() / "there", tmp_path, *usual]


def test_the_safest_form_is_preferred(tmp_path):
    """Of several copies in a folder an archive is taken before a folder, and the binary edition first."""
    forms = []
    (tmp_path / RELEASE.python.folder).mkdir()
    forms.append(find_cifar10([tmp_path], RELEASE).form)
    (tmp_path / RELEASE.binary.folder).mkdir()
    forms.append(find_cifar10([tmp_path], RELEASE).form)
    (tmp_path / RELEASE.python.archive).touch()
    forms.append(find_cifar10([tmp_path], RELEASE).form)
    (tmp_path / RELEASE.binary.archive).touch()
    forms.append(find_cifar10([tmp_path], RELEASE).form)
    assert forms == ["python folder", "binary folder", "python archive", "binary archive"]
    assert find_cifar10([tmp_path / "elsewhere", tmp_path], RELEASE).path.parent == tmp_path
    assert find_cifar10([tmp_path / "elsewhere"], RELEASE) is None
