"""Compressors of float64 vectors, for laws of algorithms that hold to more digits than float32 has."""

from __future__ import annotations

import numpy as np

from qsgd_lab.compressors.protocol import Compressor, Wire
from qsgd_lab.ledger import Size


class _NoWire(Wire):
    kind = "none"

    def size(self, payload):
        return Size(payload.size, {"message": 64 * payload.size})

    def pack(self, payload):
        raise NotImplementedError

    def unpack(self, message, layout):
        raise NotImplementedError


class Masked(Compressor):
    """Sends the coordinates that `chosen(vector, stream)` says, times `scale`, as float64."""

    wire = _NoWire()

    def __init__(self, chosen, scale=1.0, is_unbiased=False, factor=0.9):
        self.chosen, self.scale, self._unbiased, self._factor = chosen, scale, is_unbiased, factor

    def init(self, layout):
        return None

    def read(self, gradient):
        return gradient  # float64 as it is

    def compress(self, gradient, state, stream):
        sent = np.zeros_like(gradient)
        mask = self.chosen(gradient, stream)
        sent[mask] = self.scale * gradient[mask]
        return sent, None

    def decompress(self, payload):
        return payload

    @property
    def is_unbiased(self):
        return self._unbiased

    def variance_factor(self, num_coordinates):
        return self._factor


class DampedQuantizer(Masked):
    """QSGD with s levels of the l2 norm, divided by 1 + min(n / s^2, sqrt(n) / s)."""

    def __init__(self, levels):
        super().__init__(None)
        self.levels = levels

    def compress(self, gradient, state, stream):
        random = np.random.default_rng([stream.seed % 2**32, stream.node, stream.step])
        norm, s, n = np.linalg.norm(gradient), self.levels, gradient.size
        level = np.floor(np.abs(gradient) / norm * s + random.random(n))
        return np.sign(gradient) * level * norm / s / (1 + min(n / s**2, n**0.5 / s)), None


def top_k(k):
    """Return the k largest magnitudes' compressor."""
    return Masked(lambda vector, _: np.argsort(-np.abs(vector), kind="stable")[:k])


def rand_k(k, n, unbiased=False):
    """Return k random coordinates' compressor, each node's own; with values times n / k it is unbiased."""

    def chosen(vector, stream):
        return np.random.default_rng([stream.seed % 2**32, stream.node, stream.step]).permutation(n)[:k]

    if unbiased:
        return Masked(chosen, n / k, is_unbiased=True, factor=n / k - 1)
    return Masked(chosen)


def block(ratio):
    """Return one of `ratio` blocks, the same at all nodes."""

    def chosen(vector, stream):
        drawn = np.random.default_rng([stream.seed % 2**32, stream.step]).integers(ratio)
        return np.flatnonzero(np.arange(vector.size) * ratio // vector.size == drawn)

    return Masked(chosen)


def nothing():
    """Return what sends no coordinate."""
    return Masked(lambda vector, _: np.zeros(vector.size, bool))


def everything():
    """Return the identity."""
    return Masked(lambda vector, _: np.ones(vector.size, bool), factor=0.0, is_unbiased=True)
