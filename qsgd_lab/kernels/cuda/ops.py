"""Operations of 32 bits and vector accesses for kernels: compiled ones, or in the simulator plain Python."""

from __future__ import annotations

from numba import config

if config.ENABLE_CUDASIM:
    from qsgd_lab.kernels.cuda import ops_python as _chosen
else:
    from qsgd_lab.kernels.cuda import ops_compiled as _chosen  # type: ignore[no-redef]

add, sub, mul, and_, or_, xor = (
    _chosen.add,
    _chosen.sub,
    _chosen.mul,
    _chosen.and_,
    _chosen.or_,
    _chosen.xor,
)
shl, shr, ashr = _chosen.shl, _chosen.shr, _chosen.ashr
truncated, bits_of, float_of = _chosen.truncated, _chosen.bits_of, _chosen.float_of
least, largest, permuted = _chosen.least, _chosen.largest, _chosen.permuted
funnel_left, funnel_right, field = _chosen.funnel_left, _chosen.funnel_right, _chosen.field
wide_product, shuffled, real = _chosen.wide_product, _chosen.shuffled, _chosen.real
load, load_four, load_reals = _chosen.load, _chosen.load_four, _chosen.load_reals
load_half = _chosen.load_half
store, store_four = _chosen.store, _chosen.store_four
