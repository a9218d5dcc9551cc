"""Compressors beside a copy of the gradient and eager torch of the same method, in one thread."""

from __future__ import annotations

import pytest

from qsgd_lab.bench.compressors import measure_compressors

SIZE = 2**22


@pytest.mark.parametrize(
    ("text", "of_copy", "times_torch"), [("eden", 0.10, 5), ("block-int", 0.4, 1), ("top-k", 0, 3)]
)
def test_compress_is_fast_enough(benchmark, text, of_copy, times_torch):
    """Compressing has at least this share of a copy's speed, and is so many times as fast as eager torch."""
    (figure,) = benchmark.pedantic(lambda: list(measure_compressors([text], SIZE, 7)), rounds=1)

    assert figure.copy / figure.compress >= of_copy
    assert figure.torch / figure.compress >= times_torch
