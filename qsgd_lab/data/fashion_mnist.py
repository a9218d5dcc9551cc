"""Fashion-MNIST: 54 000 images for training, 6 000 for validation, the official 10 000 for testing.

The files are those of the IDX format, compressed or not. Copies differ in how they are compressed (Debian's
are not the authors'), so that the bytes inside are checked, and not the files.

References
----------
Xiao, Rasul, Vollgraf: Fashion-MNIST, a novel image dataset for benchmarking machine learning algorithms.
arXiv:1708.07747. (c) 2017 Zalando SE, MIT licence.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.cifar10.fetch import OFFLINE_VARIABLE, is_offline
from qsgd_lab.data.download.download import Download, Notice, Progress
from qsgd_lab.data.download.fingerprint import Fingerprint
from qsgd_lab.data.idx import decompress, idx_bytes, parse_idx
from qsgd_lab.data.normalisation import channel_statistics
from qsgd_lab.data.split import Indices, checked_split, split_sha256
from qsgd_lab.errors import DataMissingError, IntegrityError

if TYPE_CHECKING:
    from qsgd_lab.data.dataset import Dataset, Part

NUM_CLASSES = 10
#: One training image in ten is for validation.
VALIDATION_SHARE = 10
#: Digest of the permutation of 60 000 behind the split.
PERMUTATION_SHA256 = "04c04435cc52232cb6a0ef67e14dcdd7a5802fb0b4efc94c50d06d7d32012912"
#: Of the 54 000 training images' pixels.
MEAN, STD = 0.28603, 0.35307
#: Where Debian's package dataset-fashion-mnist puts the files.
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
#: Subfolders of a data folder that are searched: the lab's own, and torchvision's.
SUBFOLDERS = ("fashion-mnist", "FashionMNIST/raw", ".")
ADDRESSES = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)


@dataclass(frozen=True)
class IdxFile:
    """One of the four files.

    Attributes
    ----------
    name : str
        Without ``.gz``.
    shape : tuple of int
    sha256 : str
        Of the file, not compressed.
    packed : Fingerprint
        Of the authors' compressed file, which is what is fetched.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str
    packed: Fingerprint


#: Training images and labels, test images and labels. MD5 as the authors publish them.
OFFICIAL = (
    IdxFile(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        Fingerprint(26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ),
    IdxFile(
        "train-labels-idx1-ubyte",
        (60_000,),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        Fingerprint(29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    ),
    IdxFile(
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        Fingerprint(4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    ),
    IdxFile(
        "t10k-labels-idx1-ubyte",
        (10_000,),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        Fingerprint(5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
)


@dataclass(frozen=True)
class Copy:
    """A folder that has the four files by name; they have not been read.

    Attributes
    ----------
    path : Path
    files : tuple of IdxFile
        What they must be.
    """

    path: Path
    files: tuple[IdxFile, ...] = OFFICIAL

    @property
    def form(self) -> str:
        """What it is, in words."""
        packed = sum(_found(self.path, file).suffix == ".gz" for file in self.files)
        return "folder of IDX files" + (", compressed" if packed else "")


def _found(folder: Path, file: IdxFile) -> Path:
    """Return the path of a file, compressed or else plain; it need not exist."""
    packed = folder / f"{file.name}.gz"
    return packed if packed.is_file() else folder / file.name


def find_fashion_mnist(folders: Sequence[Path], files: tuple[IdxFile, ...] = OFFICIAL) -> Copy:
    """Return the first copy in the folders, their subfolders of the usual names, or Debian's folder.

    Raises
    ------
    DataMissingError
        If there is none; it names the files and the commands that bring them.
    """
    usual = [folder / sub for folder in folders for sub in SUBFOLDERS]
    for folder in [*usual, DEBIAN_FOLDER]:
        if all(_found(folder, file).is_file() for file in files):
            return Copy(folder, files)
    names = ", ".join(f"{file.name}.gz" for file in files)
    raise DataMissingError(
        f"Fashion-MNIST is not in {', '.join(map(str, folders))} or {DEBIAN_FOLDER}; run "
        f"'qsgd-lab data fetch fashion-mnist' (31 MB), on Debian 'apt-get install "
        f"dataset-fashion-mnist', or put {names} into "
        f"{folders[0] / SUBFOLDERS[0]}"
    )


def fetch_fashion_mnist(
    folder: Path,
    *,
    progress: Progress,
    notice: Notice,
    offline: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Download the four files into the subfolder ``fashion-mnist``, and return it.

    Parameters
    ----------
    folder : Path
        Made if need be.
    progress, notice, wait : callable
        As `Download` takes them.
    offline : bool
        Open no connection, as under ``QSGD_LAB_OFFLINE``.

    Raises
    ------
    DataMissingError
        If they cannot be had, or written; offline, always.
    IntegrityError
        If something else is published under their names.
    """
    target = folder / SUBFOLDERS[0]
    if offline or is_offline():
        raise DataMissingError(
            f"offline, and Fashion-MNIST is wanted in {target}; put its four files there, or fetch them "
            f"without --offline and {OFFLINE_VARIABLE}"
        )
    for file in OFFICIAL:
        name = f"{file.name}.gz"
        urls = [address + name for address in ADDRESSES]
        Download(urls, target / name, file.packed, progress=progress, notice=notice, wait=wait).run()
    return target


def read_fashion_mnist(copy: Copy) -> list[NDArray[np.uint8]]:
    """Read one copy whole.

    Returns
    -------
    list of uint8
        Training images, shape (m, 28, 28), and labels, shape (m,); those for testing.

    Raises
    ------
    IntegrityError
        If a file is not what it must be.
    DataMissingError
        If a file cannot be read at all.
    """
    arrays = []
    for file in copy.files:
        path = _found(copy.path, file)
        try:
            arrays.append(_read(path, file))
        except OSError as error:
            raise DataMissingError(
                f"cannot read {path}: {error.strerror or error}; change its permissions, or name another "
                "folder by --data-dir or QSGD_LAB_DATA"
            ) from error
        except ValueError as error:
            raise IntegrityError(
                f"{path} {error}; delete it and run 'qsgd-lab data fetch fashion-mnist'"
            ) from error
    return arrays


def _read(path: Path, file: IdxFile) -> NDArray[np.uint8]:
    size = idx_bytes(file.shape)
    with path.open("rb") as opened:
        content = opened.read(2 * size + 1)  # a compressed file is hardly longer than what it holds
    if path.suffix == ".gz":
        content = decompress(content, size)
    array = parse_idx(content, file.shape)
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise ValueError(f"holds bytes with sha256 {digest} instead of {file.sha256}")
    if array.ndim == 1 and array.max(initial=0) >= NUM_CLASSES:
        raise ValueError(f"has label {array.max()}; the highest is {NUM_CLASSES - 1}")
    return array


def train_validation_split(labels: NDArray[np.uint8]) -> tuple[Indices, Indices]:
    """Return the indices of the training and of the validation images, see `checked_split`."""
    return checked_split(labels, VALIDATION_SHARE, 60_000, PERMUTATION_SHA256)


def load_fashion_mnist(folders: Sequence[Path] | None = None) -> Dataset:
    """Return Fashion-MNIST, always split the same way; images stay bytes, of shape (1, 28, 28).

    Parameters
    ----------
    folders : sequence of Path, optional
        By default the usual ones.

    Raises
    ------
    DataMissingError, IntegrityError
        As `find_fashion_mnist` and `read_fashion_mnist` do.
    """
    from qsgd_lab.data.cifar10.find import search_folders
    from qsgd_lab.data.dataset import Dataset

    found = find_fashion_mnist(search_folders() if folders is None else folders)
    images, labels, test_images, test_labels = read_fashion_mnist(found)
    train, validation = train_validation_split(labels)
    return Dataset(
        "fashion-mnist",
        NUM_CLASSES,
        train=_part(images[train], labels[train]),
        validation=_part(images[validation], labels[validation]),
        test=_part(test_images.copy(), test_labels),
    )


def _part(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Part:
    import torch

    from qsgd_lab.data.dataset import Part
    from qsgd_lab.data.normalisation import Normalisation

    normalisation = Normalisation((MEAN,), (STD,))
    return Part(torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64)), normalisation)


def describe_fashion_mnist(copy: Copy) -> dict[str, Any]:
    """Read a copy whole, check it, and return its facts as JSON-ready values.

    Raises
    ------
    DataMissingError, IntegrityError
        As `read_fashion_mnist` does.
    """
    arrays = read_fashion_mnist(copy)
    train, validation = train_validation_split(arrays[1])
    mean, std = channel_statistics(arrays[0][train][:, None])
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return {
        "path": str(copy.path),
        "form": copy.form,
        "training_images": len(train),
        "validation_images": len(validation),
        "test_images": len(arrays[3]),
        "arrays_sha256": digest.hexdigest(),
        "split_sha256": split_sha256((train, validation)),
        "channel_means": [round(value, 6) for value in mean],
        "channel_deviations": [round(value, 6) for value in std],
    }
