"""``qsgd-lab submit``: shares of a plan, run by tasks, into one store; and claims without locks."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from waiting import wait_until

from qsgd_lab.cli.doctor import machine
from qsgd_lab.cli.main import main
from qsgd_lab.errors import LabError, UsageError
from qsgd_lab.runs import claim
from qsgd_lab.runs.cluster import share_of
from qsgd_lab.runs.store import RunStore

CELLS = ["reproduce", "--nodes", "1,2", "--bits", "2", "--seeds", "0", "--epochs", "1"]


def test_shares_are_a_partition():
    """Every cell is in one share, whatever their number."""
    cells = list(range(11))
    for count in (1, 2, 5, 20):
        shares = [share_of(cells, (index, count)) for index in range(count)]
        assert sorted(cell for share in shares for cell in share) == cells


def test_a_share_is_planned_alone(tmp_path, monkeypatch, capsys):
    """--share 1/2 plans the second and fourth cell; i/k with i = k is refused."""
    monkeypatch.chdir(tmp_path)
    plans = []
    for extra in ([], ["--share", "1/2"]):
        assert main([*CELLS, "--dry-run", "--format", "json", *extra]) == 0
        plans.append([cell["key"] for cell in json.loads(capsys.readouterr().out)["cells"]])
    assert plans[1] == plans[0][1::2]
    assert main([*CELLS, "--share", "2/2"]) == 2
    assert "write i/k" in capsys.readouterr().err


def test_tasks_of_this_machine_make_the_table(tmp_path, monkeypatch, capsys):
    """Two tasks by submitit's local executor: each cell once, and then the table on stdout."""
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    cells = [*CELLS, "--nodes", "1"]
    assert main(["submit", "--executor", "local", "--array", "2", "--wait", "--", *cells]) == 0
    captured = capsys.readouterr()
    assert "preset demo: 1 epoch" in captured.out
    assert "2 were there already" in captured.err
    assert len(list(Path("runs").glob("*/run.json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["table"], "write reproduce"),
        ([], "write reproduce"),
        (["reproduce", "--nods", "2"], "--nods"),
        (["reproduce", "--dry-run"], "leave out --share"),
    ],
)
def test_what_cannot_be_submitted_is_refused_before_any_task(arguments, words, capsys):
    """One line, exit code 2."""
    assert main(["submit", "--executor", "local", "--", *arguments]) == 2
    assert words in capsys.readouterr().err


def hold(path, ready, end):
    """Hold a lease in another process until told to end."""
    with claim.Claim.take(Path(path)):
        ready.set()
        end.wait(60)


def test_a_lease_has_one_holder_and_outlives_none(tmp_path, monkeypatch):
    """Another process waits for it; one of another machine that renews none is taken for dead."""
    monkeypatch.setenv(claim.LOCKS_VARIABLE, "lease")
    monkeypatch.setattr(claim, "LEASE_S", 1.0)
    monkeypatch.setattr(claim, "_leases", {})
    path = tmp_path / "cell.lock"
    context = multiprocessing.get_context("fork")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(path, ready, end))
    process.start()
    assert ready.wait(60)
    assert claim.Claim.take(path) is None
    process.kill()
    process.join()
    marker = path.with_suffix(".lease")
    text = marker.read_text()
    host = next(line for line in text.splitlines() if line.startswith("host="))
    marker.write_text(text.replace(host, "host=elsewhere"))
    assert claim.Claim.take(path) is None  # it may live there
    taken = None
    while taken is None:
        taken = claim.Claim.take(path)
    taken.release()


@pytest.mark.parametrize("content", [b"", b"4626\nanother-node\n"])
def test_a_lease_that_names_no_holder_is_free_in_the_end(tmp_path, monkeypatch, content):
    """A crash may leave an empty file, and another program its own: they hold no cell for ever."""
    monkeypatch.setenv(claim.LOCKS_VARIABLE, "lease")
    monkeypatch.setattr(claim, "LEASE_S", 0.5)
    monkeypatch.setattr(claim, "_leases", {})
    monkeypatch.setattr(claim, "_nameless", {})
    (tmp_path / "cell.lease").write_bytes(content)
    assert claim.Claim.take(tmp_path / "cell.lock") is None  # it may be written just now
    wait_until(
        lambda: (taken := claim.Claim.take(tmp_path / "cell.lock")) is not None and not taken.release()
    )


def test_a_lease_of_another_length_is_one_line(tmp_path, monkeypatch):
    """Another version of the package may have made it."""
    monkeypatch.setenv(claim.LOCKS_VARIABLE, "lease")
    monkeypatch.setattr(claim, "_leases", {})
    with claim.Claim.take(tmp_path / "cell.lock"):
        marker = tmp_path / "cell.lease"
        host = next(line for line in marker.read_text().splitlines() if line.startswith("host="))
        other = marker.read_text().replace(host, "host=elsewhere").replace("60.0", "30.0")
    marker.write_text(other)
    with pytest.raises(LabError, match="was made for another time than 60 s"):
        claim.Claim.take(tmp_path / "cell.lock")


def test_without_locks_every_claim_is_granted(tmp_path, monkeypatch):
    """Where cells were divided beforehand; another word is refused."""
    monkeypatch.setenv(claim.LOCKS_VARIABLE, "none")
    store = RunStore(tmp_path)
    with store.claim("0" * 12), store.claim("0" * 12):
        pass
    monkeypatch.setenv(claim.LOCKS_VARIABLE, "some")
    with pytest.raises(UsageError, match="must be one of: flock, lease, none"):
        store.claim("0" * 12)


def test_doctor_tries_locks_and_names_a_network(tmp_path):
    """Here they hold; on a network it is said that other machines may not see them."""
    assert machine.check_locks(tmp_path / "runs").status == "ok"
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/b {tmp_path} nfs4 rw 0 0\n")
    finding = machine.check_locks(tmp_path / "runs", mounts)
    assert finding.status == "warn"
    assert "not known of nfs4" in finding.detail
    assert "--locks lease" in finding.remedy
