"""One thread and one process group, through which everything goes that this package sends.

Collectives are matched by their order on each rank. Callbacks that start collectives of their own, as torch's
PowerSGD hook has them, can order them differently on two ranks, and gloo then aborts the process. One thread
that works in the order of submission cannot; a group of its own keeps the user's collectives out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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

#: The new name of a function that torch 2.13 deprecates.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor

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

    Raises
    ------
    RuntimeError
        If no default process group is there: call `torch.distributed.init_process_group` first.

    Attributes
    ----------
    network : Network or None
        Latency and bandwidth between the ranks, once `measure` has been called.
    """

    def __init__(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.group = dist.new_group(timeout=timedelta(seconds=timeout_s))
        self.device = torch.device("cuda" if dist.get_backend(self.group) == "nccl" else "cpu")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qsgd-lab")
        self.bytes_sent = 0
        self.network: Network | None = None
        self._failed: PeerError | None = None

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
        return self._guarded(lambda: self._gather(data, length), [data])

    def _guarded(self, collective: Callable[[], list[Bytes]], alone: list[Bytes]) -> list[Bytes]:
        """Run a collective; a failure names who is lost, and every later call fails alike."""
        if self._failed is not None:
            raise self._failed
        if self.size == 1:
            return alone
        try:
            return collective()
        except RuntimeError as error:  # whatever gloo and NCCL raise when a peer is lost
            self._failed = PeerError(self._diagnosis(error))
            raise self._failed from error

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
        return self._guarded(lambda: self._scatter(parts), list(parts))

    def add_up(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the sum over ranks, added in their order: an all-reduce of torch's adds in another.

        Each rank adds up a share and sends it to all: 2 (W - 1) / W times the values, as in a ring. Or all
        values go to all ranks, where the measured costs say that this takes less time: the same bits.

        Parameters
        ----------
        values : float32, one dimension
            As long on every rank.

        Raises
        ------
        PeerError
            As `gather`.
        """
        share = -(-values.size // self.size)
        if self.size == 1 or share == 0:
            return values.copy()
        if self.network is not None and sums_are_gathered(self.size, values.size, self.network):
            return _sum_of(self.gather(np.ascontiguousarray(values).view(np.uint8), values.nbytes))
        padded = np.zeros(share * self.size, np.float32)
        padded[: values.size] = values
        total = _sum_of(self.scatter(list(padded.view(np.uint8).reshape(self.size, -1))))
        sums = self.gather(total.view(np.uint8), total.nbytes)
        return np.concatenate(sums).view(np.float32)[: values.size]

    def gather_numbers(self, number: int) -> list[int]:
        """Return an integer of every rank."""
        data = np.array([number], np.int64).view(np.uint8)
        return [int(other.view(np.int64)[0]) for other in self.gather(data, 8)]

    def from_rank_0(self, *numbers: float) -> list[float]:
        """Return rank 0's numbers."""
        data = np.array(numbers, np.float64).view(np.uint8)
        return [float(number) for number in self.gather(data, data.size)[0].view(np.float64)]

    def _gather(self, data: Bytes, length: int | None) -> list[Bytes]:
        lengths = [length] * self.size if length is not None else self._lengths(data.size)
        longest = max(lengths)
        if longest == 0:  # gloo ends the process with SIGFPE on empty tensors
            return [data[:0]] * self.size
        own = torch.zeros(longest, dtype=torch.uint8)
        own[: data.size] = torch.from_numpy(np.array(data, copy=not data.flags.writeable))
        others = self._all_gather(own)
        self.bytes_sent += longest * (self.size - 1)
        return [others[rank, :size].numpy() for rank, size in enumerate(lengths)]

    def _scatter(self, parts: Sequence[Bytes]) -> list[Bytes]:
        # Of an empty part a byte is sent: gloo ends the process with SIGFPE on empty tensors.
        sent = [max(1, part.size) for part in parts]
        lengths = self._exchange(torch.tensor([part.size for part in parts]).view(torch.uint8), None, None)
        sizes = lengths.view(torch.int64).tolist()
        received = [max(1, size) for size in sizes]
        flat = np.zeros(sum(sent), np.uint8)
        for at, part in zip(np.cumsum([0, *sent[:-1]]), parts, strict=True):
            flat[at : at + part.size] = part
        arrived = self._exchange(torch.from_numpy(flat), sent, received).numpy()
        self.bytes_sent += sum(sent) - sent[self.rank] + 8 * (self.size - 1)
        starts = np.cumsum([0, *received[:-1]])
        return [arrived[at : at + size] for at, size in zip(starts, sizes, strict=True)]

    def _exchange(
        self, flat: torch.Tensor, sent: list[int] | None, received: list[int] | None
    ) -> torch.Tensor:
        """Send pieces of a tensor to the ranks, return theirs joined, in host memory; None: all equal."""
        flat = flat.to(self.device)
        found = flat.new_empty(flat.numel() if received is None else sum(received))
        dist.all_to_all_single(found, flat, received, sent, group=self.group)
        return found.cpu()

    def _lengths(self, size: int) -> list[int]:
        numbers = self._all_gather(torch.tensor([size]).view(torch.uint8))
        self.bytes_sent += 8 * (self.size - 1)
        return [int(number) for number in numbers.view(torch.int64)[:, 0]]

    def _all_gather(self, own: torch.Tensor) -> torch.Tensor:
        """Return every rank's bytes, uint8, shape (W, len(own)), in host memory."""
        own = own.to(self.device)
        found = torch.empty(self.size * own.numel(), dtype=torch.uint8, device=self.device)
        _all_gather(found, own, group=self.group)
        return found.cpu().view(self.size, own.numel())

    def _diagnosis(self, error: RuntimeError) -> str:
        """Return which ranks gave no sign after a failure, and what torch said."""
        said = " ".join(str(error).split())
        said = said[:160] + ("..." if len(said) > 160 else "")
        try:
            lost = self._lost_ranks()
        except Exception:  # the store went with the rank that holds it
            return f"a collective failed, and so did the store that rank 0 or torchrun holds: {said}"
        if not lost:
            return f"a collective failed, though all ranks are there: {said}"
        names = ", ".join(map(str, lost))
        many = "ranks" if len(lost) > 1 else "rank"
        return f"{many} {names} of {self.size} ended or gave no answer in {self.timeout_s:g} s: {said}"

    def _lost_ranks(self) -> list[int]:
        store = dist.distributed_c10d._get_default_store()
        store.set(f"qsgd-lab/alive/{self.rank}", "1")
        end = time.monotonic() + _SIGN_S
        lost = list(range(self.size))
        while lost and time.monotonic() < end:
            lost = [rank for rank in lost if not store.check([f"qsgd-lab/alive/{rank}"])]
            time.sleep(0.05)
        return lost


def _sum_of(parts: Sequence[Bytes]) -> NDArray[np.float32]:
    """Return the sum of float32 vectors, in order."""
    total = np.zeros(parts[0].size // 4, np.float32)
    for part in parts:
        total += part.view(np.float32)
    return total
