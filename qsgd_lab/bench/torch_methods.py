"""The compressors in eager torch, as public systems write them: what a kernel is set against.

Each takes a flat float32 tensor and returns codes and scales, without packing them; sizes that a block does
not divide are cut. They draw torch's random numbers and give other bits than ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

#: Thresholds between Lloyd-Max's centroids of a normal distribution at two bits, and the centroids.
_MIDDLES = (-0.9815988, 0.0, 0.9815988)
_CENTROIDS = (-1.5104176, -0.4527800, 0.4527800, 1.5104176)
Options = Mapping[str, Any]


def rows_of(x: Tensor, width: int) -> Tensor:
    """Return the coordinates in rows, those of a short last row left out; all in one where it is too wide."""
    width = min(width, x.numel())
    return x[: x.numel() // width * width].view(-1, width)


def hadamard(y: Tensor) -> Tensor:
    """Return the normalised transform of rows, stage by stage."""
    h = 1
    while h < y.shape[1]:
        pairs = y.view(y.shape[0], -1, 2, h)
        y = torch.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2)
        y = y.reshape(y.shape[0], -1)
        h *= 2
    return y / math.sqrt(y.shape[1])


def rotated(x: Tensor, options: Options) -> Tensor:
    """Return the blocks after their rounds of random signs and transform."""
    y = rows_of(x, options["block_size"])
    for _ in range(options["rounds"]):
        y = hadamard(y * (1 - 2 * torch.randint(0, 2, y.shape, dtype=torch.int8)))
    return y


def eden(x: Tensor, options: Options) -> Any:
    """EDEN of two bits."""
    y = rotated(x, options)
    total = (y * y).sum(dim=1, keepdim=True)
    codes = torch.bucketize(y / torch.sqrt(total / y.shape[1]), torch.tensor(_MIDDLES))
    centroids = torch.tensor(_CENTROIDS)[codes]
    return codes.to(torch.uint8), total / (centroids * y).sum(dim=1, keepdim=True)


def rotated_stochastic(x: Tensor, options: Options) -> Any:
    """Stochastic rounding of rotated blocks between their minimum and maximum."""
    y = rotated(x, options)
    low, high = y.amin(dim=1, keepdim=True), y.amax(dim=1, keepdim=True)
    step = (high - low) / (2 ** options["bits"] - 1)
    return ((y - low) / step + torch.rand_like(y)).floor().to(torch.uint8), low, step


def block_int(x: Tensor, options: Options) -> Any:
    """Integers under a scale a block, after a product with the 32-point Hadamard matrix."""
    most = 2 ** (options["bits"] - 1) - 1
    if options["smoother"]:
        width = options["smoother"]
        x = (rows_of(x, width) @ hadamard(torch.eye(width))).view(-1)
    y = rows_of(x, options["block_size"])
    scale = y.abs().amax(dim=1, keepdim=True) / most
    y = y / scale
    y = y.round() if options["rounding"] == "nearest" else (y + torch.rand_like(y)).floor()
    return y.clamp(-most, most).to(torch.int8), scale


def quantized(x: Tensor, options: Options) -> Any:
    """QSGD with a norm a bucket."""
    y, levels = rows_of(x, _width(x, options)), 2 ** options["bits"] - 1
    norms = y.norm(dim=1, keepdim=True) if options["norm"] == "l2" else y.abs().amax(dim=1, keepdim=True)
    scaled = y.abs() * (levels / norms)
    rounded = (scaled + torch.rand_like(scaled)).floor_().clamp_(max=levels)
    return rounded.mul_(y.sign()).to(torch.int16 if levels > 127 else torch.int8), norms


def _width(x: Tensor, options: Options) -> int:
    size = options["bucket_size"]
    return int(size) if isinstance(size, int) else int(x.numel())


def exponential(x: Tensor, options: Options) -> Any:
    """NUQSGD: the power of two below a ratio or above it, at random."""
    y, least = rows_of(x, _width(x, options)), 2 - 2 ** options["bits"]
    norms = y.norm(dim=1, keepdim=True)
    ratios = y.abs() / norms
    exponents = ratios.log2().floor().clamp_(min=least - 1)
    below = torch.where(exponents < least, torch.zeros_like(ratios), exponents.exp2())
    width = torch.where(exponents < least, torch.full_like(ratios, 2.0**least), below)
    up = torch.rand_like(ratios) < (ratios - below) / width
    return ((exponents + up - (least - 1)) * y.sign()).to(torch.int8), norms  # 0 is level 0


def natural(x: Tensor, _: Options) -> Any:
    """Natural compression: the power of two below a coordinate or above it, at random."""
    mantissas, exponents = torch.frexp(x)
    up = torch.rand_like(x) < 2 * mantissas.abs() - 1
    return (exponents + up).to(torch.int8), x < 0


def ternary(x: Tensor, options: Options) -> Any:
    """TernGrad: clipped, then ternary at random."""
    if options["clip"]:
        limit = options["clip"] * x.std()
        x = x.clamp(-limit, limit)
    scale = x.abs().max()
    return (x.sign() * (torch.rand_like(x) < x.abs() / scale)).to(torch.int8), scale


def signs(x: Tensor, options: Options) -> Any:
    """Signs and the mean magnitude."""
    y = rows_of(x, _width(x, options))
    return y >= 0, y.abs().mean(dim=1)


def two_means(x: Tensor, options: Options) -> Any:
    """Signs, and the means of both classes."""
    y = rows_of(x, _width(x, options))
    above = y >= 0
    count = above.sum(dim=1)
    high = (y * above).sum(dim=1) / count.clamp(min=1)
    return above, (y * ~above).sum(dim=1) / (y.shape[1] - count).clamp(min=1), high


def top_k(x: Tensor, options: Options) -> Any:
    """``torch.topk`` of the magnitudes, and a gather."""
    places = torch.topk(x.abs(), max(1, round(options["fraction"] * x.numel()))).indices
    return places, x[places]


def rand_k(x: Tensor, options: Options) -> Any:
    """Rand-k: the first places of a permutation, and a gather."""
    places = torch.randperm(x.numel())[: max(1, round(options["fraction"] * x.numel()))]
    return places, x[places]


def block(x: Tensor, options: Options) -> Any:
    """One of R blocks."""
    ratio = min(options["ratio"], x.numel())
    drawn = int(torch.randint(ratio, ()))
    return drawn, x[drawn * x.numel() // ratio : (drawn + 1) * x.numel() // ratio].clone()


def low_rank(x: Tensor, options: Options) -> Any:
    """PowerSGD's step on a matrix that is nearly square."""
    width = 1 << (x.numel().bit_length() // 2)
    matrix = rows_of(x, width)
    start = torch.randn(matrix.shape[1], min(options["rank"], *matrix.shape))
    left = torch.linalg.qr(matrix @ start).Q
    return left, matrix.T @ left


def codewords(x: Tensor, options: Options) -> Any:
    """HSQ by products with the whole codebook."""
    d, count = options["segment"], options["codebook"]
    book = torch.nn.functional.normalize(torch.randn(d, count), dim=0)
    products = rows_of(x, d) @ book * (d / count)
    if options["mode"] == "greedy":
        chosen = products.abs().argmax(dim=1)
        return chosen, products.gather(1, chosen[:, None])
    sizes = products.abs()
    chosen = torch.multinomial(sizes, 1)
    return chosen.to(torch.int16), sizes.sum(dim=1, keepdim=True) * products.gather(1, chosen).sign()


#: Method -> its form in eager torch; fp32 has none.
TORCH_METHODS: dict[str, Callable[[Tensor, Options], Any]] = {
    "block-int": block_int,
    "grbs": block,
    "fp16": lambda x, _: x.to(torch.float16),
    "bf16": lambda x, _: x.to(torch.bfloat16),
    "hsq": codewords,
    "nuqsgd": exponential,
    "natural": natural,
    "one-bit": two_means,
    "sign": signs,
    "powersgd": low_rank,
    "qsgd": quantized,
    "qsgd-shared": quantized,
    "rand-k": rand_k,
    "eden": eden,
    "rotated-stochastic": rotated_stochastic,
    "terngrad": ternary,
    "top-k": top_k,
}
