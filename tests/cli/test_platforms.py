"""Without what only POSIX systems have, the package imports and the commands run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

#: Makes this interpreter, and those that it starts, one without. On Linux filelock and asyncio load with it.
SITE = """
import asyncio, errno, filelock, multiprocessing.util, os, select, signal, subprocess, sys
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

    def run(*arguments, program=("-m", "qsgd_lab"), **options):
        return subprocess.run(
            [sys.executable, *program, *arguments],
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


#: Runs several commands, a JSON list of arguments, and says last how each ended.
SEVERAL = """
import json, sys
from qsgd_lab.cli.main import main
sys.stderr.write(json.dumps([main(arguments) for arguments in json.loads(sys.argv[1])]))
"""


def test_messages_and_measures_work(lab):
    """Encode, decode, inspect and variance end well, and files that are there are replaced."""
    gradient = np.random.default_rng(0).standard_normal(600).astype(np.float32)
    np.save(lab.folder / "g.npy", gradient)
    commands = [
        ["encode", "g.npy", "-o", "m.qsgd", "--bits", "3"],
        ["encode", "g.npy", "-o", "m.qsgd", "--bits", "3"],
        ["decode", "m.qsgd", "-o", "back.npy"],
        ["inspect", "m.qsgd"],
        ["variance", "--bits", "2", "--dim", "64"],
        ["--help"],
        ["methods"],
        ["decode", "absent.qsgd"],
    ]
    done = lab(program=["-c", SEVERAL, json.dumps(commands)])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    *_, error, codes = done.stderr.splitlines()
    assert json.loads(codes) == [0] * 7 + [2]
    assert error.startswith("Error: ")
    assert np.load(lab.folder / "back.npy").shape == (600,)
    done = lab("--version")
    assert done.returncode == 0, done.stderr


def test_a_sweep_trains_and_is_found_again(lab):
    """Worker processes start, runs are stored and printed, and the same command repeats none of them."""
    sweep = ("reproduce", "--nodes", "2", "--seeds", "0", "--epochs", "1", "--bits", "4", "--format", "text")
    sweep += ("--jobs", "1")
    first, second = lab(*sweep), lab(*sweep)
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert len(list(lab.folder.glob("runs/*/run.json"))) == 2
