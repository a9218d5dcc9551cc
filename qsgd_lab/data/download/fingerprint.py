"""The fingerprint of a file: its size and its digests."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import BinaryIO

_PIECE = 1 << 20


@dataclass(frozen=True)
class Fingerprint:
    """Size and digests of a file.

    Attributes
    ----------
    num_bytes : int or None
    md5, sha256 : str or None
        Hex digits. None, here as above: not known, so that it matches anything.
    """

    num_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None

    def mismatch(self, actual: Fingerprint) -> str | None:
        """Return in words where a measured fingerprint differs from this one; None if nowhere."""
        if self.num_bytes not in (None, actual.num_bytes):
            return f"has {actual.num_bytes} bytes instead of {self.num_bytes}"
        for name in ("sha256", "md5"):
            wanted, found = getattr(self, name), getattr(actual, name)
            if wanted not in (None, found):
                return f"has {name} {found} instead of {wanted}"
        return None

    def __str__(self) -> str:
        size = None if self.num_bytes is None else f"{self.num_bytes} bytes"
        digests = [f"{name} {getattr(self, name)}" for name in ("md5", "sha256") if getattr(self, name)]
        return ", ".join([*([size] if size else []), *digests]) or "anything"


def measure(stream: BinaryIO) -> Fingerprint:
    """Return the fingerprint of what a stream still holds, read in pieces."""
    # MD5 is what the data's authors publish; it is compared, never relied on alone where SHA-256 is known.
    md5, sha256, num_bytes = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    while piece := stream.read(_PIECE):
        md5.update(piece)
        sha256.update(piece)
        num_bytes += len(piece)
    return Fingerprint(num_bytes, md5.hexdigest(), sha256.hexdigest())


def measure_bytes(data: bytes) -> Fingerprint:
    """Return the fingerprint of bytes in memory."""
    return measure(io.BytesIO(data))
