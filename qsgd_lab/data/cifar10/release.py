"""The official release of CIFAR-10: its two editions, their files, sizes and checksums.

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

NUM_CLASSES = 10
IMAGE_SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32
RECORD_BYTES = 1 + IMAGE_BYTES
NUM_TRAIN_FILES = 5


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
        The files by name, five for training and, last, the one for testing.
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
        Images in each of the six files.
    """

    binary: Edition
    python: Edition
    records_per_file: int

    @property
    def editions(self) -> tuple[Edition, Edition]:
        """The editions, the one to be preferred first: reading the binary one executes nothing."""
        return self.binary, self.python


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
