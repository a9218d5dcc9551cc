"""A tiny data set in the real format of CIFAR-10, made from nothing, always the same."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from qsgd_lab.data.cifar10.release import OFFICIAL, Edition, Release
from qsgd_lab.data.download.fingerprint import Fingerprint, measure_bytes

PER_FILE = 20  # images in each of the six files, two of each class


def images_and_labels(per_file: int = PER_FILE) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 (6, per_file, 3, 32, 32) and (6, per_file): noisy slopes, a colour a class."""
    random = np.random.Generator(np.random.Philox(7))
    labels = np.stack([random.permutation(np.arange(per_file) % 10) for _ in range(6)]).astype(np.uint8)
    slope = np.arange(32)[:, None] * 2 + np.arange(32)
    colour = np.stack([labels * 9, 90 - labels * 9, labels % 2 * 60], axis=-1)[..., None, None]
    noise = random.integers(0, 60, (6, per_file, 3, 32, 32))
    return (slope + colour + noise).astype(np.uint8), labels


def binary_files(per_file: int = PER_FILE) -> dict[str, bytes]:
    """Return the six files of the binary edition, by name."""
    images, labels = images_and_labels(per_file)
    records = np.concatenate([labels[..., None], images.reshape(6, per_file, 3072)], axis=-1)
    return dict(zip(OFFICIAL.binary.members, (part.tobytes() for part in records), strict=True))


def python_files(per_file: int = PER_FILE, *, modern: bool = False) -> dict[str, bytes]:
    """Return the six files of the Python edition, written as by Python 2 (the official ones) or Python 3."""
    images, labels = images_and_labels(per_file)
    write = modern_pickle if modern else original_pickle
    batches = (write(i.reshape(per_file, 3072), part) for i, part in zip(images, labels, strict=True))
    return dict(zip(OFFICIAL.python.members, batches, strict=True))


def modern_pickle(data: np.ndarray, labels: np.ndarray) -> bytes:
    """Pickle a batch with this interpreter."""
    batch = {b"batch_label": b"made", b"labels": labels.tolist(), b"data": data, b"filenames": [b"a.png"]}
    return pickle.dumps(batch, protocol=2)


def original_pickle(data: np.ndarray, labels: np.ndarray) -> bytes:
    """Write a batch operation by operation as Python 2's pickle did, in which text and bytes are one."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
    shape = b"J" + struct.pack("<i", len(data)) + b"M" + struct.pack("<H", 3072) + b"\x86"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\0K\1\x87R(K\3" + text(b"|") + b"NNN"
    dtype += (b"J" + struct.pack("<i", -1)) * 2 + b"K\0tb"
    array += b"(K\1" + shape + dtype + b"\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + numbers + b"u."


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a regular file."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))


def archive_of(folder: str, files: dict[str, bytes]) -> bytes:
    """Return a gzipped tar archive as the official ones are: a folder, a page about the data, the files."""
    unzipped = io.BytesIO()
    with tarfile.open(fileobj=unzipped, mode="w") as tar:
        top = tarfile.TarInfo(folder)
        top.type = tarfile.DIRTYPE
        tar.addfile(top)
        add_file(tar, f"{folder}/readme.html", b"<p>made for tests</p>")
        for name in reversed(files):  # the official order is not that of the numbers either
            add_file(tar, f"{folder}/{name}", files[name])
    return gzip.compress(unzipped.getvalue(), mtime=0)


def tiny_release(per_file: int = PER_FILE, *, pinned: bool = True) -> Release:
    """Return what the fixture must be; not `pinned`: sizes alone, so that tests can alter contents."""
    binary, python = binary_files(per_file), python_files(per_file)
    return Release(
        replace(_edition(OFFICIAL.binary, binary, pinned), max_member_bytes=per_file * 3073),
        replace(_edition(OFFICIAL.python, python, pinned), max_member_bytes=per_file * 3300 + 1000),
        per_file,
    )


def _edition(edition: Edition, files: dict[str, bytes], pinned: bool) -> Edition:
    if not pinned:
        unknown = dict.fromkeys(files, Fingerprint())
        return replace(edition, fingerprint=Fingerprint(), members=unknown)
    members = {name: measure_bytes(content) for name, content in files.items()}
    whole = measure_bytes(archive_of(edition.folder, files))
    return replace(edition, fingerprint=whole, members=members)


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    """Write unpacked files."""
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def decoded_sha256(per_file: int = PER_FILE) -> str:
    """Return the digest of the arrays in the official order, figured from the fixture's own arrays."""
    images, labels = images_and_labels(per_file)
    parts = (images[:5], labels[:5], images[5], labels[5])
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
