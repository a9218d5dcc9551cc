"""
Quantize, encode, decode
========================

A gradient becomes a message of bytes, and comes back with a known error.
"""

import numpy as np

import qsgd_lab as ql

# %%
# Quantization replaces each coordinate by one of a few levels and keeps one norm for each bucket of 512
# coordinates. ``bits=3`` is a magnitude of three bits: s = 2³ − 1 = 7 levels, the sign apart.

gradient = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
quantized = ql.quantize(gradient, bits=3, bucket_size=512, norm="l2", seed=7)
quantized

# %%
# Encoding writes the bytes. Most levels are 0 or 1, and an Elias code gives small numbers short words. The
# length of the message is the cost: here about 1.6 bits a coordinate, instead of 32.

message = ql.encode(quantized, code="omega")
bits = 8 * len(message) / gradient.size
print(f"{len(message)} bytes, {bits:.3f} bits a coordinate")
assert abs(bits - 1.572) < 0.001

# %%
# The message can be decoded alone. The quantizer is unbiased: each coordinate is rounded up or down at
# random, so that it is right on average. Averages over many seeds come closer and closer to the gradient.

received = ql.dequantize(ql.decode(message))
assert np.array_equal(received, ql.dequantize(quantized))


def error_of_mean(num_seeds):
    """Return the relative error of the mean over seeds."""
    draws = [ql.dequantize(ql.quantize(gradient, bits=3, seed=seed)) for seed in range(num_seeds)]
    return np.linalg.norm(np.mean(draws, axis=0) - gradient) / np.linalg.norm(gradient)


for num_seeds in (1, 4, 16):
    print(f"{num_seeds:2} seeds: relative error {error_of_mean(num_seeds):.3f}")

# %%
# The error halves when the number of seeds, or of nodes, is four times larger. What is paid for in bits is
# variance:

import matplotlib.pyplot as plt

choices = range(1, 9)
costs, errors = [], []
for b in choices:
    q = ql.quantize(gradient, bits=b, seed=7)
    costs.append(8 * len(ql.encode(q)) / gradient.size)
    errors.append(np.sum((ql.dequantize(q) - gradient) ** 2) / np.sum(gradient**2))

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.loglog(costs, errors, "o-")
for b, x, y in zip(choices, costs, errors, strict=True):
    axes.annotate(f"{b}", (x, y), xytext=(4, 4), textcoords="offset points")
axes.set(xlabel="bits a coordinate, as sent", ylabel="relative squared error")
plt.show()

# %%
# The same numbers with the paper's bounds beside them: ``qsgd-lab variance --bits 1..8`` and ``qsgd-lab
# code-length --bits 1..8``.
