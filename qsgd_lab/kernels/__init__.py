"""Quantization kernels: scalar arithmetic stands once; backend files hold only loops and launches.

``philox`` and ``fixed_point`` define what one coordinate undergoes; ``reference`` says the same in plain
NumPy, slowly and with no shared code; ``cpu.norms``, ``cpu.quantize`` and ``cpu.accumulate`` are loops over
them.
"""

from pathlib import Path

from qsgd_lab.kernels.cache import drop_stale_kernels

drop_stale_kernels(Path(__file__).parent)
