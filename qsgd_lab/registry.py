"""Registries of methods, and the text that names one, such as ``ef(qsgd(bits=2,norm=max))``.

A module in one of a registry's packages defines ``METHOD`` (or ``METHODS``); a module from outside calls
`Registry.register`, see `qsgd_lab.plugins`. The command line, the run key, tables, law tests and docs read
the registries and nothing else.

Grammar: ``name`` or ``name(argument, ...)``; an argument is ``option=value``, or for a wrapper, first, the
compressor that it wraps. Spaces are ignored.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from qsgd_lab.method_text import tokens_of, value_length
from qsgd_lab.origins import NAME, origin_of

#: Wrappers around wrappers: no use has more than four, and a text of thousands would exhaust the stack.
_MAX_DEPTH = 32


class BucketSize:
    """Type of an option: a number of coordinates, ``tensor`` or ``model``."""

    def __new__(cls, text: str) -> int | str:  # type: ignore[misc]
        """Return the value that the text means."""
        return text if text in ("tensor", "model") else int(text)


@dataclass(frozen=True)
class Option:
    """A setting of a method: its name, type, default, one line of help, and its choices.

    Attributes
    ----------
    names : callable, optional
        Returns the registry of which the value names a method, such as ``resets=top-k(fraction=0.1)``; empty
        text names none.
    """

    name: str
    type: Callable[[str], Any]
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    names: Callable[[], Registry] | None = None

    def parse(self, method: str, text: str) -> Any:
        """Return the value of a text.

        Raises
        ------
        ValueError
            If the text is not a value of this option.
        """
        if self.choices and text not in self.choices:
            raise ValueError(
                f"{method}: {self.name} is {text!r}; it must be one of: {', '.join(self.choices)}"
            )
        if self.names is not None:
            return str(self.names().parse(text))
        if self.type is bool:  # bool("False") is True
            return self._truth(method, text)
        try:
            value = self.type(text)
        except Exception:  # a type of a plug-in raises what it likes
            kind = {int: "an integer", float: "a number"}.get(self.type, "a valid value")  # type: ignore[call-overload]
            raise ValueError(f"{method}: {self.name} is {text!r}; it must be {kind}: {self.help}") from None
        if self.type not in (int, float, str) and not self._is_read_back(value):
            raise ValueError(
                f"{method}: {self.name} is written as {str(value)!r}, which its type does not read as the "
                "same value; runs are stored by this text"
            )
        return value

    def _is_read_back(self, value: Any) -> bool:
        try:
            return bool(value == self.default or self.type(str(value)) == value)  # a default is not written
        except Exception:  # as above
            return False

    def _truth(self, method: str, text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{method}: {self.name} is {text!r}; it must be true or false: {self.help}")
        return text.lower() == "true"


@dataclass(frozen=True)
class Method:
    """One compressor, wrapper of compressors, or algorithm.

    Attributes
    ----------
    name : str
        In lower case, words joined by ``-``.
    make : callable
        Called with the options by keyword; a wrapper's first argument is the compressor that it wraps.
    options : tuple of Option
    label : callable
        Options (for a wrapper also ``inner``, the label of what it wraps) -> the row's name in tables.
    summary, source : str
        One line, and the publication.
    theory : str or None
        Module with the method's formulas.
    columns : mapping of str to callable
        Columns of tables that the method fills: options -> value.
    settings : tuple of str
        Texts of the method at settings from few bits to many, for comparisons at equal bits; empty where the
        name alone says all.
    is_wrapper : bool
    is_listed : bool
        False for what only replays a published mistake.
    """

    name: str
    make: Callable[..., Any]
    options: tuple[Option, ...]
    label: Callable[[Mapping[str, Any]], str]
    summary: str
    source: str
    theory: str | None = None
    columns: Mapping[str, Callable[[Mapping[str, Any]], float | int | None]] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    is_wrapper: bool = False
    is_listed: bool = True
    #: Where the method comes from; set by `register` for those from outside.
    origin: str = "qsgd_lab"


@dataclass(frozen=True)
class Spec:
    """A parsed text: a method, its options, and for a wrapper what it wraps."""

    method: Method
    options: Mapping[str, Any]
    inner: Spec | None = None
    #: Returns the class of which `make` must return an object.
    base: Callable[[], type] = field(default=lambda: object, compare=False, repr=False)

    def __str__(self) -> str:
        """Return the canonical text: options in the method's order, without those at their default."""
        given = [
            f"{option.name}={self.options[option.name]}"
            for option in self.method.options
            if self.options[option.name] != option.default
        ]
        arguments = ([str(self.inner)] if self.inner else []) + given
        return f"{self.method.name}({','.join(arguments)})" if arguments else self.method.name

    @property
    def label(self) -> str:
        """The row's name in tables."""
        inner = {"inner": self.inner.label} if self.inner else {}
        label = self._called("label", self.method.label, {**self.options, **inner})
        is_own = self.method.origin == "qsgd_lab"  # the default algorithm adds nothing to a name
        if not isinstance(label, str) or not label.isprintable() or not (label.strip() or is_own):
            raise ValueError(f"{self}: its label is {label!r}; it must be a text of one line")
        return label

    @property
    def origins(self) -> tuple[str, ...]:
        """What the methods named here come from, those of the package itself left out; sorted."""
        own = () if self.method.origin == "qsgd_lab" else (f"{self.method.name}={self.method.origin}",)
        named = [
            option.names().parse(self.options[option.name])
            for option in self.method.options
            if option.names is not None and self.options[option.name]
        ]
        inner = [self.inner] if self.inner else []
        return tuple(sorted({*own, *(origin for spec in [*inner, *named] for origin in spec.origins)}))

    def make(self) -> Any:
        """Return the compressor or algorithm.

        Raises
        ------
        ValueError
            If the method refuses the options, or a wrapper what it is to wrap.
        """
        wrapped = [self.inner.make()] if self.inner else []
        made = self._called("make", self.method.make, *wrapped, **self.options)
        if not isinstance(made, self.base()):
            raise ValueError(f"{self}: make returns {made!r}; it must be a {self.base().__name__}")
        with suppress(AttributeError):  # a plug-in's object may take no attributes
            setattr(made, "method_text", str(self))  # noqa: B010 (the base is known at run time)
        return made

    def check(self) -> Any:
        """Return what `make` does, and refuse a label that no table can show: all before any run.

        Raises
        ------
        ValueError
            In one line, whatever a function of a plug-in raises.
        """
        _ = self.label
        return self.make()

    def _called(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return what a function of the method returns; what it raises names the method, in one line."""
        try:
            return function(*arguments, **options)
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from None
        except Exception as error:
            if self.method.origin == "qsgd_lab":  # a mistake of the package's own, which shows where it is
                raise
            raise ValueError(f"{self}: {name} raises {type(error).__name__}: {error}") from error

    def column(self, name: str) -> float | int | None:
        """Return the value of a column, the wrapped compressor's where the wrapper has none of its own."""
        if name in self.method.columns:
            value: float | int | None = self._called(name, self.method.columns[name], self.options)
            return value
        return self.inner.column(name) if self.inner else None


def _anything() -> type:
    return object


class Registry:
    """Methods of one kind by name.

    Parameters
    ----------
    kind : str
        What the methods are, for messages: "compressor" or "algorithm".
    packages : tuple of str
        Packages whose modules are searched, at first use.
    base : callable, optional
        Returns the class of what the methods make; called when one is made.
    """

    def __init__(self, kind: str, packages: tuple[str, ...], base: Callable[[], type] = _anything) -> None:
        self.kind, self.packages, self.base = kind, packages, base
        self._own: dict[str, Method] | None = None
        self._outside: dict[str, Method] = {}

    def methods(self) -> dict[str, Method]:
        """Return all methods by name, those from outside last."""
        if self._own is None:
            found = list(self._search())
            self._own = {method.name: method for method in found}
            if len(self._own) < len(found):
                raise RuntimeError(f"two {self.kind}s of the package have one name")
        return {**self._own, **self._outside}

    def _search(self) -> Iterator[Method]:
        for name in self.packages:
            package = importlib.import_module(name)
            for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
                contents = importlib.import_module(f"{name}.{module}")
                yield from getattr(contents, "METHODS", ())
                if hasattr(contents, "METHOD"):
                    yield contents.METHOD

    def register(self, method: Method, origin: str | None = None) -> Method:
        """Add a method from outside the package, and return it.

        Parameters
        ----------
        method : Method
        origin : str, optional
            What its code is, such as a distribution with its version, or a file with its digest. While a
            plug-in is loaded this is known; elsewhere it is "unknown".

        Raises
        ------
        ValueError
            If the name is malformed, taken by another method, or given twice by one plug-in.
        """
        if not NAME.fullmatch(method.name):
            raise ValueError(f"{method.name!r} is not a method's name: use lower-case letters, digits and -")
        origin = origin_of(self.kind, method.name, origin)
        taken = self.methods().get(method.name)
        if taken is not None and taken.origin != origin:
            raise ValueError(
                f"two {self.kind}s are named {method.name!r}, from {taken.origin} and {origin}; rename one"
            )
        self._outside[method.name] = replace(method, origin=origin)
        return self._outside[method.name]

    def parse(self, text: str) -> Spec:
        """Return what a text names, such as ``ef(top-k(fraction=0.01))``.

        Raises
        ------
        ValueError
            In one line: an unknown method or option, a value of the wrong type, or a malformed text.
        """
        spec, rest = self._parse(tokens_of(text), text)
        if rest:
            raise ValueError(f"cannot read {text!r}: {''.join(rest)!r} is left over after {str(spec)!r}")
        return spec

    def _parse(self, tokens: list[str], text: str, depth: int = 0) -> tuple[Spec, list[str]]:
        if depth > _MAX_DEPTH:
            raise ValueError(f"cannot read {text[:40]!r}...: more than {_MAX_DEPTH} wrappers in one another")
        if not tokens or tokens[0] in "(),=":
            raise ValueError(f"cannot read {text!r}; write it as name(option=value,...)")
        method, tokens = self._lookup(tokens[0]), tokens[1:]
        given: dict[str, Any] = {}
        inner: Spec | None = None
        if tokens[:1] == ["("]:
            tokens = tokens[1:]
            while tokens[:1] != [")"]:
                if not tokens:
                    raise ValueError(f"cannot read {text!r}: a closing ) is missing")
                if tokens[1:2] == ["="] and len(tokens) > 2:
                    option = _option(method, tokens[0])
                    if option.name in given:
                        raise ValueError(f"{method.name}: {option.name} is given twice in {text!r}")
                    length = value_length(tokens[2:])
                    given[option.name] = option.parse(method.name, "".join(tokens[2 : 2 + length]))
                    tokens = tokens[2 + length :]
                elif inner is None and not given and method.is_wrapper:
                    inner, tokens = self._parse(tokens, text, depth + 1)
                else:
                    raise ValueError(
                        f"cannot read {text!r} at {''.join(tokens)!r}: {method.name} takes {_usage(method)}"
                    )
                if tokens[:1] == [","] and tokens[1:2] != [")"]:
                    tokens = tokens[1:]
                elif tokens[:1] != [")"]:
                    where = f"at {''.join(tokens)!r}" if tokens else "at the end"
                    raise ValueError(f"cannot read {text!r}: a comma or ) is missing {where}")
            tokens = tokens[1:]
        if method.is_wrapper and inner is None:
            raise ValueError(
                f"{method.name} wraps a compressor: write {method.name}(qsgd(bits=2)), for example"
            )
        defaults = {option.name: option.default for option in method.options}
        return Spec(method, defaults | given, inner, self.base), tokens

    def _lookup(self, name: str) -> Method:
        known = self.methods()
        if name in known:
            return known[name]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        names = ", ".join(sorted(n for n, method in known.items() if method.is_listed))
        raise ValueError(f"unknown {self.kind} {name!r}; {hint}known: {names}")


def _option(method: Method, name: str) -> Option:
    for option in method.options:
        if option.name == name.replace("-", "_"):
            return option
    raise ValueError(f"{method.name} has no option {name!r}; it takes {_usage(method)}")


def _usage(method: Method) -> str:
    names = ", ".join(option.name for option in method.options)
    own = f"the options {names}" if names else "no options"
    return f"a compressor and {own}" if method.is_wrapper else own
