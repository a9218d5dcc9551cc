"""What every compressor's functions do first, so that no method writes it: read the gradient, keep denormals.

`Compressor` puts these around the functions that a method writes. The costs are a few comparisons a call.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Generator, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from qsgd_lab.stream import Stream

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

#: The smallest denormal number, from its bits: the product is 0 in a thread that flushes, and nowhere else.
_DENORMAL, _ONE = struct.unpack("<d", b"\1" + bytes(7))[0], 1.0


def put_around(cls: type, around: Mapping[str, Callable[[Any], Any]]) -> None:
    """Replace the functions that a class itself writes by what `around` makes of them."""
    for name in around.keys() & vars(cls).keys():
        setattr(cls, name, around[name](vars(cls)[name]))


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that keeps denormal numbers, also in a thread that flushes them to zero.

    On processors other than x86-64 and 64-bit Arm, and without Numba's compiler, nothing is switched.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _DENORMAL * _ONE:
            return function(*args, **kwargs)
        import numpy as np

        from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode

        mode = keep_denormals()
        try:
            return function(*args, **kwargs)
        finally:
            set_float_mode(np.uint64(mode))

    return call


def gradient_first(compress: F) -> F:
    """Return `compress` that is given a flat float32 gradient of the state's length, or is not called."""

    @functools.wraps(compress)
    def call(self: Any, gradient: Any, state: Any, stream: Stream) -> Any:
        x = _read(self, gradient, state, stream)
        try:
            return compress(self, x, state, stream)
        except AttributeError as error:
            if state is None and type(self).init.__qualname__ != "Compressor.init":
                raise TypeError("state is None; give what init(layout) or the last call returned") from error
            raise

    return cast(F, exact(call))


def gradient_first_in_rounds(rounds: F) -> F:
    """Return `rounds` with the same reader; while it waits for an answer, the caller's float mode is back."""

    @functools.wraps(rounds)
    def call(self: Any, vector: Any, state: Any, stream: Stream) -> Generator[Any, Any, Any]:
        send = exact(rounds(self, _read(self, vector, state, stream), state, stream).send)
        answer = None
        while True:
            try:
                move = send(answer)
            except StopIteration as end:
                return end.value
            answer = yield move

    return cast(F, call)


def layout_first(init: F) -> F:
    """Return `init` or `init_nodes` that refuses what is no layout."""
    place = 2 if init.__name__ == "init_nodes" else 1

    @functools.wraps(init)
    def call(*args: Any, **kwargs: Any) -> Any:
        layout = args[place] if len(args) > place else kwargs.get("layout")
        if not hasattr(layout, "shapes"):
            raise TypeError(
                f"layout is {_described(layout)}; it must be a Layout, such as Layout.of(1000) for one tensor"
            )
        return init(*args, **kwargs)

    return cast(F, call)


def check_wrapped(inner: Any, protocol: type, name: str) -> None:
    """Refuse, with a TypeError of one line, what a wrapper cannot wrap: a class, a text, another object."""
    if isinstance(inner, type) and issubclass(inner, protocol):
        raise TypeError(
            f"{name} wraps a compressor, not the class {inner.__name__}: call {inner.__name__}(...)"
        )
    if not isinstance(inner, protocol):
        made = ": make it with COMPRESSORS.parse(text).make()" if isinstance(inner, str) else ""
        raise TypeError(f"{name} wraps a compressor, such as QSGD(bits=4), not {_described(inner)}{made}")


def _read(compressor: Any, gradient: Any, state: Any, stream: Any) -> Any:
    """Return the gradient as the method takes it; the arguments are checked.

    Raises
    ------
    TypeError
        If the gradient is not one dense array of numbers, or the stream is none.
    ValueError
        If the gradient has another length than the state.
    """
    if not isinstance(stream, Stream):
        raise TypeError(f"stream is {_described(stream)}; it must be a Stream, such as Stream(seed=1)")
    x = compressor.read(gradient)
    expected = getattr(state, "num_coordinates", None)
    if expected is not None and x.shape[0] != expected:
        raise ValueError(
            f"gradient has {x.shape[0]} coordinates, but the state is for {expected}: "
            "call init with the gradient's layout"
        )
    return x


def _described(value: Any) -> str:
    """Return what a wrong argument is, for messages: ``the int 5``, ``None``."""
    if value is None or isinstance(value, type):
        return repr(value)
    text = f"the {type(value).__name__} {value!r}" if isinstance(value, str | int | float) else ""
    return text or f"an object of type {type(value).__name__}"
