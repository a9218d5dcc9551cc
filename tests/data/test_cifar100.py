"""CIFAR-100 by the reader of CIFAR-10: two bytes of label, one file for training, a hundred classes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import cifar_fixture as fixture
import numpy as np
import pytest

from qsgd_lab.data.cifar10.find import find_cifar10
from qsgd_lab.data.cifar10.load import load_cifar10
from qsgd_lab.data.cifar10.read import read_cifar10
from qsgd_lab.data.cifar10.release import OFFICIAL_100, Release
from qsgd_lab.data.download.fingerprint import Fingerprint
from qsgd_lab.errors import DataMissingError, IntegrityError

NUM_TRAIN, NUM_TEST = 1000, 100


def _arrays(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, coarse and fine labels: every class as often as any other."""
    random = np.random.default_rng(seed)
    fine = random.permutation(np.arange(count) % 100).astype(np.uint8)
    return random.integers(0, 256, (count, 3, 32, 32), np.uint8), fine // 5, fine


TRAIN, TEST = _arrays(NUM_TRAIN, 1), _arrays(NUM_TEST, 2)


def _record_file(images: np.ndarray, coarse: np.ndarray, fine: np.ndarray) -> bytes:
    return b"".join(bytes([c, f]) + image.tobytes() for image, c, f in zip(images, coarse, fine, strict=True))


def _pickled(images: np.ndarray, coarse: np.ndarray, fine: np.ndarray) -> bytes:
    batch = {
        b"filenames": [b"a.png"] * len(fine),
        b"fine_labels": fine.tolist(),
        b"coarse_labels": coarse.tolist(),
        b"data": images.reshape(len(fine), 3072),
    }
    return pickle.dumps(batch, protocol=2)


FILES = {
    "binary": {"train.bin": _record_file(*TRAIN), "test.bin": _record_file(*TEST)},
    "python": {"train": _pickled(*TRAIN), "test": _pickled(*TEST)},
}
#: What the made-up files must be: by name and number alone.
RELEASE: Release = replace(
    OFFICIAL_100,
    binary=replace(
        OFFICIAL_100.binary,
        fingerprint=Fingerprint(),
        members=dict.fromkeys(OFFICIAL_100.binary.members, Fingerprint()),
    ),
    python=replace(
        OFFICIAL_100.python,
        fingerprint=Fingerprint(),
        members=dict.fromkeys(OFFICIAL_100.python.members, Fingerprint()),
    ),
    records_per_file=NUM_TRAIN,
    num_test=NUM_TEST,
)


def _write(folder, edition, *, packed, files=None):
    files = FILES[edition] if files is None else files
    wanted = getattr(RELEASE, edition)
    if packed:
        (folder / wanted.archive).write_bytes(fixture.archive_of(wanted.folder, files))
    else:
        fixture.write_folder(folder / wanted.folder, files)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("edition", ["binary", "python"])
def test_every_form_gives_the_fine_labels(tmp_path, edition, packed):
    """Both editions, packed and unpacked, give the images that were written and their fine labels."""
    _write(tmp_path, edition, packed=packed)
    arrays = read_cifar10(find_cifar10([tmp_path], RELEASE))

    for images, labels, (wanted, _, fine) in (
        (arrays.train_images, arrays.train_labels, TRAIN),
        (arrays.test_images, arrays.test_labels, TEST),
    ):
        np.testing.assert_array_equal(images, wanted)
        np.testing.assert_array_equal(labels, fine)


def test_a_hundred_classes_in_equal_shares(tmp_path):
    """A tenth of the training images is for validation, as many of each class."""
    _write(tmp_path, "binary", packed=True)
    dataset = load_cifar10(tmp_path, RELEASE)

    assert (dataset.name, dataset.num_classes) == ("cifar100", 100)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [900, 100, 100]
    assert set(dataset.validation.labels.bincount().tolist()) == {1}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"train.bin": FILES["binary"]["train.bin"][:-1], "test.bin": FILES["binary"]["test.bin"]},
            "bytes instead",
        ),
        (
            {"train.bin": FILES["binary"]["test.bin"], "test.bin": FILES["binary"]["train.bin"]},
            "bytes instead",
        ),
        (
            {
                "train.bin": b"\x00\x64" + FILES["binary"]["train.bin"][2:],
                "test.bin": FILES["binary"]["test.bin"],
            },
            "has label 100; the highest is 99",
        ),
    ],
    ids=["truncated", "swapped", "label"],
)
def test_what_is_not_cifar100_is_refused(tmp_path, files, words):
    """Truncated and swapped files and labels of no class get one line that says how to have it again."""
    _write(tmp_path, "binary", packed=False, files=files)
    with pytest.raises(IntegrityError, match=words) as caught:
        read_cifar10(find_cifar10([tmp_path], RELEASE))

    assert "qsgd-lab data fetch cifar100" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cifar10_is_not_taken_for_it(tmp_path):
    """A folder that holds CIFAR-10 alone has no CIFAR-100; the line names what is wanted."""
    fixture.write_folder(tmp_path / "cifar-10-batches-bin", fixture.binary_files())
    with pytest.raises(DataMissingError, match=r"CIFAR-100 is not in .*cifar-100-binary\.tar\.gz"):
        load_cifar10(tmp_path, RELEASE)
