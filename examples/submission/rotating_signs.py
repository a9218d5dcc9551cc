"""A submission to the benchmark: each step the signs of every P-th coordinate, and their mean magnitude."""

import numpy as np

from qsgd_lab.compressors import COMPRESSORS, Compressor, Method, Option, Wire
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Size


class PartWire(Wire):
    kind = "rotating-signs"

    def size(self, payload):
        return Size(payload[3], {"message": 8 * len(self.pack(payload))})

    def pack(self, payload):
        part, scale, signs, _ = payload
        return np.uint16(part).tobytes() + np.float32(scale).tobytes() + np.packbits(signs).tobytes()

    def unpack(self, message, layout):
        if len(message) < 6:
            raise MessageError("the message is too short")
        scale = np.frombuffer(message, np.float32, 1, 2)[0]
        bits = np.unpackbits(np.frombuffer(message, np.uint8, offset=6)).astype(bool)
        return int(np.frombuffer(message, np.uint16, 1)[0]), scale, bits, layout.num_coordinates


class RotatingSigns(Compressor):
    wire, is_unbiased, needs_feedback = PartWire(), False, True

    def __init__(self, parts=4):
        self.parts = parts

    def init(self, layout):
        return None

    def compress(self, gradient, state, stream):
        part = stream.step % self.parts
        own = gradient[part :: self.parts]
        scale = np.float32(np.abs(own).mean() if own.size else 0)
        return (part, scale, own >= 0, gradient.size), None

    def decompress(self, payload):
        part, scale, signs, size = payload
        values = np.zeros(size, np.float32)
        own = values[part :: self.parts]
        own[:] = np.where(signs[: own.size], scale, -scale)
        return values

    def variance_factor(self, num_coordinates):
        return 1.0


COMPRESSORS.register(
    Method(
        "rotating-signs",
        RotatingSigns,
        (Option("parts", int, 4, "P: every P-th coordinate is sent in a step"),),
        lambda options: f"signs of 1/{options['parts']}",
        summary="signs of every P-th coordinate in turn",
        source="an example",
    )
)
