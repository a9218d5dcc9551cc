"""docs/wire-format-2.md: its vectors are read by the package and by a reader made from the page alone."""

from __future__ import annotations

import re

import checkout
import naive_wire2
import numpy as np
import pytest

from qsgd_lab.partition import Partition
from qsgd_lab.wire.kinds import kinds
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.message import dense, open_content, pack
from qsgd_lab.wire.ranged import RangedCode

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


#: Of the draft, what the page's decisions left as it was and the page does not have: message, values.
DRAFT = {
    "block-int": (
        "5153474402090003010000000001688d48000000000000000c00000000000000758f0a2fd603623302030400000000000400000008"
        "000000b76ddb3e2549123f911003050fe70000",
        "3edb6db7 c0400000 00000000 3edb6db7 3fa49249 00000000 "
        "40092492 00000000 bf124925 00000000 40800000 bf924925",
    ),
    "one-bit": (
        "51534744020c0000010000000101e27a48000000000000000c00000000000000d22048883e31583a0100000008000000000080bf00"
        "000040000000bf00000000b900000000000000",
        "40000000 bf800000 bf800000 40000000 40000000 40000000 "
        "bf800000 40000000 bf000000 bf000000 bf000000 bf000000",
    ),
}


@pytest.mark.parametrize("name", DRAFT)
def test_vectors_of_the_draft_are_read_and_written(name):
    """Messages that another program wrote from the draft are read, and written in the same bytes."""
    text, values = DRAFT[name]
    message = bytes.fromhex(text)

    received = open_content(message)

    assert dense(received.payload).view(np.uint32).tolist() == [int(bits, 16) for bits in values.split()]
    assert bytes(pack(received.payload, structure=received.structure)) == message


#: Layout ranged, one state and one table, of another program: levels, s, shift, frequencies, table, chunk.
RANGED = [
    (
        [0, 1, 0, -1, 0, 0, 1, -1, 0, 0, 0, 0, 1, 1, 0, 0],
        (1, 0),
        {0x00: 2048, 0xAA: 1024, 0xC4: 1024},
        "0001000000000000000000000000000000000000000004000010000000000000000008400004",
        "002c8100d0050000",
    ),
    (
        [5, -3, 0, 900, -1, 2],
        (1000, 2),
        {0x00: 2048, 0x01: 512, 0x80: 512, 0xFF: 1024},
        "020300000000000000000000000000000001000000000000000000000000000080000820000240",
        "050b000000781a1084030000",
    ),
]


@pytest.mark.parametrize(("levels", "scheme", "known", "table", "chunk"), RANGED)
def test_tables_and_chunks_of_ranged_are_those_of_another_program(levels, scheme, known, table, chunk):
    """A table and a chunk have the bytes that a second implementation of the page wrote."""
    s, shift = scheme
    frequencies = np.zeros((1, 256), np.uint16)
    frequencies[0, list(known)] = list(known.values())
    code = RangedCode(12, 1, np.array([shift], np.uint8), frequencies, np.zeros(1, np.uint8))
    parts, n = Partition((len(levels),), "model"), len(levels)
    array = np.array(levels, np.int8 if s <= 127 else np.int16)
    payload = Levels(array, np.ones(1, np.float32), s, "max", parts, (n,), "ranged", code)

    assert code.pack_tables().hex() == table
    assert b"".join(payload.coded[2]).hex() == chunk
    assert open_content(pack(payload)).payload.levels.tolist() == levels


def test_the_table_of_kinds_is_the_registry():
    """The page's table of kinds names every kind that is registered, and no other; so do their sizes."""
    table = PAGE.split("\n## Kinds\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (\d+)(?:–254)? \| ([a-z-]+) \|", table, re.MULTILINE)
    assert rows == [(str(kind.number), kind.name) for kind in kinds()]
    headings = re.findall(r"^### (\d+)(?:–254)? ([a-z-]+)$", PAGE, re.MULTILINE)
    assert headings == rows
    sizes = PAGE.split("\n## Sizes without coding\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| ([a-z][a-z-]*)(?:[ ,][^|]*)? \|", sizes, re.MULTILINE)
    assert set(named) - {"kind"} == {kind.name for kind in kinds()}


def test_every_kind_has_a_vector():
    """Each kind but the private ones has a vector."""
    named = {naive_wire2.decode(message)["kind"] for message, _ in vectors().values()}
    assert named == {kind.name for kind in kinds()} - {"private"}
