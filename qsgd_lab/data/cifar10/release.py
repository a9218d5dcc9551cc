"""What the official releases of CIFAR-10 and CIFAR-100 are: two editions each, files, sizes and checksums.

The MD5 of the archives are published on the data set's page; those of the Python batches are torchvision's,
the SHA-256 of the binary files those of its Ruby port, and several independent projects agree on those of the
archives. Both editions hold the same images in the same order.

References
----------
Krizhevsky: Learning multiple layers of features from tiny images. Technical report, University of Toronto,
2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qsgd_lab.data.download.fingerprint import Fingerprint

IMAGE_SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32
RECORD_BYTES = 1 + IMAGE_BYTES


@dataclass(frozen=True)
class Edition:
    """One form in which the data are published.

    Attributes
    ----------
    name : {"binary", "python"}
        How a member is laid out: records of label and pixels, or a pickled dictionary.
    archive : str
        Name of the gzipped tar archive.
    fingerprint : Fingerprint
        Of the archive.
    folder : str
        The folder in the archive that holds the members.
    members : mapping of str to Fingerprint
        The files by name, those for training and, last, the one for testing.
    max_member_bytes : int
        No member is larger.
    """

    name: str
    archive: str
    fingerprint: Fingerprint
    folder: str
    members: Mapping[str, Fingerprint]
    max_member_bytes: int


@dataclass(frozen=True)
class Release:
    """A data set in the format of CIFAR-10: the official one, or a small one made for tests.

    Attributes
    ----------
    binary, python : Edition
        The same images twice.
    records_per_file : int
        Images in each file for training.
    num_test : int or None
        Images in the file for testing; None: as many.
    dataset, title : str
        Key of `qsgd_lab.data.DATASETS`, and the name in messages.
    num_classes : int
    label_bytes : int
        Bytes before the pixels of a record; the last of them is the label.
    label_name : str
        The entry of the Python edition's dictionary that has the labels.
    mean, std : tuple of float
        Of each colour channel over the training images, as generally used.
    """

    binary: Edition
    python: Edition
    records_per_file: int
    num_test: int | None = None
    dataset: str = "cifar10"
    title: str = "CIFAR-10"
    num_classes: int = 10
    label_bytes: int = 1
    label_name: str = "labels"
    mean: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, float, float] = (0.2470, 0.2435, 0.2616)

    @property
    def editions(self) -> tuple[Edition, Edition]:
        """The editions, the one to be preferred first: reading the binary one executes nothing."""
        return self.binary, self.python

    @property
    def counts(self) -> tuple[int, ...]:
        """Images in each file, the one for testing last."""
        num_train_files = len(self.binary.members) - 1
        return *(self.records_per_file,) * num_train_files, self.num_test or self.records_per_file

    @property
    def fetch_command(self) -> str:
        """What downloads it."""
        return "qsgd-lab data fetch" + ("" if self.dataset == "cifar10" else f" {self.dataset}")


_RECORDS = 10_000

_BINARY_SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
_PYTHON_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

OFFICIAL = Release(
    binary=Edition(
        name="binary",
        archive="cifar-10-binary.tar.gz",
        fingerprint=Fingerprint(
            170_052_171,
            "c32a1d4ab5d03f1284b67883e8d87530",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        folder="cifar-10-batches-bin",
        members={
            name: Fingerprint(_RECORDS * RECORD_BYTES, None, sha256)
            for name, sha256 in _BINARY_SHA256.items()
        },
        max_member_bytes=_RECORDS * RECORD_BYTES,
    ),
    python=Edition(
        name="python",
        archive="cifar-10-python.tar.gz",
        fingerprint=Fingerprint(
            170_498_071,
            "c58f30108f718f92721af3b95e74349a",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
        folder="cifar-10-batches-py",
        members={name: Fingerprint(md5=md5) for name, md5 in _PYTHON_MD5.items()},
        max_member_bytes=_RECORDS * (RECORD_BYTES + 200),  # besides the pixels, a file name an image
    ),
    records_per_file=_RECORDS,
)

_HUNDRED_RECORD_BYTES = 2 + IMAGE_BYTES

OFFICIAL_100 = Release(
    binary=Edition(
        name="binary",
        archive="cifar-100-binary.tar.gz",
        fingerprint=Fingerprint(
            168_513_733,
            "03b5dce01913d631647c71ecec9e9cb8",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
        folder="cifar-100-binary",
        members={
            "train.bin": Fingerprint(
                50_000 * _HUNDRED_RECORD_BYTES,
                sha256="f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
            ),
            "test.bin": Fingerprint(
                10_000 * _HUNDRED_RECORD_BYTES,
                sha256="d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
            ),
        },
        max_member_bytes=50_000 * _HUNDRED_RECORD_BYTES,
    ),
    python=Edition(
        name="python",
        archive="cifar-100-python.tar.gz",
        fingerprint=Fingerprint(169_001_437, "eb9058c3a382ffc7106e4002c42a8d85"),
        folder="cifar-100-python",
        members={
            "train": Fingerprint(md5="16019d7e3df5f24257cddd939b257f8d"),
            "test": Fingerprint(md5="f0ef6b0ae62326f3e7ffdfab6717acfc"),
        },
        max_member_bytes=50_000 * (RECORD_BYTES + 200),
    ),
    records_per_file=50_000,
    num_test=10_000,
    dataset="cifar100",
    title="CIFAR-100",
    num_classes=100,
    label_bytes=2,  # the coarse label of twenty, then the fine one
    label_name="fine_labels",
    mean=(0.5071, 0.4866, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)
