"""Additions to Numba's CUDA simulator that the kernels need: exchange within a warp, and speed.

The simulator runs a Python thread for each thread of a block and polls them at barriers. Here the threads of
a block take turns instead, each running until its next barrier: the same semantics, in a fixed order, some
ten times as fast. A shuffle is a store, a barrier and a load, so that every thread of a block has to reach
it; kernels keep to that. Nothing of this is used where there is a device.
"""

from __future__ import annotations

import threading

import numpy as np
from numba.cuda.simulator import kernel as simulated_kernel
from numba.cuda.simulator.kernelapi import FakeCUDAModule

WARP = 32


def _taken_lock():
    """Return a lock that the first `acquire` waits for: a turn, cheaper than a semaphore."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class TurnTakingThread(simulated_kernel.BlockThread):
    """A thread of a block that runs when it is given the turn, and gives it back at barriers."""

    def __init__(self, *args):
        super().__init__(*args)
        self.turn = _taken_lock()
        self.exchanges = 0

    def run(self):
        """Run the kernel once the turn comes."""
        self.turn.acquire()
        try:
            with np.errstate(all="ignore"):  # a device warns of nothing
                if not self.abort:
                    super().run()
        finally:
            self.done = True
            self._manager.back.release()

    def syncthreads(self):
        """Give the turn back; go on when all live threads have come here."""
        self._manager.back.release()
        self.turn.acquire()
        if self.abort:
            raise RuntimeError("another thread of the block failed")


class TurnTakingBlock(simulated_kernel.BlockManager):
    """Runs the threads of a block one at a time, from barrier to barrier."""

    def __init__(self, *args):
        super().__init__(*args)
        self.back = _taken_lock()
        size = int(np.prod(self._block_dim))
        self.slots = ([None] * size, [None] * size)

    def run(self, grid_point, *args):
        """Run one block to its end.

        Raises
        ------
        Exception
            That of the first thread that fails.
        """
        live = [
            TurnTakingThread(lambda: self._f(*args), self, grid_point, point, self._debug)
            for point in np.ndindex(*self._block_dim)
        ]
        for thread in live:
            thread.done = False
            thread.start()
        while live:
            for thread in live:
                thread.turn.release()
                self.back.acquire()
                if thread.exception:
                    self._abort(live)
                    raise thread.exception[0].with_traceback(thread.exception[1])
            live = [thread for thread in live if not thread.done]

    def _abort(self, threads):
        for thread in threads:
            if not thread.done:
                thread.abort = True
                thread.turn.release()
                self.back.acquire()


def _exchange(value):
    """Return what all threads gave, and one's own place; rows of slots alternate, so one barrier does."""
    thread = threading.current_thread()
    slots = thread._manager.slots[thread.exchanges % 2]
    thread.exchanges += 1
    slots[thread.thread_id] = value
    thread.syncthreads()
    return slots, thread.thread_id


def shfl_sync(_, mask, value, source):
    """Return the value of lane `source` of the warp."""
    slots, me = _exchange(value)
    return slots[me - me % WARP + int(source) % WARP]


def shfl_down_sync(_, mask, value, delta):
    """Return the value of the lane `delta` further; a lane without one gets its own."""
    slots, me = _exchange(value)
    return slots[me + int(delta)] if me % WARP + int(delta) < WARP else value


def shfl_up_sync(_, mask, value, delta):
    """Return the value of the lane `delta` before; a lane without one gets its own."""
    slots, me = _exchange(value)
    return slots[me - int(delta)] if me % WARP >= int(delta) else value


def shfl_xor_sync(_, mask, value, bits):
    """Return the value of the lane whose number differs in `bits`."""
    slots, me = _exchange(value)
    return slots[me ^ int(bits)]


def ballot_sync(_, mask, predicate):
    """Return a uint32 with the bit of each lane whose predicate holds."""
    slots, me = _exchange(bool(predicate))
    first = me - me % WARP
    return np.uint32(sum(1 << lane for lane, holds in enumerate(slots[first : first + WARP]) if holds))


def any_sync(_, mask, predicate):
    """Return whether the predicate of a lane of the warp holds."""
    slots, me = _exchange(bool(predicate))
    first = me - me % WARP
    return any(slots[first : first + WARP])


def syncwarp(_, mask=0xFFFFFFFF):
    """Wait for the block: more than is asked for."""
    threading.current_thread().syncthreads()


def complete_simulator() -> None:
    """Give the simulator's ``cuda`` the operations above, and let its threads take turns."""
    for operation in (
        shfl_sync,
        shfl_down_sync,
        shfl_up_sync,
        shfl_xor_sync,
        ballot_sync,
        any_sync,
        syncwarp,
    ):
        setattr(FakeCUDAModule, operation.__name__, operation)
    simulated_kernel.BlockManager = TurnTakingBlock
