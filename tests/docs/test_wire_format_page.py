"""docs/wire-format.md: its vectors are decoded, by the package and by a decoder made from the page."""

from __future__ import annotations

import re

import checkout
import naive_message
import pytest

import qsgd_lab as ql

PAGE = (checkout.ROOT / "docs" / "wire-format.md").read_text(encoding="utf-8")
LEVELS = [0, 1, 0, -3, 0, 0, 2, -1, 0, 0, 0, 3]
NORMS = [2.0, 0.5, 1.0, 4.0]


def vectors():
    """Return {(layout, code): message} of the page."""
    block = PAGE.split("## Test vectors")[1].split("```")[1]
    found = re.findall(r"^([a-z-]+) ([a-z]+)\n((?:    [0-9a-f]+\n)+)", block, re.MULTILINE)
    return {(layout, code): bytes.fromhex(text) for layout, code, text in found}


@pytest.mark.parametrize(("layout", "code"), vectors())
def test_vectors_are_read_and_written(layout, code):
    """The page's vectors decode to what it says, by either decoder, and encoding gives them back."""
    message = vectors()[layout, code]

    received = ql.decode(message)
    naive = naive_message.decode(message)

    assert received.levels.tolist() == naive["levels"] == LEVELS
    assert received.norms.tolist() == list(naive["norms"]) == NORMS
    assert (received.shape, received.partition.tensor_sizes) == ((3, 4), (5, 7))
    assert ql.encode(received, "auto" if code == "none" else code, layout) == message


def test_every_layout_has_a_vector():
    """The page has a vector for each layout, and one for each code."""
    assert {layout for layout, _ in vectors()} == {"fixed", "dense", "dense-signed", "sparse"}
    assert {code for _, code in vectors()} == {"none", "gamma", "delta", "omega"}
