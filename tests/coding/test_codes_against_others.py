"""Our codewords against a coder of other authors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.coding.elias import codeword

elias = pytest.importorskip("compintpy.elias")


@pytest.mark.parametrize("code", ["gamma", "delta", "omega"])
@given(st.lists(st.integers(1, 2**30), min_size=1, max_size=40))
def test_integers_have_compintpys_bits(code: str, integers: list[int]) -> None:
    """Positive integers, one after the other, give the same bits in reading order (no sign mapping)."""
    coder = getattr(elias, f"Elias{code.capitalize()}")(0, False)
    theirs = np.unpackbits(coder.compress(np.array(integers, np.int32)))
    ours = "".join(codeword(k, code) for k in integers)
    assert "".join(map(str, theirs[: len(ours)])) == ours
    assert not theirs[len(ours) :].any()
    assert theirs.size - len(ours) < 8
