"""The inputs of a network: the shape of an input and of its labels."""

from __future__ import annotations

from typing import NamedTuple


class Inputs(NamedTuple):
    """What the inputs and labels of a data set are.

    Attributes
    ----------
    shape : tuple of int
        Of one input: (channels, height, width) of an image, (d,) of a vector, (places,) of a sequence.
    num_classes : int
    num_symbols : int
        Inputs are sequences of int64 symbols from 0 to so many, exclusive; 0: they are float32.
    label_shape : tuple of int
        Of the labels of one input: () for one label, (places,) for one a place.
    """

    shape: tuple[int, ...]
    num_classes: int
    num_symbols: int = 0
    label_shape: tuple[int, ...] = ()

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of what a network gives for one input: a value for each class, and place."""
        return (self.num_classes, *self.label_shape)

    def __str__(self) -> str:
        """Return what the inputs are, for messages: ``images of 3x32x32``."""
        kind = "sequences" if self.num_symbols else {3: "images", 1: "vectors"}.get(len(self.shape), "inputs")
        return f"{kind} of {'x'.join(map(str, self.shape))}"
