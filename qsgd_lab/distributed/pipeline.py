"""Several buckets on their way at once, in an order that is the same on every rank."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch

Steps = Generator[None, None, None]

_END = object()


class Pipeline:
    """Buckets whose exchange has begun, the newest first.

    An exchange is a generator, which yields while something is on its way. Each new bucket is begun, and then
    each earlier one taken one step further: which collective follows which depends on the number of buckets
    alone, never on what has arrived, so that no rank can differ from the others.
    """

    def __init__(self) -> None:
        self._going: list[tuple[Steps, torch.Tensor, torch.futures.Future[torch.Tensor]]] = []
        self._done: list[tuple[torch.Tensor, torch.futures.Future[torch.Tensor]]] = []

    def add(self, steps: Steps, buffer: torch.Tensor, future: torch.futures.Future[torch.Tensor]) -> None:
        """Take in a bucket, whose future will have the buffer."""
        self._going.insert(0, (steps, buffer, future))

    def advance(self, *, to_the_end: bool) -> None:
        """Take every bucket one step further, or all of them to their ends.

        The bucket that has ended last is told of by `release` alone.

        Raises
        ------
        Exception
            What an exchange raises; then call `fail`.
        """
        while self._going:
            for bucket in list(self._going):
                steps, buffer, future = bucket
                if next(steps, _END) is _END:
                    self._going.remove(bucket)
                    self.release()
                    self._done.append((buffer, future))
            if not to_the_end:
                return

    def release(self) -> None:
        """Tell those who wait that their buckets have ended."""
        done, self._done = self._done, []
        for buffer, future in done:
            future.set_result(buffer)

    def fail(self, error: Any) -> None:
        """Give all buckets that have not ended an error."""
        going, self._going = self._going, []
        for steps, _, future in going:
            steps.close()
            future.set_exception(error)
