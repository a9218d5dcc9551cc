"""A web server on this machine that behaves as badly as it is told to."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """What the server does.

    Attributes
    ----------
    content : bytes
        Of the one file that it has.
    drop_after : list of int
        For the first answers, in order: close the connection after so many bytes of the body.
    ranges : bool
        Whether it heeds Range.
    status : list of int
        For the first answers, in order: refuse with this status.
    says_length : bool
        Whether it announces the length.
    wrong_range : bool
        Answer 206 with another part than was asked for.
    redirect : str
        Send clients elsewhere.
    requests : list of (str or None)
        What the server was asked for: the Range of each request.
    """

    content: bytes
    drop_after: list[int] = field(default_factory=list)
    ranges: bool = True
    status: list[int] = field(default_factory=list)
    says_length: bool = True
    wrong_range: bool = False
    redirect: str = ""
    requests: list[str | None] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Serve while inside; gives the address of the file."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            _answer(self, behaviour)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/file"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, behaviour: Behaviour) -> None:
    asked = handler.headers.get("Range")
    behaviour.requests.append(asked)
    if behaviour.status or behaviour.redirect:
        handler.send_response(behaviour.status.pop(0) if behaviour.status else 302)
        if behaviour.redirect:
            handler.send_header("Location", behaviour.redirect)
        handler.end_headers()
        return
    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and behaviour.ranges else 0
    _send_headers(handler, behaviour, start)
    body = behaviour.content[start:]
    if behaviour.drop_after:
        body = body[: behaviour.drop_after.pop(0)]
    with suppress(ConnectionError):  # a client may have seen enough
        handler.wfile.write(body)
        handler.connection.shutdown(socket.SHUT_RDWR)


def _send_headers(handler: BaseHTTPRequestHandler, behaviour: Behaviour, start: int) -> None:
    size = len(behaviour.content)
    if start >= size > 0:
        handler.send_error(416)
        return
    handler.send_response(206 if start else 200)
    if start:
        first = start + 1 if behaviour.wrong_range else start
        handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
    if behaviour.says_length:
        handler.send_header("Content-Length", str(size - start))
    handler.end_headers()


def closed_port() -> str:
    """Return an address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/file"
