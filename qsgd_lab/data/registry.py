"""The data sets by name, with what is known of each before it is loaded; nothing here loads torch.

Plans, timing, captions and the command line read this table, and a plug-in adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qsgd_lab.data.cifar10.release import IMAGE_SHAPE, OFFICIAL, OFFICIAL_100, Release
from qsgd_lab.inputs import Inputs
from qsgd_lab.origins import Origins

if TYPE_CHECKING:
    from qsgd_lab.data.dataset import Dataset


class Copy(Protocol):
    """A copy of a data set's files, found by name and not read."""

    @property
    def path(self) -> Path:
        """The file or the folder."""

    @property
    def form(self) -> str:
        """What it is, in words, such as ``binary archive``."""


@dataclass(frozen=True)
class Source:
    """The files that a data set needs.

    Attributes
    ----------
    find : callable
        Folders, in the order of the search -> the first copy. Raises `DataMissingError`, with the name of
        the file that is wanted, if there is none.
    fetch : callable
        Called with a folder, and ``progress=``, ``notice=`` (see `qsgd_lab.data.download.download.Download`)
        and ``offline=``: downloads the files into the folder, and returns the path of the copy. Raises
        `DataMissingError` if they cannot be had, `IntegrityError` if they are not the right ones.
    verify : callable
        Copy -> anything; reads it whole. Raises `IntegrityError` if it is damaged.
    describe : callable
        Copy -> its facts as JSON-ready values; reads and checks it as `verify` does.
    fault : callable, optional
        Copy -> what is wrong with it as far as names and sizes tell, such as ``lacks a.bin``; None if nothing
        is. Nothing is read.
    """

    find: Callable[[Sequence[Path]], Copy]
    fetch: Callable[..., Path]
    verify: Callable[[Any], object]
    describe: Callable[[Any], dict[str, Any]]
    fault: Callable[[Any], str | None] | None = None


@dataclass(frozen=True)
class DatasetEntry:
    """A data set, as far as it is known before it is loaded.

    Attributes
    ----------
    name : str
        In lower case, words joined by ``-``.
    title : str
        The name in captions.
    shape : tuple of int
        Of an input: (channels, height, width) of an image, (d,) of a vector, (places,) of a sequence.
    num_classes : int
    sizes : tuple of int
        Inputs for training, validation and testing.
    load : callable
        Returns the data set; called in each process that trains. It must always be the same.
    stores_bytes : bool
        Whether images are uint8, with a normalisation, rather than float32.
    notice : str
        The line on stderr before a sweep. ``{files}`` in it becomes what was found of the source's files.
    source : Source, optional
        For a data set whose files must be there first.
    augmentations : tuple of str
        Augmentations (`RunConfig.augmentation`) that suit the images; a preset's others are left out.
    num_symbols : int
        Inputs are sequences of int64 symbols from 0 to so many, exclusive; 0 for others.
    label_shape : tuple of int
        Of the labels of an input: () for one label, (places,) for one a place.
    version : int
        Raised when the same name gives other arrays or another split; from 1 on it is part of a run's key.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    num_classes: int
    sizes: tuple[int, int, int]
    load: Callable[[], Dataset]
    stores_bytes: bool = False
    notice: str = ""
    source: Source | None = None
    augmentations: tuple[str, ...] = ()
    num_symbols: int = 0
    label_shape: tuple[int, ...] = ()
    version: int = 0

    @property
    def inputs(self) -> Inputs:
        """What a network is given."""
        return Inputs(self.shape, self.num_classes, self.num_symbols, self.label_shape)


def _load_digits() -> Dataset:
    from qsgd_lab.data.digits import load_digits

    return load_digits()


def _load_cifar10(release: Release) -> Dataset:
    from qsgd_lab.data.cifar10.load import load_cifar10

    return load_cifar10(release=release)


def cifar10_source(release: Release = OFFICIAL) -> Source:
    """Return where CIFAR-10 or CIFAR-100 comes from; tests take a small release in its place."""

    def find(folders: Sequence[Path]) -> Copy:
        from qsgd_lab.data.cifar10.find import require_cifar10

        return require_cifar10(folders, release)

    def fetch(folder: Path, **told: Any) -> Path:
        from qsgd_lab.data.cifar10.fetch import fetch_cifar10

        return fetch_cifar10(folder, release, **told)

    def verify(copy: Any) -> object:
        from qsgd_lab.data.cifar10.read import read_cifar10

        return read_cifar10(copy)

    def describe(copy: Any) -> dict[str, Any]:
        from qsgd_lab.data.cifar10.read import describe_cifar10

        return describe_cifar10(copy)

    def fault(copy: Any) -> str | None:
        from qsgd_lab.data.cifar10.find import fault_of

        return fault_of(copy)

    return Source(find, fetch, verify, describe, fault)


#: The data set that ``qsgd-lab data`` means where none is named.
DEFAULT_DATASET = "cifar10"


def _load_fashion_mnist() -> Dataset:
    from qsgd_lab.data.fashion_mnist import load_fashion_mnist

    return load_fashion_mnist()


def _load_brackets() -> Dataset:
    from qsgd_lab.data.brackets import load_brackets

    return load_brackets()


def fashion_mnist_source() -> Source:
    """Return where Fashion-MNIST comes from."""

    def find(folders: Sequence[Path]) -> Copy:
        from qsgd_lab.data.fashion_mnist import find_fashion_mnist

        return find_fashion_mnist(folders)

    def fetch(folder: Path, **told: Any) -> Path:
        from qsgd_lab.data.fashion_mnist import fetch_fashion_mnist

        return fetch_fashion_mnist(folder, **told)

    def verify(copy: Any) -> object:
        from qsgd_lab.data.fashion_mnist import read_fashion_mnist

        return read_fashion_mnist(copy)

    def describe(copy: Any) -> dict[str, Any]:
        from qsgd_lab.data.fashion_mnist import describe_fashion_mnist

        return describe_fashion_mnist(copy)

    return Source(find, fetch, verify, describe)


#: Name -> entry; those from outside come last.
DATASETS: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(
        "digits",
        "scikit-learn's handwritten digits",  # the bare name could mislead: they are not CIFAR-10
        (3, 32, 32),
        10,
        (1257, 180, 360),
        _load_digits,
        notice="Data: scikit-learn's handwritten digits, embedded (1797 images enlarged to 32x32), not "
        "CIFAR-10; for that: qsgd-lab data fetch, then --preset quick.",
    ),
    "cifar10": DatasetEntry(
        "cifar10",
        "CIFAR-10",
        IMAGE_SHAPE,
        OFFICIAL.num_classes,
        (45_000, 5_000, 10_000),
        partial(_load_cifar10, OFFICIAL),
        stores_bytes=True,
        notice="Data: CIFAR-10, {files}.",
        source=cifar10_source(),
        augmentations=("crop-flip",),
    ),
    "cifar100": DatasetEntry(
        "cifar100",
        "CIFAR-100",
        IMAGE_SHAPE,
        OFFICIAL_100.num_classes,
        (45_000, 5_000, 10_000),
        partial(_load_cifar10, OFFICIAL_100),
        stores_bytes=True,
        notice="Data: CIFAR-100, {files}.",
        source=cifar10_source(OFFICIAL_100),
        augmentations=("crop-flip",),
        version=1,
    ),
    "fashion-mnist": DatasetEntry(
        "fashion-mnist",
        "Fashion-MNIST",
        (1, 28, 28),
        10,
        (54_000, 6_000, 10_000),
        _load_fashion_mnist,
        stores_bytes=True,
        notice="Data: Fashion-MNIST, {files}.",
        source=fashion_mnist_source(),
        version=1,
    ),
    "brackets": DatasetEntry(
        "brackets",
        "the generated bracket language",
        (32,),
        9,
        (16_384, 1_024, 2_048),
        _load_brackets,
        notice="Data: a generated language of brackets (16 symbols, 32 places), for recurrent networks.",
        num_symbols=16,
        label_shape=(32,),
        version=1,
    ),
}
_origins = Origins("data set")


def register_dataset(entry: DatasetEntry, origin: str | None = None) -> DatasetEntry:
    """Add a data set from outside the package, and return it.

    Parameters
    ----------
    entry : DatasetEntry
    origin : str, optional
        What its code is. While a plug-in is loaded this is known; elsewhere it is "unknown".

    Raises
    ------
    ValueError
        If the name is malformed or taken, a size is not positive, or the notice speaks of files that no
        source finds.
    """
    numbers = (*entry.shape, entry.num_classes, *entry.sizes)
    if len(entry.shape) not in (1, 3) or len(entry.sizes) != 3 or any(number < 1 for number in numbers):
        raise ValueError(
            f"data set {entry.name!r}: shape is {entry.shape}, sizes are {entry.sizes}, with "
            f"{entry.num_classes} classes; shape is (channels, height, width), (d,) or (places,), sizes are "
            "(train, validation, test), and each number is at least 1"
        )
    if "{files}" in entry.notice and entry.source is None:
        raise ValueError(f"data set {entry.name!r}: its notice has {{files}}, so that it needs a source")
    _origins.claim(entry.name, DATASETS, origin)
    DATASETS[entry.name] = entry
    load_dataset.cache_clear()
    return entry


def dataset_entry(name: str) -> DatasetEntry:
    """Return what is known of a data set.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name]


def dataset_title(name: str) -> str:
    """Return the name in captions: the title, or for a data set that is not loaded here the name itself."""
    return DATASETS[name].title if name in DATASETS else name


def dataset_version(name: str) -> int:
    """Return the version of a data set's arrays; 0 for one that is not loaded here."""
    return DATASETS[name].version if name in DATASETS else 0


def dataset_origins(name: str) -> tuple[str, ...]:
    """Return ``name=origin`` of a data set from outside; nothing for the package's own."""
    return _origins.of(name)


@lru_cache(maxsize=2)
def load_dataset(name: str) -> Dataset:
    """Return a data set by name, loaded once a process.

    Raises
    ------
    ValueError
        If there is none of this name, or what is loaded is not as its entry says.
    DataMissingError, IntegrityError
        If its files are not there, or are damaged.
    """
    entry = dataset_entry(name)
    dataset = entry.load()
    _check(entry, dataset)
    return dataset


def _check(entry: DatasetEntry, dataset: Dataset) -> None:
    """Refuse arrays that are not as the entry says: they would fail somewhere in a run, or mislead a plan."""
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    if dataset.num_classes != entry.num_classes:
        raise ValueError(
            f"data set {entry.name!r} has {dataset.num_classes} classes, {entry.num_classes} by its entry"
        )
    kind = "int64" if entry.num_symbols else "uint8" if entry.stores_bytes else "float32"
    for (name, part), size in zip(parts.items(), entry.sizes, strict=True):
        where = f"data set {entry.name!r}: {name}"
        shape, wanted = tuple(part.images.shape), (size, *entry.shape)
        if shape != wanted:
            raise ValueError(f"{where}.images has the shape {shape}, {wanted} by the entry")
        if (
            str(part.images.dtype) != f"torch.{kind}"
            or (part.normalisation is not None) != entry.stores_bytes
        ):
            raise ValueError(
                f"{where}.images is {part.images.dtype}, with the normalisation {part.normalisation}; images "
                "are float32 without one, by stores_bytes=True uint8 with one, and by num_symbols int64"
            )
        if entry.num_symbols:
            _check_range(part.images, entry.num_symbols, f"{where}.images")
        labels, label_shape = part.labels, (size, *entry.label_shape)
        if str(labels.dtype) != "torch.int64" or tuple(labels.shape) != label_shape:
            raise ValueError(f"{where}.labels must be int64, with the shape {label_shape}")
        _check_range(labels, entry.num_classes, f"{where}.labels")


def _check_range(values: Any, end: int, what: str) -> None:
    if int(values.min()) < 0 or int(values.max()) >= end:
        raise ValueError(f"{what} must be 0 to {end - 1}")
