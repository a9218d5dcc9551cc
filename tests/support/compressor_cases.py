"""Compressors that every law is tested on: the registry's methods at their defaults, and other schemes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.protocol import NodeRows
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Ledger


def _make(text):
    return COMPRESSORS.parse(text).make()


#: Methods at options other than their defaults.
VARIANTS = (
    "rand-k(fraction=0.1,mask=shared)",
    "rand-k(fraction=0.1,values=plain)",
    "grbs(ratio=3,values=unbiased)",
    "nuqsgd(bits=3,convention=published,bucket_size=100)",
    "nuqsgd(bits=8,norm=max,bucket_size=model)",
    "terngrad(clip=0)",
    "qsgd(bits=3,norm=max)",
    "qsgd(bits=1,norm=max,bucket_size=tensor)",
    "qsgd(bits=3,norm=max,rounding=nearest)",
    "damped(qsgd(bits=1,bucket_size=model))",
)
#: Name -> constructor without arguments.
CASES = {
    **{
        name: partial(_make, name)
        for name, method in sorted(COMPRESSORS.methods().items())
        # Methods of several rounds have laws of their own.
        if method.is_listed and not method.is_wrapper and not _make(name).interactive
    },
    **{text: partial(_make, text) for text in VARIANTS},
}
#: Every listed method, wrappers around qsgd and methods of several rounds too; new ones join by themselves.
EVERY = {
    **CASES,
    **{
        text: partial(_make, text)
        for text in (
            *(
                f"{name}(qsgd)" if method.is_wrapper else name
                for name, method in sorted(COMPRESSORS.methods().items())
                if method.is_listed
            ),
            "raw-small(qsgd,up_to=20)",
            "block-int(rounding=stochastic)",
            "hsq(mode=greedy,norm_bits=0)",
            "eden(bits=1,scale=mse)",
        )
    },
}


def average_one(compressor, gradient, layout, stream):
    """Return (what a receiver reads, the ledger) of one node's gradient through the fused entry."""
    out, ledger = np.empty(gradient.size, np.float32), Ledger()
    compressor.mean(NodeRows(gradient[None]), compressor.init_nodes(1, layout), stream, out, ledger)
    return out, ledger


def refuses_damage(compressor, message, layout):
    """Check that every third cut, and every fifth flipped bit, raises MessageError and nothing else."""
    damaged = [message[:stop] for stop in range(0, len(message), 3)]
    for bit in range(0, 8 * len(message), 5):
        flipped = bytearray(message)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for other in damaged:
        with pytest.raises(MessageError):
            compressor.wire.unpack(other, layout)
