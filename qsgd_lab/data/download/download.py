"""One large file from several addresses: resumed where it stopped, checked, and there whole or not at all.

Received bytes are kept in ``NAME.part`` until it is complete and its fingerprint is right; only then does it
get its name. The download libraries at hand start again from nothing when a transfer breaks, which at 60 kB/s
costs most of an hour; so this uses urllib.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from qsgd_lab.data.download.fingerprint import Fingerprint
from qsgd_lab.data.download.http import RefusedError, TransferError, WrongContentError, http_body
from qsgd_lab.data.download.partial_file import PartialFile
from qsgd_lab.errors import DataMissingError, IntegrityError

#: Told (bytes so far, bytes in all).
Progress = Callable[[int, int], None]
#: Told, in words, what went otherwise than planned.
Notice = Callable[[str], None]

#: Attempts in a row that bring nothing new before the next address is tried.
MAX_STALLS = 3
_LONGEST_WAIT_S = 30.0


class Download:
    """A file to be fetched.

    Parameters
    ----------
    urls : sequence of str
        http or https addresses, tried in turn; what came from one is carried on with from the next.
    target : Path
        Made, or replaced, only by a file with the right fingerprint. Its folder is made if need be.
    fingerprint : Fingerprint
        Its size must be known.
    progress, notice : callable
    wait : callable
        Sleeps for so many seconds, between attempts.
    """

    def __init__(
        self,
        urls: Sequence[str],
        target: Path,
        fingerprint: Fingerprint,
        *,
        progress: Progress,
        notice: Notice,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        assert fingerprint.num_bytes is not None
        self.urls, self.fingerprint, self.num_bytes = urls, fingerprint, fingerprint.num_bytes
        self.progress, self.notice, self.wait = progress, notice, wait
        self.part = PartialFile(target)

    def run(self) -> None:
        """Make the file.

        Raises
        ------
        DataMissingError
            If no address gave all of it, the folder cannot be written, the disk is full, or another process
            is fetching the same file.
        IntegrityError
            If an address answered with something else and no other had the file.
        """
        with self.part.claimed():
            if self.part.size() > self.num_bytes:
                self.part.discard()
            self.part.ensure_space(self.num_bytes)
            self._from_any()
            self.part.publish()

    def _from_any(self) -> None:
        failures = []
        for url in self.urls:
            try:
                return self._from(url)
            except TransferError as error:
                failures.append(error)
                self.notice(f"{_host(url)} {error}")
        what = "; ".join(f"{_host(url)} {error}" for url, error in zip(self.urls, failures, strict=True))
        if any(isinstance(error, WrongContentError) for error in failures):
            raise IntegrityError(f"{self.part.target.name} was not to be had: {what}; {self._remedy()}")
        raise DataMissingError(f"cannot fetch {self.part.target.name}: {what}; {self._remedy()}")

    def _remedy(self) -> str:
        target = self.part.target
        return f"try again later (what has come is kept), or put {self.fingerprint} there as {target}"

    def _from(self, url: str) -> None:
        """Complete the part from one address and check it; again from nothing if its beginning was bad."""
        had_beginning = self.part.size() > 0
        self._complete(url)
        difference = self.fingerprint.mismatch(self.part.measure())
        if not difference:
            return
        self.part.discard()
        if not had_beginning:
            raise WrongContentError(f"sent a file that {difference}")
        self.notice("what had come before does not fit; starting from nothing")
        self._from(url)

    def _complete(self, url: str) -> None:
        stalls, best = 0, self.part.size()
        while (size := self.part.size()) < self.num_bytes:
            try:
                self._receive(url, size)
            except RefusedError:
                raise
            except TransferError as error:
                # A server that ignores ranges starts again each time: only what goes beyond counts.
                stalls, best = (0, self.part.size()) if self.part.size() > best else (stalls + 1, best)
                if stalls == MAX_STALLS:
                    raise
                self.notice(f"{_host(url)} {error}; trying again")
                self.wait(min(2.0**stalls, _LONGEST_WAIT_S))

    def _receive(self, url: str, start: int) -> None:
        with http_body(url, start, self.num_bytes) as (offset, pieces), self.part.appending(offset) as append:
            if offset < start:
                self.notice(f"{_host(url)} sends only whole files; starting from nothing")
            for piece in pieces:
                append(piece)
                offset += len(piece)
                self.progress(offset, self.num_bytes)


def _host(url: str) -> str:
    return urlsplit(url).netloc or url
