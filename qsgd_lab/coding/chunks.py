"""What decoding kernels are told of a message's chunks, and what their answers mean."""

from __future__ import annotations

import numpy as np

from qsgd_lab.coding.codewords import CODES
from qsgd_lab.coding.header import Header
from qsgd_lab.coding.layouts import LAYOUTS, fixed_width
from qsgd_lab.errors import MessageError


def kernel_scheme(header: Header) -> tuple[int, int, int, np.uint64]:
    """Return (layout, code, s, fixed width) as the kernels take them."""
    return (
        LAYOUTS[header.layout],
        CODES.get(header.code, 0),
        header.num_levels,
        np.uint64(fixed_width(header.num_levels)),
    )


def raise_unless_good(outcomes: list[tuple[int, int]]) -> None:
    """Raise a `MessageError` for the first (outcome, chunk) that says that a chunk could not be decoded."""
    from qsgd_lab.kernels.decode_cpu import DAMAGED, GOOD

    for outcome, chunk in outcomes:
        if outcome == DAMAGED:
            raise MessageError(f"chunk {chunk} is damaged: its checksum does not match")
        if outcome != GOOD:
            raise MessageError(f"chunk {chunk} is not what an encoder writes")


def check_limit(header: Header, max_coordinates: int | None) -> None:
    """Raise a `MessageError` if a message has more coordinates than its receiver allows."""
    if max_coordinates is not None and header.num_coordinates > max_coordinates:
        raise MessageError(
            f"the message has {header.num_coordinates} coordinates, above the limit of {max_coordinates}"
        )


def check_total(header: Header, size: int) -> None:
    """Raise a `MessageError` if a message has not as many coordinates as what it is to be added to."""
    if header.num_coordinates != size:
        raise MessageError(f"the message has {header.num_coordinates} coordinates, the total {size}")
