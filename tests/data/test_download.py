"""Downloads: whole and right, or not there at all; from servers of every kind."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import flaky_server
import pytest
from filelock import FileLock
from flaky_server import Behaviour
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qsgd_lab.data.cifar10.fetch import archive_urls, fetch_cifar10, is_offline
from qsgd_lab.data.cifar10.release import OFFICIAL
from qsgd_lab.data.download.download import MAX_STALLS, Download
from qsgd_lab.data.download.fingerprint import measure_bytes
from qsgd_lab.data.download.partial_file import PartialFile
from qsgd_lab.errors import DataMissingError, IntegrityError

CONTENT = bytes(range(256)) * 1000
FINGERPRINT = measure_bytes(CONTENT)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def target(tmp_path):
    """Return where the file is to be, in a folder that is not there yet."""
    return tmp_path / "cache" / "data" / "file"


class Fetched:
    """One download with all that it told."""

    def __init__(self, target: Path, *urls: str) -> None:
        self.seen: list[tuple[int, int]] = []
        self.notices: list[str] = []
        self.waits: list[float] = []
        Download(
            urls,
            target,
            FINGERPRINT,
            progress=lambda done, total: self.seen.append((done, total)),
            notice=self.notices.append,
            wait=self.waits.append,
        ).run()


def leftovers(target: Path) -> set[str]:
    """Return the names in the folder, locks left out."""
    return {path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")}


def start(target: Path, content: bytes) -> None:
    """Leave a beginning, as a download that was killed does."""
    target.parent.mkdir(parents=True)
    target.with_name("file.part").write_bytes(content)


def test_a_file_comes_whole(target):
    """From a good server the file arrives in one request, with progress to the end and nothing left over."""
    good = Behaviour(CONTENT)
    with flaky_server.serving(good) as url:
        fetched = Fetched(target, url)

    assert target.read_bytes() == CONTENT
    assert leftovers(target) == {"file"}
    assert good.requests == [None]
    assert fetched.seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetched.notices == fetched.waits == []


def test_a_broken_transfer_goes_on(target):
    """After each break the next request asks for what is still to come, and no byte is fetched twice."""
    flaky = Behaviour(CONTENT, drop_after=[1000, 1, 100_000])
    with flaky_server.serving(flaky) as url:
        fetched = Fetched(target, url)

    assert target.read_bytes() == CONTENT
    assert flaky.requests == [None, "bytes=1000-", "bytes=1001-", "bytes=101001-"]
    assert len(fetched.waits) == 3
    assert all("broke off" in notice for notice in fetched.notices)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60_000), max_size=6), st.booleans())
def test_wherever_it_breaks_the_file_is_right(tmp_path, drops, ranges):
    """However often and wherever a server breaks off, with ranges or without, the file is right."""
    target = tmp_path / "any" / "file"
    shutil.rmtree(target.parent, ignore_errors=True)
    # Without ranges each attempt begins again; rising drops still bring something new each time.
    behaviour = Behaviour(CONTENT, sorted(set(drops)), ranges=ranges)
    with flaky_server.serving(behaviour) as url:
        Fetched(target, url)
    assert target.read_bytes() == CONTENT


def test_a_killed_download_goes_on(target):
    """What an earlier process left is carried on with."""
    start(target, CONTENT[:5000])
    good = Behaviour(CONTENT)
    with flaky_server.serving(good) as url:
        fetched = Fetched(target, url)

    assert target.read_bytes() == CONTENT
    assert good.requests == ["bytes=5000-"]
    assert fetched.seen[0][0] > 5000


def test_a_complete_beginning_needs_no_server(target):
    """When all bytes had come and only the name was missing, nothing is asked for."""
    start(target, CONTENT)
    Fetched(target, flaky_server.closed_port())
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("beginning", [b"\1" * 5000, CONTENT[:-1] + b"\0", CONTENT + b"more"])
def test_a_wrong_beginning_is_forgotten(target, beginning):
    """What was left and does not fit is thrown away, and the file fetched from nothing."""
    start(target, beginning)
    with flaky_server.serving(Behaviour(CONTENT)) as url:
        Fetched(target, url)
    assert target.read_bytes() == CONTENT
    assert leftovers(target) == {"file"}


def test_a_server_without_ranges_starts_again(target):
    """A server that sends only whole files is taken at its word: what had come is replaced, not doubled."""
    start(target, CONTENT[:5000])
    old = Behaviour(CONTENT, ranges=False)
    with flaky_server.serving(old) as url:
        fetched = Fetched(target, url)

    assert target.read_bytes() == CONTENT
    assert "only whole files" in fetched.notices[0]


def test_a_server_that_never_gets_further_is_given_up(target):
    """Without ranges, breaking at the same place again and again counts as no progress; what came is kept."""
    stuck = Behaviour(CONTENT, drop_after=[3000] * 99, ranges=False)
    with flaky_server.serving(stuck) as url, pytest.raises(DataMissingError, match="broke off"):
        Fetched(target, url)

    assert len(stuck.requests) == 1 + MAX_STALLS
    assert leftovers(target) == {"file.part"}
    assert target.with_name("file.part").read_bytes() == CONTENT[:3000]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_server_is_asked_again(target, status):
    """Statuses that may pass are waited out, longer each time."""
    busy = Behaviour(CONTENT, status=[status, status])
    with flaky_server.serving(busy) as url:
        fetched = Fetched(target, url)

    assert target.read_bytes() == CONTENT
    assert fetched.waits == [2.0, 4.0]


def test_a_server_without_the_file_is_asked_once(target):
    """404 is final for an address; the next one is tried."""
    absent, good = Behaviour(b"", status=[404]), Behaviour(CONTENT)
    with flaky_server.serving(absent) as first, flaky_server.serving(good) as second:
        fetched = Fetched(target, first, second)

    assert target.read_bytes() == CONTENT
    assert len(absent.requests) == 1
    assert "HTTP status 404" in fetched.notices[0]


def test_the_next_address_goes_on_where_the_first_stopped(target):
    """What one address gave is not asked of the next."""
    dying, good = Behaviour(CONTENT, drop_after=[7000], status=[]), Behaviour(CONTENT)
    dying.drop_after += [0] * 10
    with flaky_server.serving(dying) as first, flaky_server.serving(good) as second:
        Fetched(target, first, second)

    assert target.read_bytes() == CONTENT
    assert good.requests == ["bytes=7000-"]


@pytest.mark.parametrize(
    "garbage", [b"<html>Please log in</html>", CONTENT[::-1], CONTENT + b"more", CONTENT[1:], b""]
)
def test_something_else_under_the_name_is_refused(target, garbage):
    """A page, another file of the same size, a longer or a shorter one leave nothing; exit code 4."""
    with flaky_server.serving(Behaviour(garbage)) as url, pytest.raises(IntegrityError) as caught:
        Fetched(target, url)
    assert len(str(caught.value).splitlines()) == 1
    assert leftovers(target) == set()


@pytest.mark.parametrize("garbage", [b"<html>Please log in</html>", CONTENT])
def test_a_page_does_not_replace_what_has_come(target, garbage):
    """An answer of unknown length is refused before the beginning that is there is given up."""
    start(target, CONTENT[:5000])
    page = Behaviour(garbage, ranges=False, says_length=False)
    with flaky_server.serving(page) as url, pytest.raises(DataMissingError, match="does not say how long"):
        Fetched(target, url)
    assert target.with_name("file.part").read_bytes() == CONTENT[:5000]


def test_garbage_at_one_address_does_not_spoil_the_next(target):
    """After a wrong file from one address the next one starts from nothing and is enough."""
    with (
        flaky_server.serving(Behaviour(CONTENT[::-1])) as wrong,
        flaky_server.serving(Behaviour(CONTENT)) as right,
    ):
        fetched = Fetched(target, wrong, right)
    assert target.read_bytes() == CONTENT
    assert "sent a file that has sha256" in fetched.notices[0]


def test_another_part_than_asked_for_is_refused(target):
    """An answer with the wrong range is not pasted in."""
    start(target, CONTENT[:5000])
    shifted = Behaviour(CONTENT, wrong_range=True)
    with flaky_server.serving(shifted) as url, pytest.raises(DataMissingError, match="another part than"):
        Fetched(target, url)
    assert target.with_name("file.part").read_bytes() == CONTENT[:5000]


def test_redirections_are_followed_to_the_web_only(target, tmp_path):
    """A redirection to another http address is followed; one to a local file is not."""
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    start(target, CONTENT[:5000])
    good = Behaviour(CONTENT)
    with flaky_server.serving(good) as url, flaky_server.serving(Behaviour(b"", redirect=url)) as detour:
        Fetched(target, detour)
    assert target.read_bytes() == CONTENT
    assert good.requests == ["bytes=5000-"]

    target.unlink()
    for elsewhere in (secret.as_uri(), "ftp://127.0.0.1/file"):
        with (
            flaky_server.serving(Behaviour(b"", redirect=elsewhere)) as detour,
            pytest.raises(DataMissingError),
        ):
            Fetched(target, detour)
    with pytest.raises(DataMissingError, match="not an http or https address"):
        Fetched(target, secret.as_uri())
    assert not target.exists()


def test_no_network_is_one_line(target):
    """When nobody answers at any address, the error names each, the file, and what to do; exit code 3."""
    with pytest.raises(
        DataMissingError, match=r"cannot fetch file: 127\.0\.0\.1:\d+ cannot be reached"
    ) as caught:
        Fetched(target, flaky_server.closed_port(), flaky_server.closed_port())
    assert str(caught.value).count("refused") == 2
    assert FINGERPRINT.sha256 in str(caught.value)
    assert leftovers(target) == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_is_one_line(target):
    """When the disk is full in mid-transfer, one line says so, and the file does not appear; exit code 3."""
    target.parent.mkdir(parents=True)
    target.with_name("file.part").symlink_to("/dev/full")
    no_space = pytest.raises(DataMissingError, match="No space left on device; free some space")
    with flaky_server.serving(Behaviour(CONTENT)) as url, no_space:
        Fetched(target, url)
    assert not target.exists()


def test_a_disk_without_room_is_known_before(target, monkeypatch):
    """Nothing is asked of a server when the disk cannot hold what is still to come."""
    start(target, CONTENT[:1000])
    usage = shutil.disk_usage(target.parent)._replace(free=len(CONTENT) - 1001)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    good = Behaviour(CONTENT)
    with flaky_server.serving(good) as url, pytest.raises(DataMissingError, match="needs 255000 bytes more"):
        Fetched(target, url)
    assert good.requests == []


@pytest.mark.parametrize("method", ["mkdir", "open", "replace"])
def test_a_read_only_cache_is_one_line(target, monkeypatch, method):
    """A folder that cannot be made or written in, at any stage, is one line; exit code 3."""

    def refuse(self, *args, **options):
        raise OSError(30, "Read-only file system", str(self))

    with flaky_server.serving(Behaviour(CONTENT)) as url:
        monkeypatch.setattr(Path, method, refuse)
        with pytest.raises(DataMissingError, match="Read-only file system; free some space, or name"):
            Fetched(target, url)
        monkeypatch.undo()
    assert not target.exists()


def test_a_folder_under_a_file_is_refused(tmp_path):
    """A data folder that cannot be a folder is one line; exit code 3."""
    (tmp_path / "file").touch()
    with pytest.raises(DataMissingError, match="cannot write"):
        Fetched(tmp_path / "file" / "data" / "file", flaky_server.closed_port())


def test_two_processes_do_not_write_one_file(target):
    """While another process fetches the file, the second one says so and touches nothing."""
    start(target, CONTENT[:5000])
    busy = pytest.raises(DataMissingError, match="another process is fetching")
    with FileLock(target.with_name(".file.lock")), busy:
        Fetched(target, flaky_server.closed_port())
    assert target.with_name("file.part").read_bytes() == CONTENT[:5000]


def test_the_old_file_stands_until_the_new_one_is_right(target):
    """A damaged file at the target is replaced by a good one, and kept if none comes."""
    start(target, b"")
    target.write_bytes(b"damaged")
    with pytest.raises(DataMissingError):
        Fetched(target, flaky_server.closed_port())
    assert target.read_bytes() == b"damaged"

    with flaky_server.serving(Behaviour(CONTENT)) as url:
        Fetched(target, url)
    assert target.read_bytes() == CONTENT


def test_an_interrupt_keeps_what_came(target):
    """Ctrl-C leaves the beginning, which the next download goes on with."""

    def interrupt(done, total):
        raise KeyboardInterrupt

    good = Behaviour(CONTENT)
    with flaky_server.serving(good) as url:
        with pytest.raises(KeyboardInterrupt):
            Download([url], target, FINGERPRINT, progress=interrupt, notice=print).run()
        kept = PartialFile(target).size()
        assert kept > 0
        Fetched(target, url)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_offline_opens_no_socket(tmp_path, monkeypatch, by):
    """Offline, not even a socket is made; the error names the file and its checksums."""
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket was opened"))
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("a connection was opened"))
    if by == "variable":
        monkeypatch.setenv("QSGD_LAB_OFFLINE", "1")
    with pytest.raises(DataMissingError) as caught:
        fetch_cifar10(tmp_path, progress=print, notice=print, offline=by == "argument")
    wanted = OFFICIAL.binary.fingerprint
    for part in (str(tmp_path / "cifar-10-binary.tar.gz"), str(wanted.num_bytes), wanted.md5, wanted.sha256):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), ("", False), ("0", False), ("off", False), ("1", True), ("YES", True)],
)
def test_the_offline_variable_is_read_as_people_write_it(monkeypatch, value, expected):
    """0, no, off, false and nothing mean online; everything else offline."""
    monkeypatch.delenv("QSGD_LAB_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("QSGD_LAB_OFFLINE", value)
    assert is_offline() is expected


def test_the_users_mirror_goes_first(monkeypatch):
    """QSGD_LAB_CIFAR_URL, a file or a folder, overrides the University of Toronto."""
    monkeypatch.delenv("QSGD_LAB_CIFAR_URL", raising=False)
    official = archive_urls("a.tar.gz")
    assert all(url.startswith("https://") and url.endswith("/a.tar.gz") for url in official)
    monkeypatch.setenv("QSGD_LAB_CIFAR_URL", "http://mirror/folder/")
    assert archive_urls("a.tar.gz") == ["http://mirror/folder/a.tar.gz", *official]
    monkeypatch.setenv("QSGD_LAB_CIFAR_URL", "http://mirror/other.tgz")
    assert archive_urls("a.tar.gz") == ["http://mirror/other.tgz", *official]
