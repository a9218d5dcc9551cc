"""CIFAR-10 as arrays, from any form in which it is found, its split and its facts.

What is read is checked first. Facts are figures that can be compared between machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.cifar10.find import Source
from qsgd_lab.data.cifar10.formats import parse_batch, parse_records
from qsgd_lab.data.cifar10.release import IMAGE_SHAPE, Release
from qsgd_lab.data.download.fingerprint import Fingerprint, measure, measure_bytes
from qsgd_lab.data.normalisation import channel_statistics
from qsgd_lab.data.split import Indices, checked_split, split_sha256
from qsgd_lab.data.tar_members import ArchiveError, read_members
from qsgd_lab.errors import DataMissingError, IntegrityError

#: One image in ten is for validation.
VALIDATION_SHARE = 10
#: Digest of the permutation of 50 000 behind the split.
PERMUTATION_SHA256 = "34d9b36a87640c8bfe01efc6b1c8e829a1fa8749a758b02a5e3ba14e20586e2b"


@dataclass(frozen=True)
class Cifar10Arrays:
    """All images in the official order, uint8 of shape (m, 3, 32, 32), and labels, uint8 of shape (m,)."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]

    @cached_property
    def sha256(self) -> str:
        """Digest of the four arrays in order: the same for every form in which the data are stored."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def read_cifar10(source: Source) -> Cifar10Arrays:
    """Read one copy whole.

    Raises
    ------
    IntegrityError
        If the copy is not the release: wrong sizes, digests, members or labels.
    DataMissingError
        If it cannot be read at all.
    """
    try:
        return _read(source)
    except OSError as error:
        raise DataMissingError(
            f"cannot read {error.filename or source.path}: {error.strerror or error}; fix the permissions, "
            f"or fetch it elsewhere with '{source.release.fetch_command} --data-dir FOLDER'"
        ) from error
    except (ValueError, ArchiveError) as error:
        raise IntegrityError(
            f"{source.path} {error}; delete it and run '{source.release.fetch_command}' to have it again"
        ) from error


def _read(source: Source) -> Cifar10Arrays:
    files, counts = list(source.edition.members), source.release.counts
    ends = np.cumsum(counts)
    images = np.empty((ends[-1], *IMAGE_SHAPE), np.uint8)
    labels = np.empty(ends[-1], np.uint8)
    members = _archive_members(source) if source.is_archive else _folder_members(source)
    for name, content in members:
        count, end = counts[files.index(name)], ends[files.index(name)]
        place = slice(end - count, end)
        images[place], labels[place] = _parse(source, name, content, count)
    num_train = ends[-2]
    arrays = Cifar10Arrays(images[:num_train], labels[:num_train], images[num_train:], labels[num_train:])
    _check_balance(arrays, source.release.num_classes)
    return arrays


def _archive_members(source: Source) -> Iterator[tuple[str, bytes]]:
    edition = source.edition
    full_names = {f"{edition.folder}/{name}": name for name in edition.members}
    with source.path.open("rb") as archive:
        # One open file for both: what is read is what was measured.
        _match(edition.fingerprint, measure(archive))
        archive.seek(0)
        for name, content in read_members(archive, full_names, edition.max_member_bytes):
            yield full_names[name], content


def _folder_members(source: Source) -> Iterator[tuple[str, bytes]]:
    edition = source.edition
    absent = [name for name in edition.members if not (source.path / name).is_file()]
    if absent:
        raise ValueError(f"lacks {', '.join(absent)}")
    for name in edition.members:
        with (source.path / name).open("rb") as file:
            yield name, file.read(edition.max_member_bytes + 1)


def _parse(
    source: Source, name: str, content: bytes, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Check one file against its fingerprint, then take it apart."""
    release = source.release
    try:
        _match(source.edition.members[name], measure_bytes(content))
        images, labels = _take_apart(release, source.edition.name, content, count)
        if labels.max(initial=0) >= release.num_classes:
            raise ValueError(f"has label {labels.max()}; the highest is {release.num_classes - 1}")
    except ValueError as error:
        raise ValueError(f"holds {name}, which {error}") from error
    return images, labels


def _take_apart(
    release: Release, edition: str, content: bytes, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if edition == "binary":
        return parse_records(content, count, release.label_bytes)
    return parse_batch(content, count, release.label_name, release.num_classes)


def _match(wanted: Fingerprint, actual: Fingerprint) -> None:
    difference = wanted.mismatch(actual)
    if difference:
        raise ValueError(difference)


def _check_balance(arrays: Cifar10Arrays, num_classes: int) -> None:
    """Each class has the same number of images, in training and in testing."""
    for part, labels in (("training", arrays.train_labels), ("test", arrays.test_labels)):
        counts, share = np.bincount(labels, minlength=num_classes), len(labels) // num_classes
        if np.any(counts != share):
            label = int(np.argmax(counts != share))
            raise ValueError(f"has {counts[label]} {part} images of class {label} instead of {share}")


def train_validation_split(labels: NDArray[np.uint8]) -> tuple[Indices, Indices]:
    """Return the indices of the training and of the validation images, see `checked_split`."""
    return checked_split(labels, VALIDATION_SHARE, 50_000, PERMUTATION_SHA256)


def describe_cifar10(source: Source) -> dict[str, Any]:
    """Read a copy whole, check it, and return its facts as JSON-ready values.

    Raises
    ------
    DataMissingError, IntegrityError
        As `read_cifar10` does.
    """
    arrays = read_cifar10(source)
    train, validation = train_validation_split(arrays.train_labels)
    mean, std = channel_statistics(arrays.train_images[train])
    return {
        "path": str(source.path),
        "form": source.form,
        "training_images": len(train),
        "validation_images": len(validation),
        "test_images": len(arrays.test_labels),
        "arrays_sha256": arrays.sha256,
        "split_sha256": split_sha256((train, validation)),
        "channel_means": [round(value, 6) for value in mean],
        "channel_deviations": [round(value, 6) for value in std],
    }
