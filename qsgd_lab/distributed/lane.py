"""One thread and one process group, through which everything goes that this package sends.

Collectives are matched by their order on each rank. Callbacks that start collectives of their own, as torch's
PowerSGD hook has them, can order them differently on two ranks, and gloo then aborts the process. One thread
that works in the order of submission cannot; a group of its own keeps the user's collectives out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from qsgd_lab.distributed.costs import measure_network, sums_are_gathered
from qsgd_lab.errors import PeerError
from qsgd_lab.theory.collectives import Network

Bytes = NDArray[np.uint8]
T = TypeVar("T")

#: Torch's own default is half an hour.
DEFAULT_TIMEOUT_S = 60.0
#: How long the ranks that are left wait for each other's sign after a failure.
_SIGN_S = 3.0


class Lane:
    """Collectives in order, by a thread of their own.

    Parameters
    ----------
    timeout_s : float
        After so long without an answer a rank is taken for lost.
    parent : ProcessGroup, optional
        Of the ranks that take part; by default all. Each of them must make a lane.

    Raises
    ------
    RuntimeError
        If no default process group is there: call `torch.distributed.init_process_group` first.
    PeerError
        If not all of the ranks make a lane in time.

    Attributes
    ----------
    network : Network or None
        Latency and bandwidth between the ranks, once `measure` has been called.
    """

    def __init__(self, timeout_s: float = DEFAULT_TIMEOUT_S, parent: dist.ProcessGroup | None = None) -> None:
        self.timeout_s = timeout_s
        self._ranks = dist.get_process_group_ranks(parent or dist.group.WORLD)
        self.rank, self.size = dist.get_rank(parent), len(self._ranks)
        self.group = self._new_group()
        self.device = torch.device("cuda" if dist.get_backend(self.group) == "nccl" else "cpu")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qsgd-lab")
        self.bytes_sent = 0
        self.network: Network | None = None
        self._stored = 0
        self._failed: PeerError | None = None
        self._unannounced: Arriving | None = None

    def _new_group(self) -> Any:
        """Return a group of the parent's ranks alone, in which no other collectives are."""
        timeout = timedelta(seconds=self.timeout_s)
        try:
            if self.size == dist.get_world_size():
                return dist.new_group(timeout=timeout)
            # The ranks outside need not call this.
            return dist.new_group(self._ranks, timeout=timeout, use_local_synchronization=True)
        except RuntimeError as error:  # the store's barrier
            raise PeerError(
                f"not all of ranks {', '.join(map(str, self._ranks))} began in {self.timeout_s:g} s: "
                f"register the hook on every rank of the model's group ({_in_short(error)})"
            ) from error

    def close(self) -> None:
        """End the thread; what was submitted is finished first."""
        self._thread.shutdown(wait=True)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run a function in the thread, after what was submitted before; it may call `gather`."""
        return self._thread.submit(work, *arguments)

    def measure(self) -> None:
        """Measure latency and bandwidth, by which `add_up` then chooses how to send; every rank calls this.

        Raises
        ------
        PeerError
            As `gather`.
        """
        before = self.bytes_sent
        self.network = measure_network(self)
        self.bytes_sent = before

    def gather(self, data: Bytes, length: int | None = None) -> list[Bytes]:
        """Send bytes to every rank, and return every rank's, in the order of ranks.

        Parameters
        ----------
        data : uint8, one dimension
        length : int, optional
            The length of every rank's data, where all know it; otherwise lengths are exchanged first.

        Raises
        ------
        PeerError
            If a rank is lost, or does not answer in time; it names the rank where that can be found out.
        """
        return self.start([data] * self.size, None if length is None else [length] * self.size).wait()

    def scatter(self, parts: Sequence[Bytes]) -> list[Bytes]:
        """Send part r to rank r, and return what every rank has sent to this one, in the order of ranks.

        Parameters
        ----------
        parts : sequence of uint8, one dimension
            One for each rank, of any lengths.

        Raises
        ------
        PeerError
            As `gather`.
        """
        return self.start(parts).wait()

    def start(self, parts: Sequence[Bytes], lengths: Sequence[int] | None = None) -> Arriving:
        """Begin to send part r to rank r; several exchanges may be on their way.

        Ranks must begin their exchanges in one order. They may wait for them in any, if lengths are known.

        Parameters
        ----------
        parts : sequence of uint8, one dimension
            One for each rank, of any lengths. They must not change before they have arrived.
        lengths : sequence of int, optional
            Of what every rank sends to this one, where it is known; otherwise lengths are exchanged first.

        Raises
        ------
        PeerError
            As `gather`.
        """
        self.guarded(self._announce)
        arriving = Arriving(self, parts)
        self.guarded(lambda: arriving.begin(lengths))
        if lengths is None:
            self._unannounced = arriving
        return arriving

    def _announce(self) -> None:
        """Send what waits for its lengths, so that it is begun before what follows it."""
        waiting, self._unannounced = self._unannounced, None
        if waiting is not None:
            waiting.announce()

    def guarded(self, work: Callable[[], T]) -> T:
        """Run a part of an exchange; a failure names who is lost, and every later call fails alike.

        Raises
        ------
        PeerError
            As `gather`.
        """
        if self._failed is not None:
            raise self._failed
        try:
            return work()
        except RuntimeError as error:  # whatever gloo and NCCL raise when a peer is lost
            self._failed = PeerError(self._diagnosis(error))
            raise self._failed from error

    def add_up(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the sum over ranks, added in their order; see `summing`."""
        return finished(self.summing(values))

    def summing(self, values: NDArray[np.float32]) -> Generator[None, None, NDArray[np.float32]]:
        """Return the sum over ranks, added in their order: an all-reduce of torch's adds in another.

        Each rank adds up a share and sends it to all: 2 (W - 1) / W times the values, as in a ring. Or all
        values go to all ranks, where the measured costs say that this takes less time: the same bits.

        Parameters
        ----------
        values : float32, one dimension
            As long on every rank.

        Yields
        ------
        None
            While something is on its way, and before it is waited for.

        Raises
        ------
        PeerError
            As `gather`.
        """
        share = -(-values.size // self.size)
        if self.size == 1 or share == 0:
            return values.copy()
        if self.network is not None and sums_are_gathered(self.size, values.size, self.network):
            own = np.ascontiguousarray(values).view(np.uint8)
            arriving = self.start([own] * self.size, [own.size] * self.size)
            yield
            return _sum_of(arriving.wait())
        padded = np.zeros(share * self.size, np.float32)
        padded[: values.size] = values
        lengths = [4 * share] * self.size
        arriving = self.start(list(padded.view(np.uint8).reshape(self.size, -1)), lengths)
        yield
        total = _sum_of(arriving.wait()).view(np.uint8)
        arriving = self.start([total] * self.size, lengths)
        yield
        return np.concatenate(arriving.wait()).view(np.float32)[: values.size]

    def gather_numbers(self, number: int) -> list[int]:
        """Return an integer of every rank."""
        data = np.array([number], np.int64).view(np.uint8)
        return [int(other.view(np.int64)[0]) for other in self.gather(data, 8)]

    def from_rank_0(self, *numbers: float) -> list[float]:
        """Return rank 0's numbers."""
        data = np.array(numbers, np.float64).view(np.uint8)
        return [float(number) for number in self.gather(data, data.size)[0].view(np.float64)]

    def through_store(self, data: bytes, call: str) -> list[bytes]:
        """Return every rank's text, in UTF-8, through the group's store: slow, and beside all collectives.

        Raises
        ------
        PeerError
            If a rank does not make this call in time; it is named.
        """
        store = dist.distributed_c10d._get_default_store()
        self._stored += 1
        keys = [f"qsgd-lab/{self.group.group_name}/{self._stored}/{rank}" for rank in range(self.size)]
        store.set(keys[self.rank], data.decode())
        try:
            store.wait(keys, timedelta(seconds=self.timeout_s))
        except RuntimeError as error:
            absent = [str(rank) for rank, key in enumerate(keys) if not store.check([key])]
            raise PeerError(
                f"rank {', '.join(absent)} of {self.size} did not call {call} in {self.timeout_s:g} s; "
                "all ranks do, or none"
            ) from error
        return [store.get(key) for key in keys]

    def exchange(self, parts: Sequence[Bytes], received: Sequence[int]) -> Callable[[], list[Bytes]]:
        """Begin one collective; what it returns waits for it, and returns what has arrived."""
        # Of an empty part a byte is sent: gloo ends the process with SIGFPE on empty tensors.
        others = [
            part if part.size else np.zeros(1, np.uint8) for r, part in enumerate(parts) if r != self.rank
        ]
        sent, sizes = ([max(1, size) for size in of] for of in ([part.size for part in parts], received))
        sent[self.rank] = sizes[self.rank] = 0  # its own part a rank has
        flat = others[0] if len(others) == 1 and others[0].flags.writeable else np.concatenate(others)
        own = torch.from_numpy(flat).to(self.device)
        found = torch.empty(sum(sizes), dtype=torch.uint8, device=self.device)
        work = dist.all_to_all_single(found, own, sizes, sent, group=self.group, async_op=True)
        self.bytes_sent += flat.size
        starts = np.cumsum([0, *sizes[:-1]])

        def wait() -> list[Bytes]:
            work.wait()
            arrived = found.cpu().numpy()
            pieces = [arrived[at : at + size] for at, size in zip(starts, received, strict=True)]
            pieces[self.rank] = parts[self.rank]
            return pieces

        return wait

    def _diagnosis(self, error: RuntimeError) -> str:
        """Return which ranks gave no sign after a failure, and what torch said."""
        said = _in_short(error)
        try:
            lost = self._lost_ranks()
        except Exception:  # the store went with who holds it: torchrun's agent says that it does
            by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
            holder = "torchrun" if by_torchrun else f"rank 0 of {self.size}"
            return f"{holder} ended, and with it the store by which ranks find each other: {said}"
        if not lost:
            return f"a collective failed, though all ranks are there: {said}"
        names = ", ".join(map(str, lost))
        many = "ranks" if len(lost) > 1 else "rank"
        late = f"ended or gave no answer in {self.timeout_s:g} s"
        return f"{many} {names} of {dist.get_world_size()} {late}: {said}"

    def _lost_ranks(self) -> list[int]:
        store = dist.distributed_c10d._get_default_store()
        keys = {rank: f"qsgd-lab/alive/{rank}" for rank in self._ranks}  # as all ranks are numbered
        store.set(keys[self._ranks[self.rank]], "1")
        end = time.monotonic() + _SIGN_S
        lost = list(self._ranks)
        while lost and time.monotonic() < end:
            lost = [rank for rank in lost if not store.check([keys[rank]])]
            time.sleep(0.05)
        return lost


class Arriving:
    """What a lane has begun to exchange.

    Parameters
    ----------
    lane : Lane
    parts : sequence of uint8, one dimension
        What goes to each rank.
    """

    def __init__(self, lane: Lane, parts: Sequence[Bytes]) -> None:
        self._lane, self._parts = lane, parts
        self._lengths: Callable[[], list[Bytes]] | None = None
        self._pieces: Callable[[], list[Bytes]] | None = None

    def begin(self, lengths: Sequence[int] | None) -> None:
        """Send the parts, or their lengths where those of the others are not known; the lane calls this."""
        if self._lane.size == 1:
            return
        if lengths is not None:
            self._pieces = self._lane.exchange(self._parts, lengths)
            return
        own = [np.array([part.size]).view(np.uint8) for part in self._parts]
        self._lengths = self._lane.exchange(own, [8] * self._lane.size)

    def announce(self) -> None:
        """Send the parts, once the others' lengths are here; the lane calls this."""
        if self._lengths is not None:
            lengths, self._lengths = self._lengths(), None
            self._pieces = self._lane.exchange(self._parts, [int(of.view(np.int64)[0]) for of in lengths])

    def wait(self) -> list[Bytes]:
        """Return what every rank has sent, in the order of ranks.

        Raises
        ------
        PeerError
            As `Lane.gather`.
        """
        return self._lane.guarded(self._wait)

    def _wait(self) -> list[Bytes]:
        self.announce()
        return list(self._parts) if self._pieces is None else self._pieces()


def finished(steps: Generator[None, None, T]) -> T:
    """Take all steps of a generator, and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value


def _in_short(error: RuntimeError) -> str:
    said = " ".join(str(error).split())
    return said[:160] + ("..." if len(said) > 160 else "")


def _sum_of(parts: Sequence[Bytes]) -> NDArray[np.float32]:
    """Return the sum of float32 vectors, in order."""
    total = np.zeros(parts[0].size // 4, np.float32)
    for part in parts:
        total += part.view(np.float32)
    return total
