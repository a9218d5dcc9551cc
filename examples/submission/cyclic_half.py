"""A submission to the benchmark: each step every P-th coordinate, in turn, as float16."""

import numpy as np

from qsgd_lab.compressors import COMPRESSORS, Compressor, Method, Option, Wire
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Size


class PartWire(Wire):  # of payloads (part, parts, values, n)
    kind = "cyclic-half"

    def size(self, payload):
        return Size(payload[3], {"message": 8 * len(self.pack(payload))})

    def pack(self, payload):
        return bytes(payload[:2]) + payload[2].tobytes()

    def unpack(self, message, layout):
        n, (part, parts) = layout.num_coordinates, message[:2].ljust(2, b"\0")
        if not part < parts or len(message) != 2 + 2 * len(range(part, n, parts)):
            raise MessageError(f"{len(message)} bytes are not a part of {n} coordinates")
        return part, parts, np.frombuffer(message, np.float16, offset=2), n


class CyclicHalf(Compressor):
    wire, is_unbiased, needs_feedback = PartWire(), False, True

    def __init__(self, parts):
        self.parts = parts

    def compress(self, gradient, state, stream):
        part = stream.step % self.parts
        return (part, self.parts, gradient[part :: self.parts].astype(np.float16), gradient.size), None

    def decompress(self, payload):
        part, parts, sent, n = payload
        values = np.zeros(n, np.float32)
        values[part::parts] = sent
        return values

    def variance_factor(self, num_coordinates):
        return 1.0


PARTS, WORDS = (
    Option("parts", int, 16, "P, up to 255"),
    {"summary": "coordinates in turn", "source": "an example"},
)
COMPRESSORS.register(
    Method("cyclic-half", CyclicHalf, (PARTS,), lambda options: f"1/{options['parts']} in turn", **WORDS)
)
