"""Quantization kernels: scalar arithmetic is written once, and backend folders hold only loops and launches.

``philox`` and ``fixed_point`` define the arithmetic of one coordinate; ``reference`` says the same in plain
NumPy, slowly and with no shared code. ``cpu`` and ``cuda`` are loops over them. ``jit`` compiles; importing
this package or ``constants`` alone loads nothing else.
"""
