"""Counts that stay on the device from step to step, and join a ledger when it is read."""

from __future__ import annotations

from typing import Any

import numpy as np

from qsgd_lab.coding.class_counts import quantized_size
from qsgd_lab.coding.layout_choice import COUNTED
from qsgd_lab.coding.message_costs import (
    MessageCosts,
    length_fields,
    uncounted_costs,
)
from qsgd_lab.ledger import Ledger
from qsgd_lab.levels import FLOAT_BITS, num_classes
from qsgd_lab.partition import Partition


class DeviceCounts:
    """Class counts, and costs, of the quantized gradients of one s, in device memory.

    Parameters
    ----------
    num_levels : int
        s.
    context : DeviceContext
        The device.
    """

    def __init__(self, num_levels: int, context: Any) -> None:
        from qsgd_lab.kernels.cuda.messages.message_cost import FIELD

        self.num_levels, self.context, self.norms = num_levels, context, 0
        self._classes = context.to_device(np.zeros(16, np.int64))
        self._sums = context.to_device(np.zeros(2, np.int64))
        self._lengths = context.to_device(length_fields(FIELD))
        context.wait()
        self._by_shape: dict[tuple[Partition, int], tuple[Any, Any]] = {}

    def measure(self, parts: Partition, levels: Any) -> None:
        """Count the messages of N nodes, whose levels are a Numba array of shape (N, n); nothing waits."""
        from qsgd_lab.kernels.cuda.messages.message_cost import launch_message_costs

        nodes = levels.shape[0]
        if (parts, nodes) not in self._by_shape:  # buffers are left as zeros, and used again
            zeros = np.zeros((nodes, len(COUNTED)), np.int64)
            fixed_bits, fixed_bytes, around = uncounted_costs(parts, self.num_levels)
            constants = fixed_bits, fixed_bytes, self.context.to_device(around)
            buffers = self.context.to_device(zeros), self.context.to_device(zeros)
            self._by_shape[parts, nodes] = buffers, constants
        buffers, constants = self._by_shape[parts, nodes]
        launch_message_costs(
            self.context, levels, self._lengths, buffers, self._classes, constants, self._sums
        )
        self.norms += nodes * parts.num_buckets

    def add_to(self, ledger: Ledger) -> None:
        """Add the counts to a ledger in host memory; this waits for the device."""
        from qsgd_lab.kernels.cuda.device import to_host

        with self.context.active():
            exactly, sums = to_host(self._classes), to_host(self._sums)
        reached = np.cumsum(exactly[::-1])[::-1]  # from "exactly class j" to "class j or higher"
        costs = MessageCosts(int(sums[0]) + self.norms * FLOAT_BITS, 8 * int(sums[1]))
        ledger.add(
            quantized_size(self.num_levels, self.norms, reached[: num_classes(self.num_levels)], costs)
        )


def device_counts(ledger: Ledger, num_levels: int, context: Any) -> DeviceCounts:
    """Return the ledger's counts on a device for s levels, made at first use, on the context's stream."""
    key = (num_levels, context.package, context.device)
    if key not in ledger.pending:
        ledger.pending[key] = DeviceCounts(num_levels, context)
    counts = ledger.pending[key]
    assert isinstance(counts, DeviceCounts)
    if counts.context.stream_handle != context.stream_handle:  # what another stream added must be there
        context.wait()
        counts.context = context
    return counts
