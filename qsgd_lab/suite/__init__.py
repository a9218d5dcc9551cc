"""The pinned benchmark: every method at equal wire bits and gradients, tuned alike; see docs/benchmark.md."""
