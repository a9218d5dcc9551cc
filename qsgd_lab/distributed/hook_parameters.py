"""The parameters of a model as the hook sees them: names, places, and which had a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qsgd_lab.distributed.gradient_layout import Run, runs_of
from qsgd_lab.distributed.hook_state import plain_names


class HookParameters:
    """The parameters of a module that have gradients, in its order.

    Parameters
    ----------
    module : Module
    is_raw : callable
        (name, parameter) -> True for those that go in float32.

    Attributes
    ----------
    names : list of str
        Without what `torch.compile` adds.
    shapes : list of tuple of int
    types : list of str
    sizes : list of int
        Coordinates of each.
    starts : int64, shape (P + 1,)
        Where each begins in the vector of all.
    raw : list of bool
        Which go in float32.

    Raises
    ------
    ValueError
        If a parameter is not of real numbers.
    """

    def __init__(self, module: nn.Module, is_raw: Callable[[str, nn.Parameter], bool]) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        for name, parameter in named:
            if not parameter.is_floating_point():
                raise ValueError(
                    f"parameter {name} is {parameter.dtype}; the hook takes real numbers: keep a complex "
                    "parameter as a real one (torch.view_as_real)"
                )
        self._parameters = [parameter for _, parameter in named]
        self._index = {id(parameter): i for i, parameter in enumerate(self._parameters)}
        self.names = plain_names([name for name, _ in named])
        self.shapes = [tuple(parameter.shape) for parameter in self._parameters]
        self.types = [str(parameter.dtype) for parameter in self._parameters]
        self.sizes = [parameter.numel() for parameter in self._parameters]
        self.starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])
        self.raw = [is_raw(name, parameter) for name, (_, parameter) in zip(self.names, named, strict=True)]
        self._runs: dict[tuple[int, ...], list[Run]] = {}
        self._had_gradient = [False] * len(named)
        self._watches: list[torch.utils.hooks.RemovableHandle] = []

    @property
    def num_coordinates(self) -> int:
        """Coordinates of all parameters."""
        return int(self.starts[-1])

    def facts(self) -> dict[str, Any]:
        """Return what ranks compare."""
        return {
            "the parameters' names": self.names,
            "the parameters' shapes": self.shapes,
            "the parameters' types": self.types,
            "which parameters go in float32": self.raw,
        }

    def indices_of(self, parameters: Sequence[torch.Tensor]) -> tuple[int, ...]:
        """Return the places of a bucket's parameters in the model."""
        return tuple(self._index[id(parameter)] for parameter in parameters)

    def runs(self, indices: tuple[int, ...], *, is_warm: bool) -> list[Run]:
        """Return a bucket's runs, which are the same in most steps; while it is warm, all go in float32."""
        key = (is_warm, *indices)
        if key not in self._runs:
            sizes, is_raw = [self.sizes[i] for i in indices], [is_warm or raw for raw in self.raw]
            self._runs[key] = runs_of(indices, sizes, self.starts, is_raw)
        return self._runs[key]

    def watch(self) -> None:
        """Note from now on which parameters get a gradient, whatever its values: DDP does not tell hooks."""
        for index, parameter in enumerate(self._parameters):
            watch = parameter.register_hook(partial(self._note, index))  # type: ignore[no-untyped-call]
            self._watches.append(watch)

    def _note(self, index: int, gradient: torch.Tensor) -> None:
        self._had_gradient[index] = True

    def take_used(self, indices: Sequence[int]) -> list[bool]:
        """Return which of the parameters had a gradient since this was asked last."""
        used = [self._had_gradient[index] for index in indices]
        for index in indices:
            self._had_gradient[index] = False
        return used

    def close(self) -> None:
        """Stop noting."""
        for watch in self._watches:
            watch.remove()
        self._watches.clear()
