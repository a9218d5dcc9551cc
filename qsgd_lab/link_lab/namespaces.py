"""Network namespaces joined by a bridge, each with a link of a given rate; Linux, as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from qsgd_lab.errors import UsageError

#: Bytes that leave at once before the rate holds; larger than a segment of 64 KiB.
BURST_KB = 128
#: The interface in each namespace.
INTERFACE = "link0"
_SUBNET = "10.77.17"
_CONGESTION = "reno"


class Place(NamedTuple):
    """Where a rank runs: what its command begins with, the interface of its link, and its address."""

    prefix: tuple[str, ...]
    interface: str
    address: str


def loopback(count: int) -> list[Place]:
    """Return places of one machine, unshaped."""
    return [Place((), "lo", "127.0.0.1")] * count


@contextmanager
def shaped(count: int, bandwidth: float) -> Iterator[list[Place]]:
    """Make namespaces, and remove them at the end.

    Parameters
    ----------
    count : int
    bandwidth : float
        Bytes a second, each direction of each link.

    Raises
    ------
    UsageError
        If this is not Linux, not root, or a tool or right is missing.
    """
    check_shaping()
    _remove_stale()
    names = [f"qsgd-{os.getpid()}-{number}" for number in range(count)]
    bridge = f"qsgd-{os.getpid()}-b"
    made: list[str] = []
    try:
        for name in (bridge, *names):
            _run("ip", "netns", "add", name)
            made.append(name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", bridge, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", bridge, "link", "set", "br0", "up")
        for number, name in enumerate(names):
            _join(bridge, f"p{number}", name, f"{_SUBNET}.{number + 1}/24", bandwidth)
        yield [
            Place(("ip", "netns", "exec", name), INTERFACE, f"{_SUBNET}.{number + 1}")
            for number, name in enumerate(names)
        ]
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _remove_stale() -> None:
    """Remove the namespaces of processes that were killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for name in (line.split()[0] for line in listed.splitlines() if line.startswith("qsgd-")):
        if not Path(f"/proc/{name.split('-')[1]}").exists():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def check_shaping() -> None:
    """Refuse where links cannot be shaped.

    Raises
    ------
    UsageError
        With what is missing.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UsageError("a link is shaped on Linux, by root; leave out --shape to measure over loopback")
    absent = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if absent:
        raise UsageError(f"{' and '.join(absent)} not found; on Debian: apt-get install iproute2")


def _join(bridge: str, port: str, name: str, address: str, bandwidth: float) -> None:
    link = (INTERFACE, "netns", name, "type", "veth", "peer", "name", port, "netns", bridge)
    _run("ip", "link", "add", *link)
    _run("ip", "-n", name, "addr", "add", address, "dev", INTERFACE)
    _run("ip", "-n", name, "link", "set", INTERFACE, "up")
    # Every kernel has Reno. BBR, where it is the default, probes for the rate: a step's time varies by 7 %.
    setting = f"echo {_CONGESTION} > /proc/sys/net/ipv4/tcp_congestion_control"
    _run("ip", "netns", "exec", name, "sh", "-c", setting)
    _run("ip", "-n", bridge, "link", "set", port, "master", "br0", "up")
    for place, device in ((name, INTERFACE), (bridge, port)):
        rate = ("rate", f"{round(8 * bandwidth)}bit", "burst", f"{BURST_KB}kb", "latency", "400ms")
        _run("tc", "-n", place, "qdisc", "add", "dev", device, "root", "tbf", *rate)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[:200]
        raise UsageError(f"{' '.join(command)} failed: {said}; measure over loopback, without --shape")
