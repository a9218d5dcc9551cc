"""docs/wire-format-2.md: its vectors are read by the package and by a reader made from the page alone."""

from __future__ import annotations

import re

import checkout
import naive_wire2
import numpy as np
import pytest

from qsgd_lab.wire.kinds import kinds
from qsgd_lab.wire.message import dense, open_content, pack

PAGE = (checkout.ROOT / "docs" / "wire-format-2.md").read_text(encoding="utf-8")


def vectors():
    """Return {name: (message, bits of its values)} of the page."""
    block = PAGE.split("## Test vectors")[1].split("```")[1]
    pattern = r"^(\w.*) \((\d+) bytes\)\n((?:    [0-9a-f]+\n)+)    values:((?: [0-9a-f]{8})+)\n"
    found = re.findall(pattern, block, re.MULTILINE)
    assert all(int(size) == len(bytes.fromhex(text)) for _, size, text, _ in found)
    return {
        name: (bytes.fromhex(text), [int(bits, 16) for bits in values.split()])
        for name, _, text, values in found
    }


@pytest.mark.parametrize("name", vectors())
def test_vectors_are_read_and_written(name):
    """The page's vectors have the values that it says, by either reader, and packing gives them back."""
    message, bits = vectors()[name]

    received = open_content(message)

    assert dense(received.payload).view(np.uint32).tolist() == bits
    assert naive_wire2.dense(naive_wire2.decode(message)) == bits
    again = pack(received.payload, structure=received.structure, key=received.key, used=received.used)
    assert bytes(again) == message


def test_every_kind_has_a_vector():
    """Each kind but the private ones has a vector, and a row in the table of kinds."""
    named = {naive_wire2.decode(message)["kind"] for message, _ in vectors().values()}
    assert named == {kind.name for kind in kinds()} - {"private"}
    for kind in kinds():
        assert re.search(rf"^\| {kind.number}(–254)? \| {kind.name} \|", PAGE, re.MULTILINE), kind.name
