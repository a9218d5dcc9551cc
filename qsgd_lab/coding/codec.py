"""The backend of a call that codes: chosen once, by where an array lives and what the caller asked for."""

from __future__ import annotations

from types import ModuleType

from qsgd_lab.arrays import resolve_backend


def codec_for(array: object, backend: str) -> ModuleType:
    """Return the module whose functions code for an array: `coding.host` or `coding.device.codec`.

    Both have ``encode``, ``decode``, ``decode_values``, ``add_decoded``, ``payload_bytes``,
    ``quantize_and_encode`` and ``IS_DEVICE``, with the same arguments.

    Raises
    ------
    ValueError
        If the backend is unknown, or one for host memory and the array lives on a device.
    """
    if resolve_backend(array, backend) == "cuda":
        from qsgd_lab.coding.device import codec as device

        return device
    from qsgd_lab.coding import host

    return host
