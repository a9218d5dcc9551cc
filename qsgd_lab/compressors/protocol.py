"""The interface of a gradient compressor: a pure pair of functions, a wire, and one optional fused entry.

A method writes `compress` and `variance_factor`, and sets `wire` and `is_unbiased`, as attributes of its
class or properties. A method with a state overrides `init`; one whose payload is none of wire format 2
overrides `decompress`. A method that can quantize, decode, average and count in one pass overrides `mean`. A
method of several rounds (such as PowerSGD) or of sums that a network can add up (all-reduce) sets
`interactive` and overrides `rounds`.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from qsgd_lab.arrays import flat_gradient, is_torch, like_input, not_compiled
from qsgd_lab.compressors import calls
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.stream import Stream
from qsgd_lab.wire import message

#: A float32 NumPy array, or a float32 torch tensor on a device.
Array = Any
P = TypeVar("P")


@dataclass(frozen=True)
class Layout:
    """The tensors that a gradient is made of.

    Attributes
    ----------
    shapes : tuple of tuple of int
        Shape of each tensor, in the order in which the flat gradient holds them.
    """

    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, num_coordinates: int, tensor_sizes: Sequence[int] | None = None) -> Layout:
        """Return the layout of flat tensors of these sizes, or of one tensor.

        Raises
        ------
        ValueError
            If the sizes do not add up to `num_coordinates`.
        """
        sizes = (num_coordinates,) if tensor_sizes is None else tuple(tensor_sizes)
        if sum(sizes) != num_coordinates:
            raise ValueError(
                f"tensor sizes add up to {sum(sizes)}, but the gradient has {num_coordinates} coordinates"
            )
        return cls(tuple((size,) for size in sizes))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Coordinates of each tensor."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def num_coordinates(self) -> int:
        """Coordinates of the gradient, n."""
        return sum(self.sizes)


class NodeRows(NamedTuple):
    """What N nodes want to send: gradients, residuals, or the sum of both.

    Attributes
    ----------
    gradients : float32, shape (N, n), or None
        None where the caller has already added them to the residuals.
    residuals : float32, shape (N, n), or None
        Added to the gradients, and overwritten by what was not sent. None without error feedback.
    """

    gradients: Array | None = None
    residuals: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, n)."""
        rows = self.gradients if self.gradients is not None else self.residuals
        return tuple(rows.shape)  # type: ignore[union-attr]


class Gather(NamedTuple):
    """A round in which every node receives every node's payload; answered by their list, in node order."""

    payload: Any


class Reduce(NamedTuple):
    """A round in which the network averages an array; answered by the mean over the nodes."""

    array: Array


class Agreed(NamedTuple):
    """The end of the rounds of one node.

    Attributes
    ----------
    mean : float32, shape (n,)
        The same at every node.
    sent : float32, shape (n,)
        What the node's own vector contributed; error feedback keeps the rest.
    state
        For the next step.
    """

    mean: Array
    sent: Array
    state: Any


Rounds = Generator[Gather | Reduce, Any, Agreed]


class Wire(ABC, Generic[P]):
    """The bytes of a payload.

    Attributes
    ----------
    kind : str
        Name of the payload's format.
    """

    kind: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        calls.put_around(cls, dict.fromkeys(("size", "pack", "unpack"), calls.exact))

    @abstractmethod
    def size(self, payload: P) -> Size:
        """Return the exact size by form, without coding; the form "message" is 8 len(pack(payload))."""

    @abstractmethod
    def pack(self, payload: P) -> bytes:
        """Return the message that is sent."""

    @abstractmethod
    def unpack(self, message: bytes, layout: Layout) -> P:
        """Read a message that is not trusted, for gradients of a layout that the receiver knows.

        Raises
        ------
        MessageError
            If an encoder would not have written it for this layout.
        """


#: Functions of a method that `torch.compile` must not trace: their arithmetic is NumPy's or Numba's.
_NOT_COMPILED = dict.fromkeys(("compress", "decompress", "mean", "add_decoded"), not_compiled)
#: What is put around the functions that a method writes.
_AROUND: dict[str, Callable[[Any], Any]] = {
    "init": calls.layout_first,
    "init_nodes": calls.layout_first,
    "compress": calls.gradient_first,
    "rounds": calls.gradient_first_in_rounds,
    **dict.fromkeys(("decompress", "mean", "add_decoded", "at_rate"), calls.exact),
}


class Compressor(ABC):
    """Turns a flat float32 gradient into a payload and back.

    State is passed, never hidden: ``compress`` returns what the next call needs. A compressor knows nothing
    of nodes, models or training; the stream names whose gradient it is and of which step.

    Attributes
    ----------
    aggregates : {"gathers", "sums"}
        Whether nodes need each other's payloads, or their sum alone (then a network can all-reduce).
    interactive : bool
        Whether agreement takes the rounds of `rounds`, rather than one exchange of payloads.
    takes_device_arrays : bool
        Whether gradients may be torch tensors on a device; otherwise an exchange copies them to host memory.
    decodes_differences : bool
        Whether payloads are differences to what receivers keep: one alone is not a gradient.
    keeps_errors : bool
        Whether it keeps what was not sent, and sends it later.
    needs_feedback : bool
        Whether it leaves out the same part of like gradients step after step, so that what was not sent must
        be sent later.
    contracts_by_data : bool
        Whether it never enlarges the error, as a projection, and takes a share away that depends on the data:
        feedback is sound, though `contraction` knows no delta for every vector.
    method_text : str or None
        The text by which the registry made it, such as "terngrad"; None if it was made otherwise.
    """

    aggregates: str = "gathers"
    interactive: bool = False
    takes_device_arrays: bool = False
    decodes_differences: bool = False
    keeps_errors: bool = False
    needs_feedback: bool = False
    contracts_by_data: bool = False
    method_text: str | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        calls.put_around(cls, _AROUND)
        calls.put_around(cls, _NOT_COMPILED)

    def __repr__(self) -> str:
        """Return the call that makes the compressor, without arguments at their default."""
        given = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = vars(self).get(name, parameter.default)
            if parameter.default is parameter.empty and isinstance(value, Compressor):
                given.append(repr(value))
            elif value is not parameter.default and value != parameter.default:
                given.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"

    def chain(self) -> Iterator[Compressor]:
        """Yield the compressor, and what it wraps, from the outside in."""
        one: Compressor | None = self
        while one is not None:
            yield one
            one = getattr(one, "inner", None)

    @calls.layout_first
    def init(self, layout: Layout) -> Any:
        """Return the first state for gradients of a layout; by default None: there is no state.

        A state is None, a number, an array, or a list, tuple, dict or dataclass of states: checkpoints keep
        it. What begins as None may become a number or an array, and a dict may gain numbers and arrays.
        """
        return None

    def read(self, gradient: Any) -> Array:
        """Return a gradient as `compress` is given it, by `flat_gradient`."""
        return flat_gradient(gradient, self.takes_device_arrays)

    @abstractmethod
    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[Any, Any]:
        """Return (payload, next state); the arguments are left as they are."""

    @not_compiled
    @calls.exact
    def decompress(self, payload: Any) -> Array:
        """Return the gradient that a receiver reads from a payload, float32, shape (n,).

        By default the dense values of a payload of wire format 2.
        """
        return message.dense(payload)

    @property
    @abstractmethod
    def wire(self) -> Wire[Any]:
        """The bytes of this compressor's payloads."""

    @property
    @abstractmethod
    def is_unbiased(self) -> bool:
        """Whether E[decompress(compress(v))] = v for every v."""

    @abstractmethod
    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return a w with E||Q(v) - v||^2 <= w ||v||^2 for every v; None if none is known."""

    def contraction(self, num_coordinates: int) -> float | None:
        """Return a delta > 0 with E||Q(v) - v||^2 <= (1 - delta) ||v||^2 for all v; None if none is known."""
        factor = self.variance_factor(num_coordinates)
        return None if factor is None or factor >= 1 else 1 - factor

    def buffer(self, states: Any) -> Array | None:
        """Return the array of shape (N, n) to which gradients may be added instead of being passed.

        With error feedback this is the residuals: one array and one pass over memory less. Then `mean` is
        called with neither gradients nor residuals. None where there is no such array.
        """
        return None

    def at_rate(self, states: Any, rate: float) -> Any:
        """Return the states for a step of this learning rate, of one node or of all.

        Only what is kept in units of the update depends on it.
        """
        return states

    def settled(self, before: Any, after: Any, mean: Array) -> Any:
        """Return the state that one node goes on with, now that it knows the mean of all nodes.

        It is `after`, which `compress` returned, but for methods that take a step back: then `before`.
        """
        return after

    @calls.layout_first
    def init_nodes(self, nodes: int, layout: Layout, like: Array | None = None) -> Any:
        """Return the first states of N nodes, for `mean`.

        `like` is an array of the kind that the gradients have: large states are kept where it is, in host
        memory or on a device.
        """
        return [self.init(layout) for _ in range(nodes)]

    @calls.exact
    def mean(self, rows: NodeRows, states: Any, stream: Stream, out: Array, ledger: Ledger) -> Any:
        """Write the mean of what a receiver decodes of N nodes to `out`, and return the next states.

        Compress, decompress, add and count node by node, and one division; overridden where one pass does
        all of it. The states given are spent.

        Parameters
        ----------
        rows : NodeRows
        states
            Of all nodes, from `init_nodes` or an earlier call.
        stream : Stream
            Of the first node; node i draws from ``stream.node + i``.
        out : float32, shape (n,)
            Overwritten.
        ledger : Ledger
        """
        after = []
        out[...] = 0
        for node, state in enumerate(states):
            vector = node_vector(rows, node)
            payload, state = self.compress(vector, state, stream._replace(node=stream.node + node))
            sent = self.decompress(payload)
            if is_torch(out) and not is_torch(sent):  # rows in host memory
                sent = like_input(sent, out)
            out += sent
            if rows.residuals is not None:
                vector -= sent  # the residual's own row: see node_vector
            ledger.add(self.wire.size(payload))
            after.append(state)
        divide(out, len(after))
        return after

    @calls.exact
    def add_decoded(self, message: bytes, layout: Layout, total: Array) -> None:
        """Add the values of a received message to `total`, float32, shape (n,).

        After an error `total` may hold part of them.

        Raises
        ------
        MessageError
            As `Wire.unpack`.
        """
        total += self.decompress(self.wire.unpack(message, layout))

    @calls.gradient_first_in_rounds
    def rounds(self, vector: Array, state: Any, stream: Stream) -> Rounds:
        """Agree with the other nodes round by round; the default is one exchange of payloads."""
        payload, state = self.compress(vector, state, stream)
        payloads = yield Gather(payload)
        mean = zeros((vector.shape[0],), like=vector)
        for received in payloads:
            mean += self.decompress(received)
        divide(mean, len(payloads))
        return Agreed(mean, self.decompress(payload), state)


class Stateless(Compressor):
    """Keeps nothing from step to step: the state is the layout, by which gradients' length is checked."""

    def init(self, layout: Layout) -> Layout:
        """Return the layout; where `compress` is given None instead, gradients of any length are taken."""
        return layout


def node_vector(rows: NodeRows, node: int) -> Array:
    """Return what a node sends: its gradient, or its row of the residuals, to which its gradient is added."""
    if rows.residuals is None:
        assert rows.gradients is not None
        return rows.gradients[node]
    vector = rows.residuals[node]
    if rows.gradients is not None:
        vector += rows.gradients[node]
    return vector


def divide(total: Array, nodes: int) -> None:
    """Divide a sum over nodes by their number, in place, rounded as on every backend."""
    if is_torch(total):  # by a tensor: on a device, torch multiplies by the inverse of a number instead
        total /= total.new_full((1,), nodes)
    elif nodes > 1:
        total /= np.float32(nodes)


def zeros(shape: tuple[int, ...], like: Any) -> Array:
    """Return float32 zeros where `like` is: in host memory, or a torch tensor on its device."""
    return like.new_zeros(shape) if is_torch(like) else np.zeros(shape, np.float32)
