"""The origins of methods, models, data sets and problems from outside the package; names are unique."""

from __future__ import annotations

import re
from collections.abc import Container
from contextvars import ContextVar
from dataclasses import dataclass, field

#: What a name may be.
NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass
class Loading:
    """The plug-in that is being loaded: its origin, and the (kind, name) of what it has registered so far."""

    origin: str
    registered: set[tuple[str, str]] = field(default_factory=set)

    def note(self, kind: str, name: str) -> None:
        """Take down a registration.

        Raises
        ------
        ValueError
            If this plug-in has registered the same name of the same kind already.
        """
        if (kind, name) in self.registered:
            raise ValueError(f"two {kind}s are named {name!r}, both from {self.origin}; rename one")
        self.registered.add((kind, name))


#: The plug-in that is being loaded, if one is; `qsgd_lab.plugins` sets it.
loading: ContextVar[Loading | None] = ContextVar("loading", default=None)


def origin_of(kind: str, name: str, origin: str | None) -> str:
    """Return the origin of what is being registered; a plug-in registers a name once."""
    plugin = loading.get()
    if plugin is not None:
        plugin.note(kind, name)
    return origin or (plugin.origin if plugin else "unknown")


class Origins:
    """Which named things of one kind come from outside the package, and from where.

    Parameters
    ----------
    kind : str
        What they are, for messages: "model" or "data set".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._outside: dict[str, str] = {}

    def claim(self, name: str, taken: Container[str], origin: str | None = None) -> None:
        """Give a name to something from outside; the same code may register again.

        Parameters
        ----------
        name : str
        taken : container of str
            All names of this kind.
        origin : str, optional
            By default that of the plug-in that is being loaded, else "unknown".

        Raises
        ------
        ValueError
            If the name is malformed, taken by the package or by other code, or given twice by one plug-in.
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a {self.kind}'s name: use lower-case letters, digits and -")
        origin = origin_of(self.kind, name, origin)
        earlier = self._outside.get(name, "qsgd_lab")
        if name in taken and earlier != origin:
            raise ValueError(f"two {self.kind}s are named {name!r}, from {earlier} and {origin}; rename one")
        self._outside[name] = origin

    def of(self, name: str) -> tuple[str, ...]:
        """Return ``name=origin`` of what comes from outside; nothing for the package's own."""
        return (f"{name}={self._outside[name]}",) if name in self._outside else ()
