"""The messages of a bucket: which runs travel together, how a run's is made, and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.encode import encode
from qsgd_lab.coding.header import crc32c
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE
from qsgd_lab.coding.mean import divide_sum, end_mean
from qsgd_lab.coding.message import version_of
from qsgd_lab.coding.rest import RestEncoder
from qsgd_lab.compressors import QSGD, ErrorFeedback
from qsgd_lab.compressors.message_wire import MessageWire
from qsgd_lab.compressors.methods.qsgd import QuantizedWire
from qsgd_lab.compressors.protocol import Compressor, Layout
from qsgd_lab.distributed.gradient_layout import Run, message_length
from qsgd_lab.distributed.lane import Bytes
from qsgd_lab.errors import MessageError
from qsgd_lab.stream import Stream

Vector = NDArray[np.float32]

#: Of QSGD's messages.
LAYOUTS = ("fixed", "auto", "ranged")
#: Coordinates from which on runs are sent, while those after them are encoded.
_ENOUGH = 1 << 17
#: After values in float32.
CHECKSUM_BYTES = 4
#: Bytes at multiples of which a message begins in memory, or it is copied.
_ALIGNMENT = 8
#: Of the length before what does not tell its own.
_LENGTH_BYTES = 8


def of_one_message(compressor: Compressor, spec: str) -> tuple[Compressor, bool]:
    """Return what makes a bucket's messages, without its error feedback, and whether it had any.

    Raises
    ------
    ValueError
        If the compressor needs more than one message, a learning rate, shifts, or a feedback of its own.
    """
    has_feedback = type(compressor) is ErrorFeedback
    if type(compressor) is ErrorFeedback:
        if (compressor.unit, compressor.beta, compressor.decay) != ("gradient", 1, 1):
            raise ValueError(
                f"{spec}: the hook knows no learning rate and keeps all that was not sent: "
                "write ef(...) without unit, beta and decay"
            )
        compressor = compressor.inner
    if any(one.keeps_errors for one in compressor.chain()):  # as ef-forgotten, for replays, does
        raise ValueError(f"{spec} has another error feedback than the hook's; write ef(...) around the rest")
    if compressor.interactive:
        raise ValueError(f"{spec} takes several rounds; the hook sends one message a bucket")
    if compressor.decodes_differences:
        raise ValueError(f"{spec} sends differences to shifts, which the hook does not keep")
    return compressor, has_feedback


class Group(NamedTuple):
    """Runs of a bucket that are sent together, by their number.

    Attributes
    ----------
    coded : list of int
        Each has a message.
    raw : list of int
        In float32, with one checksum, after the messages.
    """

    coded: list[int]
    raw: list[int]


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Return a bucket's runs in groups, each as soon as it has enough coordinates."""
    groups, group, size = [], Group([], []), 0
    for number, run in enumerate(runs):
        (group.raw if run.is_raw else group.coded).append(number)
        size += run.kept.stop - run.kept.start
        if size >= _ENOUGH:
            groups.append(group)
            group, size = Group([], []), 0
    if size or not groups:
        groups.append(group)
    return groups


class RunMessages:
    """Makes and reads messages of runs.

    Parameters
    ----------
    compressor : Compressor
    layout : {"fixed", "auto", "ranged"}
        Of QSGD's messages.
    """

    def __init__(self, compressor: Compressor, layout: str) -> None:
        if getattr(compressor, "layout", "auto") != "auto":
            layout = "auto"  # what the compressor's wire packs has the layout that it names
        self.compressor, self.layout = compressor, layout
        self._states: dict[tuple[int, ...], Any] = {}
        is_plain = type(compressor) is QSGD and layout == "fixed"
        #: The compressor, where the length of a message follows from its tensors.
        self._fixed: QSGD | None = compressor if is_plain else None  # type: ignore[assignment]
        self._is_fused = self._fixed is not None and self._fixed.backend != "reference"
        self._version = 1 if self._fixed is None else self._fixed.stream_version
        self._encoders: dict[tuple[int, ...], RestEncoder] = {}
        # TernGrad's payload is one of QSGD's kind as well, but its wire packs another format.
        self._is_chosen = isinstance(compressor.wire, QuantizedWire) and layout != "auto"
        # Other wires, as that of raw-small, write several messages in a row, or what they like.
        self._is_prefixed = not isinstance(compressor.wire, QuantizedWire | MessageWire)

    @property
    def is_length_known(self) -> bool:
        """Whether the length of a message follows from its tensors."""
        return self._fixed is not None

    def forget(self, at: tuple[int, ...]) -> None:
        """Drop the compressor's state of a key."""
        self._states.pop(at, None)
        self._encoders.pop(at, None)

    def make(
        self,
        vector: Vector,
        kept: tuple[Vector, Vector] | None,
        read: Vector,
        layout: Layout,
        stream: Stream,
        at: tuple[int, ...],
    ) -> Bytes:
        """Return the message of a vector, and write what receivers read of it.

        Parameters
        ----------
        vector : float32, shape (n,)
        kept : (float32, float32) or None
            What was not sent before, which is added; and where to write what is not sent now.
        read : float32, shape (n,)
            Overwritten, with 0 for -0, as in a sum that begins with 0; may be the memory of the vector.
        layout, stream
        at : tuple of int
            The key of the compressor's state.
        """
        if kept is not None and self._is_fused:
            encoder = self._encoder(layout, at)
            message = np.empty(encoder.num_bytes, np.uint8)
            encoder.encode((vector, *kept, read), stream.kernel_key(self._version), message)
            return message
        compressor = self.compressor
        if at not in self._states:
            self._states[at] = compressor.init(layout)
        own = vector if kept is None else np.add(vector, kept[0], out=kept[1])
        if not _is_finite(own):
            own = np.full_like(own, np.nan)  # what a method leaves out would hide it from the others
        payload, self._states[at] = compressor.compress(own, self._states[at], stream)
        if self._is_chosen:
            packed = encode(payload, layout=self.layout, effort=0)
        else:
            packed = compressor.wire.pack(payload)
        np.add(compressor.decompress(payload), np.float32(0), out=read)
        if kept is not None:
            kept[1][...] -= read
        message = np.frombuffer(packed, np.uint8)
        length = np.array([message.size], "<u8").view(np.uint8)
        return np.concatenate([length, message]) if self._is_prefixed else message

    def _encoder(self, layout: Layout, at: tuple[int, ...]) -> RestEncoder:
        found = self._encoders.get(at)
        if found is None:
            qsgd = self._fixed
            assert qsgd is not None
            is_stochastic = qsgd.rounding == "stochastic"
            parts = qsgd.init(layout)
            found = RestEncoder(parts, qsgd.levels, DEFAULT_CHUNK_SIZE, qsgd.norm, stochastic=is_stochastic)
            self._encoders[at] = found
        return found

    def add(self, message: Bytes, layout: Layout, total: Vector) -> None:
        """Add a message's values to a sum."""
        start = _LENGTH_BYTES if self._is_prefixed else 0
        self.compressor.add_decoded(bytes(message[start:]), layout, total)

    def reader(self, data: Bytes) -> Reader:
        """Return what cuts a rank's bytes into messages."""
        return Reader(data, is_prefixed=self._is_prefixed)

    def end(self, message: Bytes, layout: Layout, total: Vector, nodes: int) -> bool:
        """Add the last message's values to a sum, and divide it; return whether all of the mean is finite."""
        if not self._is_fused or version_of(message) != 1:
            self.add(message, layout, total)
            return divide_sum(total, nodes)
        if message.__array_interface__["data"][0] % _ALIGNMENT:  # kernels are compiled for aligned norms
            message = message.copy()
        return end_mean(message, layout.sizes, total, nodes)


def _is_finite(vector: Vector) -> bool:
    """Return whether all of a vector is finite; a finite sum says so in less time."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(vector.sum()) or np.isfinite(vector).all())


class Reader:
    """A rank's messages, one after the other.

    Parameters
    ----------
    data : uint8
    is_prefixed : bool
        Whether the length of a message is before it, rather than in its header.
    """

    def __init__(self, data: Bytes, *, is_prefixed: bool = False) -> None:
        self._data, self._is_prefixed = data, is_prefixed

    def rest(self) -> Bytes:
        """Return what follows the messages that were read."""
        return self._data

    def next(self) -> Bytes:
        """Return the next message.

        Raises
        ------
        MessageError
            If there are fewer bytes than a message has.
        """
        if not self._is_prefixed:
            length = message_length(self._data)
        else:
            length = _LENGTH_BYTES + int.from_bytes(bytes(self._data[:_LENGTH_BYTES]), "little")
            if length > self._data.size:
                raise MessageError("it ends too early", "truncated")
        message, self._data = self._data[:length], self._data[length:]
        return message


def raw_bytes(values: Vector) -> Bytes:
    """Return values in float32 as bytes, with a checksum."""
    whole = np.empty(values.nbytes + CHECKSUM_BYTES, np.uint8)
    whole[:-CHECKSUM_BYTES] = values.view(np.uint8)
    whole[-CHECKSUM_BYTES:] = np.array([crc32c(values)], np.uint32).view(np.uint8)
    return whole


def add_raw(data: Bytes, total: Vector) -> None:
    """Add values in float32 to a sum.

    Raises
    ------
    MessageError
        If they are damaged.
    """
    size = total.nbytes
    if data.size != size + CHECKSUM_BYTES or crc32c(data[:size]) != int.from_bytes(data[size:], "little"):
        raise MessageError("values in float32 do not match their checksum", "damaged")
    total += data[:size].view(np.float32)


def joined(parts: Sequence[Bytes]) -> Bytes:
    """Return messages one after the other, in memory of their own."""
    return np.concatenate([np.empty(0, np.uint8), *parts])
