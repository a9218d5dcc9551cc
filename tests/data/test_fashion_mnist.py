"""Fashion-MNIST from a folder of IDX files: found, checked, split."""

from __future__ import annotations

import gzip
import hashlib
import struct

import numpy as np
import pytest

from qsgd_lab.data import fashion_mnist
from qsgd_lab.data.download.fingerprint import Fingerprint
from qsgd_lab.data.fashion_mnist import (
    DEBIAN_FOLDER,
    Copy,
    IdxFile,
    find_fashion_mnist,
    load_fashion_mnist,
    read_fashion_mnist,
    train_validation_split,
)
from qsgd_lab.data.split import split_sha256
from qsgd_lab.errors import DataMissingError, IntegrityError

#: Digest of the split for labels in turn.
SPLIT = "5f1f8188cd571023e2be72f79b728f7430c4fa7ffb5bcca3263fc6480b24e68a"
NAMES = [file.name for file in fashion_mnist.OFFICIAL]


def idx(array):
    """Return a uint8 array as an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def release(rng=None):
    """Return a small release, 100 images for training and 20 for testing, and the files' bytes."""
    rng = rng or np.random.default_rng(0)
    arrays = []
    for count in (100, 20):
        arrays.append(rng.integers(0, 256, (count, 28, 28), np.uint8))
        arrays.append((np.arange(count) % 10).astype(np.uint8))
    contents = [idx(array) for array in arrays]
    files = tuple(
        IdxFile(name, array.shape, hashlib.sha256(content).hexdigest(), Fingerprint(len(content)))
        for name, array, content in zip(NAMES, arrays, contents, strict=True)
    )
    return files, arrays, contents


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Take Debian's package away."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "no-debian")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("sub", ["fashion-mnist", "FashionMNIST/raw", "."])
def test_every_usual_folder_and_form_gives_the_same_arrays(tmp_path, nowhere, packed, sub):
    """Compressed or plain; the lab's folder, torchvision's, or the data folder itself."""
    files, arrays, contents = release()
    (tmp_path / sub).mkdir(parents=True, exist_ok=True)
    for file, content in zip(files, contents, strict=True):
        path = tmp_path / sub / (file.name + ".gz" * packed)
        path.write_bytes(gzip.compress(content) if packed else content)
    copy = find_fashion_mnist([tmp_path / "empty", tmp_path], files)
    assert copy.path == tmp_path / sub
    assert ("compressed" in copy.form) == packed
    for found, array in zip(read_fashion_mnist(copy), arrays, strict=True):
        assert np.array_equal(found, array)


def test_nothing_there_names_the_files_and_the_commands(tmp_path, nowhere):
    """One line: where was looked, and how to bring the files."""
    with pytest.raises(DataMissingError) as caught:
        find_fashion_mnist([tmp_path])
    text = str(caught.value)
    assert "\n" not in text
    for part in (str(tmp_path), "qsgd-lab data fetch", "dataset-fashion-mnist", "train-images-idx3-ubyte.gz"):
        assert part in text


def damaged(content):
    """Yield what may happen to a file."""
    yield "cut", content[:-1]
    yield "longer", content + b"\0"
    yield "empty", b""
    yield "one bit", bytes([*content[:-1], content[-1] ^ 1])
    yield "swapped", content[:4] + content[4:8][::-1] + content[8:]


@pytest.mark.parametrize("which", range(4))
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, nowhere, which):
    """Truncated, longer, other bytes, dimensions in the other byte order: the file's name and what to do."""
    files, _, contents = release()
    for file, content in zip(files, contents, strict=True):
        (tmp_path / file.name).write_bytes(content)
    for _, content in damaged(contents[which]):
        (tmp_path / NAMES[which]).write_bytes(content)
        with pytest.raises(IntegrityError) as caught:
            read_fashion_mnist(Copy(tmp_path, files))
        assert NAMES[which] in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_label_beyond_the_classes_is_refused(tmp_path):
    """Even where the digest is right, label 10 is not a class."""
    labels = np.array([0, 10], np.uint8)
    content = idx(labels)
    file = IdxFile(NAMES[1], (2,), hashlib.sha256(content).hexdigest(), Fingerprint())
    (tmp_path / NAMES[1]).write_bytes(content)
    with pytest.raises(IntegrityError, match="label 10"):
        read_fashion_mnist(Copy(tmp_path, (file,)))


def test_a_bomb_is_not_unpacked(tmp_path):
    """A compressed file of gigabytes of zeros is refused at the size that is wanted."""
    files, _, _ = release()
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(bytes(10**7)))
    with pytest.raises(IntegrityError, match="holds more than"):
        read_fashion_mnist(Copy(tmp_path, files[:1]))


def test_offline_no_connection_is_opened(tmp_path):
    """The error names where the files belong."""
    with pytest.raises(DataMissingError, match="offline"):
        fashion_mnist.fetch_fashion_mnist(tmp_path, progress=None, notice=None, offline=True)


def test_the_split_of_the_official_size_never_changes():
    """54 000 and 6 000, 600 of each class for validation; pinned by its digest for labels in turn."""
    labels = (np.arange(60_000) % 10).astype(np.uint8)
    train, validation = train_validation_split(labels)
    assert np.bincount(labels[validation]).tolist() == [600] * 10
    assert len(np.union1d(train, validation)) == 60_000
    assert split_sha256((train, validation)) == SPLIT


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_the_real_files_are_what_they_should_be():
    """Debian's copy: 54 000, 6 000 and 10 000 images of 1x28x28, as bytes, their pixels centred."""
    dataset = load_fashion_mnist([])
    sizes = [len(part) for part in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [54_000, 6_000, 10_000]
    assert dataset.inputs == ((1, 28, 28), 10, 0, ())
    images, _ = dataset.train.batch(slice(0, 54_000))
    assert abs(float(images.mean())) < 1e-4
    assert abs(float(images.std()) - 1) < 1e-4
