"""CIFAR-10 as arrays, from any form in which it is found; what is read is checked first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.cifar10.find import Source
from qsgd_lab.data.cifar10.formats import parse_batch, parse_records
from qsgd_lab.data.cifar10.release import IMAGE_SHAPE, Release
from qsgd_lab.data.download.fingerprint import Fingerprint, measure, measure_bytes
from qsgd_lab.data.tar_members import ArchiveError, read_members
from qsgd_lab.errors import DataMissingError, IntegrityError


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
