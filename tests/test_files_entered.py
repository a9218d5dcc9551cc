"""How many files a reader opens to follow one gradient through the library."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import numpy as np

import qsgd_lab
from qsgd_lab import decode, dequantize, encode, quantize

MOST = 25
PACKAGE = Path(qsgd_lab.__file__).parent


def files_entered(function, *arguments) -> set[str]:
    """Return the files of the package with a function that runs; of compiled code, the entry points."""
    entered = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and PACKAGE in Path(frame.f_code.co_filename).parents:
            entered.add(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return entered - {__file__}


def round_trip(gradient: np.ndarray) -> np.ndarray:
    """README's first example."""
    return dequantize(decode(encode(quantize(gradient, 4))))


def test_a_gradient_passes_few_files():
    """README's quantize, encode, decode, dequantize enters at most 25 files of the package."""
    gradient = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    round_trip(gradient)  # imports and caches are not of the way

    entered = files_entered(round_trip, gradient)

    assert {"quantization.py", "encode.py", "decode.py"} <= {Path(name).name for name in entered}
    assert len(entered) <= MOST, sorted(entered)
