"""Reading CIFAR-10 in its four forms, and refusing everything that is not CIFAR-10."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import replace

import cifar_fixture as fixture
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.data.cifar10.find import Source, find_cifar10
from qsgd_lab.data.cifar10.read import read_cifar10
from qsgd_lab.data.cifar10.release import OFFICIAL
from qsgd_lab.data.download.fingerprint import Fingerprint, measure_bytes
from qsgd_lab.data.tar_members import ArchiveError, read_members
from qsgd_lab.errors import DataMissingError, IntegrityError

PINNED = fixture.tiny_release()
OPEN = fixture.tiny_release(pinned=False)
FOLDER = OFFICIAL.binary.folder
FILES = fixture.binary_files()
ARCHIVE = fixture.archive_of(FOLDER, FILES)


def in_archive(tmp_path, content, release=OPEN):
    """Read a binary archive of some content."""
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(content)
    return read_cifar10(Source(path, release, release.binary, is_archive=True))


def altered(name, content):
    """Return the archive with one file's content changed."""
    return fixture.archive_of(FOLDER, FILES | {name: content})


def tar_with(add):
    """Return an archive that `add` fills, with nothing else in it."""
    unzipped = io.BytesIO()
    with tarfile.open(fileobj=unzipped, mode="w") as tar:
        add(tar)
    return gzip.compress(unzipped.getvalue())


@pytest.mark.parametrize("form", ["binary archive", "binary folder", "python archive", "python folder"])
def test_every_form_gives_the_same_arrays(tmp_path, form):
    """Both editions, packed and unpacked, give the images that were written, in the official order."""
    edition = PINNED.binary if "binary" in form else PINNED.python
    files = FILES if "binary" in form else fixture.python_files()
    if "archive" in form:
        (tmp_path / edition.archive).write_bytes(fixture.archive_of(edition.folder, files))
    else:
        fixture.write_folder(tmp_path / edition.folder, files)

    source = find_cifar10([tmp_path], PINNED)
    arrays = read_cifar10(source)
    images, labels = fixture.images_and_labels()
    assert source.form == form
    np.testing.assert_array_equal(arrays.train_images, images[:5].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(arrays.train_labels, labels[:5].ravel())
    np.testing.assert_array_equal(arrays.test_images, images[5])
    np.testing.assert_array_equal(arrays.test_labels, labels[5])
    assert arrays.sha256 == fixture.decoded_sha256()


def test_the_official_release_is_pinned():
    """The official archives have size, MD5 and SHA-256, and each file in them a digest."""
    for edition in OFFICIAL.editions:
        assert None not in (
            edition.fingerprint.num_bytes,
            edition.fingerprint.md5,
            edition.fingerprint.sha256,
        )
        assert len(edition.members) == 6
        assert list(edition.members)[-1].startswith("test_batch")
        assert all(pin.md5 or pin.sha256 for pin in edition.members.values())
    assert {pin.num_bytes for pin in OFFICIAL.binary.members.values()} == {30_730_000}


@pytest.mark.parametrize("position", [0, 5000, -1])
def test_one_changed_byte_is_seen(tmp_path, position):
    """A pinned archive with any byte changed is refused before it is unzipped."""
    damaged = bytearray(ARCHIVE)
    damaged[position] ^= 1
    with pytest.raises(IntegrityError, match=r"binary\.tar\.gz has sha256 .* instead of .*data fetch"):
        in_archive(tmp_path, bytes(damaged), PINNED)


def test_one_changed_pixel_of_a_folder_is_seen(tmp_path):
    """A pinned unpacked file with a changed byte is refused, and named."""
    content = bytearray(FILES["data_batch_4.bin"])
    content[100] ^= 1
    fixture.write_folder(tmp_path / FOLDER, FILES | {"data_batch_4.bin": bytes(content)})
    with pytest.raises(IntegrityError, match=r"holds data_batch_4\.bin, which has sha256"):
        read_cifar10(find_cifar10([tmp_path], PINNED))


def test_a_folder_that_lacks_files_names_them(tmp_path):
    """An interrupted unpacking is refused with the files that are missing."""
    fixture.write_folder(tmp_path / FOLDER, {name: FILES[name] for name in list(FILES)[:4]})
    with pytest.raises(IntegrityError, match=r"lacks data_batch_5\.bin, test_batch\.bin"):
        read_cifar10(find_cifar10([tmp_path], OPEN))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (FILES["data_batch_2.bin"][:-1], "has 61459 bytes instead of 61460"),
        (FILES["data_batch_2.bin"] + b"\0", "61461 bytes instead of at most 61460"),
        (b"", "has 0 bytes instead of 61460"),
        (b"\x0a" + FILES["data_batch_2.bin"][1:], "has label 10; the highest is 9"),
        (b"\xff" + FILES["data_batch_2.bin"][1:], "has label 255; the highest is 9"),
        (FILES["data_batch_2.bin"][:3073] * 20, "training images of class"),
    ],
)
def test_wrong_records_are_refused(tmp_path, content, complaint):
    """Wrong sizes, labels above 9 and classes of unequal numbers are named, in archives and folders."""
    with pytest.raises(IntegrityError, match=complaint):
        in_archive(tmp_path, altered("data_batch_2.bin", content))

    fixture.write_folder(tmp_path / FOLDER, FILES | {"data_batch_2.bin": content})
    with pytest.raises(IntegrityError, match=complaint.replace("at most ", "")):
        read_cifar10(Source(tmp_path / FOLDER, OPEN, OPEN.binary, is_archive=False))


@pytest.mark.parametrize("name", ["../evil", f"{FOLDER}/../../evil", "/tmp/evil", "..\\evil", f"/{FOLDER}/x"])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    """A member whose name climbs out of the folder ends the reading, and nothing is written anywhere."""
    (tmp_path / "inside").mkdir()
    with pytest.raises(IntegrityError, match="a name that leads outside"):
        in_archive(tmp_path / "inside", tar_with(lambda tar: fixture.add_file(tar, name, b"evil")))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_only_regular_files_are_members(tmp_path, kind):
    """Links, devices, pipes and sparse files are refused even under an expected name."""

    def add(tar):
        member = tarfile.TarInfo(f"{FOLDER}/data_batch_1.bin")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)

    with pytest.raises(IntegrityError, match="neither a regular file nor a folder"):
        in_archive(tmp_path, tar_with(add))


def test_a_folder_in_a_files_place_is_refused(tmp_path):
    """An expected name that is a folder is not taken for the file."""

    def add(tar):
        member = tarfile.TarInfo(f"{FOLDER}/data_batch_1.bin")
        member.type = tarfile.DIRTYPE
        tar.addfile(member)

    with pytest.raises(IntegrityError, match=r"data_batch_1\.bin"):
        in_archive(tmp_path, tar_with(add))


def test_a_missing_and_a_doubled_member_are_refused(tmp_path):
    """Each of the six files is there exactly once."""
    without = {name: content for name, content in FILES.items() if name != "data_batch_3.bin"}
    with pytest.raises(IntegrityError, match=rf"lacks {FOLDER}/data_batch_3\.bin"):
        in_archive(tmp_path, fixture.archive_of(FOLDER, without))

    def add(tar):
        for _ in range(2):
            fixture.add_file(tar, f"{FOLDER}/data_batch_3.bin", FILES["data_batch_3.bin"])

    with pytest.raises(IntegrityError, match=r"data_batch_3\.bin twice"):
        in_archive(tmp_path, tar_with(add))


def test_what_unzips_to_too_much_is_refused(tmp_path):
    """A large unwanted member, many small ones and a huge extended header all end the reading early."""
    many = tar_with(lambda tar: [fixture.add_file(tar, f"{FOLDER}/x{i}", bytes(500_000)) for i in range(9)])
    with pytest.raises(IntegrityError, match="unzips to more"):
        in_archive(tmp_path, many)
    with pytest.raises(IntegrityError, match="which does not belong there"):
        in_archive(tmp_path, tar_with(lambda tar: fixture.add_file(tar, "x", bytes(2_000_000))))
    with pytest.raises(IntegrityError, match="unzips to more"):
        in_archive(tmp_path, tar_with(lambda tar: fixture.add_file(tar, "n" * 5_000_000, b"")))


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_cut_archive_is_refused(tmp_path, share):
    """An archive of which only the beginning is there never passes for whole, pinned or not."""
    cut = ARCHIVE[: int(share * len(ARCHIVE))]
    for release in (OPEN, PINNED):
        with pytest.raises(IntegrityError):
            in_archive(tmp_path, cut, release)


def test_an_unreadable_copy_is_missing(tmp_path):
    """A copy that the system does not let us read is data that are missing, with the reason."""
    source = Source(tmp_path / "gone.tar.gz", OPEN, OPEN.binary, is_archive=True)
    with pytest.raises(DataMissingError, match=r"cannot read .*gone\.tar\.gz: No such file"):
        read_cifar10(source)


@settings(max_examples=150)
@given(st.data())
def test_damaged_archives_only_ever_raise_archive_error(data):
    """Whatever bytes of an archive are changed, inside or outside the compression, one error covers it."""
    inside = data.draw(st.booleans())
    content = bytearray(gzip.decompress(SMALL) if inside else SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        # Headers are at the front of the unzipped archive; bytes there matter most.
        position = data.draw(st.integers(0, min(len(content), 4096) - 1))
        content[position] = data.draw(st.integers(0, 255))
    archive = gzip.compress(bytes(content), 1) if inside else bytes(content)
    names = [f"{FOLDER}/{name}" for name in FILES]
    try:
        members = dict(read_members(io.BytesIO(archive), names, 50))
    except ArchiveError:
        return
    assert sorted(members) == sorted(names)
    assert all(len(content) <= 50 for content in members.values())


SMALL = fixture.archive_of(FOLDER, {name: name.encode() * 2 for name in FILES})


def test_a_fingerprint_compares_what_it_knows():
    """Fields that are None match anything; the first difference is named with both values."""
    actual = measure_bytes(b"abc")
    assert actual.md5 == "900150983cd24fb0d6963f7d28e17f72"
    assert Fingerprint().mismatch(actual) is None
    assert actual.mismatch(actual) is None
    assert Fingerprint(num_bytes=4).mismatch(actual) == "has 3 bytes instead of 4"
    assert replace(actual, md5="0").mismatch(actual) == f"has md5 {actual.md5} instead of 0"
    assert replace(actual, sha256="0").mismatch(actual) == f"has sha256 {actual.sha256} instead of 0"
    assert str(Fingerprint(3, "m")) == "3 bytes, md5 m"
