"""Print the test vectors of docs/wire-format.md, which the test suite reads back from the page."""

from __future__ import annotations

import sys

import numpy as np

import qsgd_lab as ql
from qsgd_lab.partition import partition

LEVELS = [0, 1, 0, -3, 0, 0, 2, -1, 0, 0, 0, 3]


def example() -> ql.QuantizedGradient:
    """Return the gradient of the vectors: s = 3, shape (3, 4), tensors of 5 and 7, buckets of 4."""
    parts = partition(12, 4, (5, 7))
    norms = np.array([2.0, 0.5, 1.0, 4.0], np.float32)
    return ql.QuantizedGradient(np.array(LEVELS, np.int8), norms, 3, "l2", parts, (3, 4))


def vectors() -> list[str]:
    """Return the lines of the vectors: layout, code and the message in hex."""
    lines = []
    for layout, code in [
        ("fixed", "auto"),
        ("dense", "omega"),
        ("dense-signed", "gamma"),
        ("sparse", "delta"),
    ]:
        name = "none" if layout == "fixed" else code
        text = ql.encode(example(), code, layout).hex()
        lines.append(f"{layout} {name}")
        lines += [f"    {text[i : i + 64]}" for i in range(0, len(text), 64)]
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(vectors()) + "\n")
