"""The option type of ``--bucket-size``: a number of coordinates, or a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from qsgd_lab.cli.lists import DIMENSION


class BucketSizeType(click.ParamType):  # type: ignore[type-arg]
    """A number of coordinates, or a word.

    Parameters
    ----------
    words : mapping
        Each word that is allowed, and the value it stands for.
    """

    name = "size"

    def __init__(self, words: Mapping[str, Any]) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a string; hand on an integer, which is how a default is given."""
        if value in self.words:
            return self.words[value]
        try:
            return DIMENSION.convert(value, param, ctx)
        except click.BadParameter as error:
            words = " or ".join(repr(word) for word in self.words)
            self.fail(f"{error.message.rstrip('.')}; or write {words}", param, ctx)


#: Of the quantizer as the library takes it.
BUCKET_SIZE = BucketSizeType({"tensor": "tensor", "model": "model"})
