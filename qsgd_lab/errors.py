"""Errors that end a command with one line and a fixed exit code."""

from __future__ import annotations


class LabError(Exception):
    """Something the user can fix; the command line prints it as one line.

    Attributes
    ----------
    exit_code : int
        1 a run failed, 2 usage, 3 data missing, 4 integrity.
    """

    exit_code = 1


class RunFailedError(LabError):
    """At least one run of a sweep could not be finished."""

    exit_code = 1


class PeerError(LabError):
    """Another rank of a distributed run is lost, late, or sent what is damaged."""

    exit_code = 1


class UsageError(LabError):
    """The request itself cannot be met."""

    exit_code = 2


class DataMissingError(LabError):
    """A data set or file that the request needs is not there."""

    exit_code = 3


class IntegrityError(LabError):
    """Stored or received bytes are not what they claim to be."""

    exit_code = 4


class MessageError(LabError):
    """Bytes that claim to be a message are not one: damaged, cut off, or made to mislead.

    Attributes
    ----------
    reason : str
        One word for programs: "truncated", "foreign", "version", "damaged", "limit", "unknown", "structure",
        "parameters", "length", "zeros", "code", "canonical" or "inner" (docs/wire-format-2.md).
    """

    exit_code = 4

    def __init__(self, text: str, reason: str = "damaged") -> None:
        super().__init__(text)
        self.reason = reason


class LimitError(MessageError):
    """A message exceeds what its receiver allows, or what the format can hold."""

    def __init__(self, text: str, reason: str = "limit") -> None:
        super().__init__(text, reason)
