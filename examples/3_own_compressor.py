"""
Your own compressor
===================

Write a compressor, put error feedback around it, measure it, and compare it.
"""

import numpy as np

from qsgd_lab.compressors import COMPRESSORS, Compressor, ErrorFeedback, Layout, Method, Wire
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Size
from qsgd_lab.stream import Stream

# %%
# A compressor is a pair of pure functions and a wire. The compressor decides what is kept: here signs and
# one scale. The wire says how many bits that takes and turns it into bytes. What it reads may come from
# anywhere, so it checks the length.


class SignWire(Wire):
    """A float32 scale, then one bit a coordinate."""

    kind = "tutorial-sign"

    def size(self, payload):
        """Count the bits without coding."""
        return Size(payload[1].size, {"message": 8 * (4 + -(-payload[1].size // 8))})

    def pack(self, payload):
        """Return the bytes."""
        return np.float32(payload[0]).tobytes() + np.packbits(payload[1]).tobytes()

    def unpack(self, message, layout):
        """Read untrusted bytes."""
        n = layout.num_coordinates
        if len(message) != 4 + -(-n // 8):
            raise MessageError(f"{len(message)} bytes are not a message of {n} signs")
        signs = np.unpackbits(np.frombuffer(message, np.uint8, offset=4), count=n)
        return np.frombuffer(message, np.float32, 1)[0], signs.astype(bool)


class MySign(Compressor):
    """Signs and the mean magnitude."""

    wire, is_unbiased = SignWire(), False

    def compress(self, gradient, state, stream):
        """Return scale and signs."""
        return (np.float32(np.abs(gradient).mean()), gradient >= 0), None

    def decompress(self, payload):
        """Return what the receiver sees."""
        return np.where(payload[1], payload[0], -payload[0]).astype(np.float32)

    def variance_factor(self, num_coordinates):
        """Return a bound on the relative squared error."""
        return 1 - 1 / num_coordinates


# %%
# A message holds what its size says, and comes back as it was.

gradient = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
layout = Layout.of(gradient.size)
sign = MySign()
payload, _ = sign.compress(gradient, sign.init(layout), Stream(seed=0, node=0, step=0))
message = sign.wire.pack(payload)
assert 8 * len(message) == sign.wire.size(payload).bits["message"]
assert np.array_equal(sign.decompress(sign.wire.unpack(message, layout)), sign.decompress(payload))
error = np.sum((sign.decompress(payload) - gradient) ** 2) / np.sum(gradient**2)
print(f"{8 * len(message) / gradient.size:.2f} bits a coordinate, relative squared error {error:.3f}")

# %%
# Signs are biased. Error feedback keeps what was lost and adds it to the next gradient. On a least-squares
# problem the difference shows: without it the steps do not get smaller than the scale; with it they end at
# the optimum.

import matplotlib.pyplot as plt

rng = np.random.default_rng(1)
curvature = np.geomspace(0.02, 1, 200).astype(np.float32)
start = rng.standard_normal(200).astype(np.float32)


def distances(compressor, steps=400, rate=0.2):
    """Return the distance from the optimum after each step of gradient descent."""
    x, state = start.copy(), compressor.init(Layout.of(start.size))
    found = []
    for step in range(steps):
        payload, state = compressor.compress(curvature * x, state, Stream(seed=0, node=0, step=step))
        x = x - rate * compressor.decompress(payload)
        found.append(np.linalg.norm(x))
    return found


figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
curves = {"sign": distances(sign), "sign with error feedback": distances(ErrorFeedback(sign))}
for name, values in curves.items():
    axes.semilogy(values, label=name)
axes.set(xlabel="step", ylabel="distance from the optimum")
axes.legend()
plt.show()
assert curves["sign with error feedback"][-1] < curves["sign"][-1]

# %%
# Registered under a name, the method can be used wherever the lab takes one.

COMPRESSORS.register(
    Method("tutorial-sign", MySign, (), lambda _: "my sign", summary="signs and a scale", source="me")
)
print(COMPRESSORS.parse("ef(tutorial-sign)").make())

# %%
# To train with it, keep the classes and the registration in a file and name the file:
#
# .. code-block:: sh
#
#    qsgd-lab reproduce --import my_compressor.py --compressor "ef(tutorial-sign)" --nodes 2
#
# Algorithms, models and data sets of your own are registered in the same way: see :doc:`/extending`.
