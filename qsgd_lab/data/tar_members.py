"""Chosen members of a gzipped tar archive, read from front to back; nothing is ever unpacked to the disk.

An archive is untrusted: its names, sizes and links decide nothing. Members that were not asked for are passed
over if they are small files or folders with harmless names; anything else ends the reading.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

#: Bytes for headers, padding and the small files beside the wanted ones.
_MAX_OTHER_BYTES = 1 << 20
#: What Python's readers raise when the bytes are not what they claim to be.
_BAD_BYTES = (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, OverflowError)


class ArchiveError(Exception):
    """The archive is not what was expected; the text says in what."""


def read_members(archive: BinaryIO, names: Collection[str], max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the wanted members, in the archive's order, each exactly once.

    Parameters
    ----------
    archive : binary file
        The gzipped tar archive, from its start.
    names : collection of str
        The members, with their folders.
    max_bytes : int
        No wanted member may be larger.

    Raises
    ------
    ArchiveError
        If the archive is damaged or cut off, if a wanted member is absent, doubled, too large or no regular
        file, or if any member has a name that leads outside or is large without being wanted.
    """
    missing = set(names)
    bound = len(names) * max_bytes + _MAX_OTHER_BYTES
    try:
        with (
            _BoundedGzip(archive, bound) as unzipped,
            tarfile.open(fileobj=unzipped, mode="r|") as tar,
        ):
            for member in tar:
                if _is_wanted(member, names, max_bytes):
                    if member.name not in missing:
                        raise ArchiveError(f"holds {member.name} twice")
                    missing.remove(member.name)
                    yield member.name, _content(tar, member)
    except _BAD_BYTES as error:
        raise ArchiveError(f"is damaged or cut off ({error})") from error
    if missing:
        raise ArchiveError(f"lacks {', '.join(sorted(missing))}")


def _is_wanted(member: tarfile.TarInfo, names: Collection[str], max_bytes: int) -> bool:
    """Judge a member by its header alone."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise ArchiveError(f"holds {member.name!r}, a name that leads outside")
    is_plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    if not is_plain and not member.isdir():
        raise ArchiveError(f"holds {member.name!r}, which is neither a regular file nor a folder")
    if member.name not in names:
        if member.size > _MAX_OTHER_BYTES:
            raise ArchiveError(f"holds {member.name!r} of {member.size} bytes, which does not belong there")
        return False
    if not is_plain or member.size > max_bytes:
        raise ArchiveError(f"holds {member.name} of {member.size} bytes instead of at most {max_bytes}")
    return True


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # it is a regular file
    content = file.read()
    if len(content) != member.size:
        raise ArchiveError(f"is cut off within {member.name}")
    return content


class _BoundedGzip(gzip.GzipFile):
    """Refuses to give more bytes than there may be: a small archive can unzip to terabytes."""

    def __init__(self, archive: BinaryIO, bound: int) -> None:
        super().__init__(fileobj=archive, mode="rb")
        self._bytes_left = bound

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise ArchiveError("unzips to more than CIFAR-10 has")
        return data
