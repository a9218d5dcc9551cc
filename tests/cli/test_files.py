"""Files that a user names: written whole or not at all, through links, never in the place of a device."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qsgd_lab import files
from qsgd_lab.errors import UsageError
from qsgd_lab.files import check_place, save, temporary_path


def names_in(folder: Path) -> list[str]:
    """Return the names of all that is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def test_links_are_followed(tmp_path: Path) -> None:
    """The file at the end of a chain of links is replaced or made; the links stay, the folder stays clean."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "inner").symlink_to("folder/file")
    (tmp_path / "outer").symlink_to("inner")
    for content in (b"made", b"replaced"):
        save(tmp_path / "outer", content)
        assert (tmp_path / "folder" / "file").read_bytes() == content
    assert (tmp_path / "outer").is_symlink()
    assert (tmp_path / "inner").is_symlink()
    assert names_in(tmp_path / "folder") == ["file"]


def test_what_is_no_ordinary_file_is_refused_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders, pipes, sockets, devices, links to them and links in a circle are refused, and not replaced."""
    names = {name: tmp_path / name for name in ("folder", "pipe", "socket", "link", "circle", "device")}
    names["folder"].mkdir()
    os.mkfifo(names["pipe"])
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's name has at most 107 bytes
        server.bind("socket")
        names["link"].symlink_to("pipe")
        names["circle"].symlink_to("circle")
        names["device"].symlink_to(os.devnull)
        before = {name: os.lstat(path) for name, path in names.items()}
        for path in names.values():
            for refuse in (check_place, lambda path: save(path, b"x")):
                with pytest.raises(UsageError, match=path.name):
                    refuse(path)
        after = {name: os.lstat(path) for name, path in names.items()}
    assert {name: (s.st_ino, s.st_mode) for name, s in after.items()} == {
        name: (s.st_ino, s.st_mode) for name, s in before.items()
    }
    assert names_in(tmp_path) == sorted(names)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_open_streams_are_refused(tmp_path: Path) -> None:
    """A name of an open stream, or a link to one, is refused: what `>>` had kept would be lost."""
    with (tmp_path / "log").open("ab") as stream:
        stream.write(b"before")
        stream.flush()
        (tmp_path / "link").symlink_to(f"/dev/fd/{stream.fileno()}")
        for name in ("/dev/fd/", "/proc/self/fd/", f"/proc/{os.getpid()}/task/{os.getpid()}/fd/"):
            with pytest.raises(UsageError, match="open already"):
                save(Path(f"{name}{stream.fileno()}"), b"x")
        with pytest.raises(UsageError, match="link is a stream"):
            check_place(tmp_path / "link")
    assert (tmp_path / "log").read_bytes() == b"before"
    assert names_in(tmp_path) == ["link", "log"]


def test_permissions_are_kept(tmp_path: Path) -> None:
    """A file that is replaced keeps its permissions; a new one has those that the umask gives."""
    path = tmp_path / "file"
    (tmp_path / "plain").touch()
    save(path, b"new")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    path.chmod(0o640)
    save(path, b"again")
    assert path.stat().st_mode & 0o777 == 0o640


def test_long_names(tmp_path: Path) -> None:
    """A name as long as the file system allows is written; a longer one is one clear line."""
    save(tmp_path / ("é" * 127), b"x")
    with pytest.raises(UsageError, match="too long"):
        save(tmp_path / ("x" * 256), b"x")


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """What raises while it writes leaves the old file and nothing beside it."""
    path = tmp_path / "file"
    save(path, b"old")

    def fail(file: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        save(path, fail)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_what_the_dead_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write removes parts of the same file by dead processes of this host, and no others."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    monkeypatch.setattr(files.socket, "gethostname", lambda: "this.host")
    path = tmp_path / "a[1].npy"
    mine = temporary_path(path).name.removesuffix(f".{os.getpid()}.part")
    dead = f"{mine}.{process.pid}.part"
    kept = [f"{mine}.1.part", f".a[1].npy.other.{process.pid}.part", f".b{mine}.{process.pid}.part"]
    for name in (dead, *kept):
        (tmp_path / name).touch()
    save(path, b"x")
    assert names_in(tmp_path) == sorted([path.name, *kept])


def lab(arguments: list[str], folder: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process of its own, with its output on a pipe."""
    command = [sys.executable, "-m", "qsgd_lab", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=False)


def test_messages_go_through_pipes(tmp_path: Path) -> None:
    """`-` is standard input and output: encode | decode gives what files give, and makes no file named -."""
    gradient = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    np.save(tmp_path / "g.npy", gradient)
    lab(["encode", "g.npy", "-o", "m", "--bits", "3"], tmp_path)
    lab(["decode", "m", "-o", "r.npy"], tmp_path)
    encoded = lab(["encode", "-", "-o", "-", "--bits", "3"], tmp_path, (tmp_path / "g.npy").read_bytes())
    decoded = lab(["decode", "-", "-o", "-"], tmp_path, encoded.stdout)
    inspected = lab(["inspect", "-"], tmp_path, encoded.stdout)
    assert encoded.stdout == (tmp_path / "m").read_bytes()
    assert decoded.stdout == (tmp_path / "r.npy").read_bytes()
    assert (encoded.returncode, decoded.returncode, inspected.returncode) == (0, 0, 0)
    assert names_in(tmp_path) == ["g.npy", "m", "r.npy"]
