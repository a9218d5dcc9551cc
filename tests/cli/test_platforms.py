"""Without what only POSIX systems have, the package imports and the commands run."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

#: Makes this interpreter, and those that it starts, one without; locks are filelock's affair, loaded before.
SITE = """
import errno, filelock, multiprocessing.util, os, select, signal, subprocess, sys
for module, names in (
    (signal, ("pthread_sigmask", "SIGPIPE", "SIGHUP")),
    (select, ("poll", "epoll")),
    (os, ("sched_getaffinity", "fchmod", "sysconf", "O_CLOEXEC")),
    (errno, ("EDQUOT",)),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.modules["fcntl"] = None
"""


@pytest.fixture
def lab(tmp_path):
    """Return a function that runs the command on such a system, in an empty folder."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def run(*arguments, **options):
        return subprocess.run(
            [sys.executable, "-m", "qsgd_lab", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    run.folder = tmp_path
    return run


def test_the_system_lacks_what_it_should(lab):
    """The attributes are gone in the interpreter that runs the command."""
    code = "import os, select, signal; print([hasattr(signal, 'pthread_sigmask'), hasattr(select, 'poll')])"
    environment = {**os.environ, "PYTHONPATH": str(lab.folder / "site")}
    assert (
        subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        == "[False, False]\n"
    )


def test_messages_and_measures_work(lab):
    """Encode, decode, inspect and variance end well, and files that are there are replaced."""
    gradient = np.random.default_rng(0).standard_normal(600).astype(np.float32)
    np.save(lab.folder / "g.npy", gradient)
    for _ in range(2):
        done = lab("encode", "g.npy", "-o", "m.qsgd", "--bits", "3")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    for arguments in (
        ("decode", "m.qsgd", "-o", "back.npy"),
        ("inspect", "m.qsgd"),
        ("variance", "--bits", "2", "--dim", "64"),
        ("--help",),
        ("methods",),
    ):
        done = lab(*arguments)
        assert done.returncode == 0, done.stderr
    assert np.load(lab.folder / "back.npy").shape == (600,)
    done = lab("decode", "absent.qsgd")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_a_sweep_trains_and_is_found_again(lab):
    """Worker processes start, runs are stored and printed, and the same command repeats none of them."""
    sweep = ("reproduce", "--nodes", "2", "--seeds", "0", "--epochs", "1", "--bits", "4", "--format", "text")
    first, second = lab(*sweep), lab(*sweep)
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert len(list(lab.folder.glob("runs/*/run.json"))) == 2
