"""One request for a file, or for what is still to come of it, and its answer piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import cast
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

TIMEOUT_S = 30.0  # without a single byte
_PIECE = 1 << 16
_MAY_PASS = frozenset({408, 425, 429})  # and all from 500 on: busy, not absent


class TransferError(Exception):
    """The transfer broke off; another attempt may go further."""


class RefusedError(TransferError):
    """The address does not have the file."""


class WrongContentError(RefusedError):
    """The address has something else under that name."""


@contextmanager
def http_body(url: str, start: int, num_bytes: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Ask for a file from byte `start` on.

    Parameters
    ----------
    url : str
        http or https.
    start : int
        What has come already.
    num_bytes : int
        Size of the whole file.

    Yields
    ------
    offset : int
        Where the pieces begin: `start`, or 0 if the server sends only whole files.
    pieces : iterator of bytes
        Adding up to the rest of the file; raises `TransferError` if they end before.

    Raises
    ------
    TransferError
        As its subclasses say.
    """
    with _open(url, start) as response:
        offset = _offset(response, start, num_bytes)
        yield offset, _pieces(response, num_bytes - offset)


def _open(url: str, start: int) -> HTTPResponse:
    if urlsplit(url).scheme not in ("http", "https"):
        raise RefusedError("is not an http or https address")
    headers = {"User-Agent": "qsgd-lab", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        # urllib also opens files and FTP, and follows redirections to the latter: only these handlers here.
        return cast(HTTPResponse, _opener().open(request.Request(url, headers=headers), timeout=TIMEOUT_S))
    except HTTPError as error:
        error.close()
        raise _judge(error.code) from error
    except URLError as error:
        raise TransferError(f"cannot be reached ({_reason(error.reason)})") from error
    except (OSError, HTTPException) as error:
        raise TransferError(f"does not answer ({_reason(error)})") from error


def _opener() -> request.OpenerDirector:
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _judge(status: int) -> TransferError:
    if status == 416:
        return WrongContentError("has a shorter file under that name")
    kind = TransferError if status in _MAY_PASS or status >= 500 else RefusedError
    return kind(f"answers with HTTP status {status}")


def _offset(response: HTTPResponse, start: int, num_bytes: int) -> int:
    """Return where the answer begins, once its headers agree with what was asked for.

    A page in the file's place, such as a form to log in, is thus known before it replaces what has come.
    """
    if response.status == 206:
        answer = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not answer or int(answer[1]) != start:
            raise RefusedError("answers with another part than was asked for")
        size = answer[2]
    else:
        start, size = 0, response.headers.get("Content-Length")
    if size is None:
        raise RefusedError("does not say how long its file is")
    if size != str(num_bytes):
        raise WrongContentError(f"has {size} bytes under that name instead of {num_bytes}")
    return start


def _pieces(response: HTTPResponse, left: int) -> Iterator[bytes]:
    while left:
        try:
            # What has come, not a full piece: after a break nothing of it is lost.
            piece = response.read1(min(left, _PIECE))
        except (OSError, HTTPException) as error:
            raise TransferError(f"broke off ({_reason(error)})") from error
        if not piece:
            raise TransferError(f"broke off {left} bytes before the end")
        left -= len(piece)
        yield piece


def _reason(error: object) -> str:
    """Return an exception, or the text that URLError keeps in its place, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
