"""The types with which the quantizer's CUDA kernels are compiled to PTX, by name."""

from __future__ import annotations

from numba import types

F32, F64, U32 = types.float32[::1], types.float64[::1], types.uint32
MATRIX, TOTALS = types.float32[:, ::1], types.float64[:, ::1]
WORDS = types.uint32[::1]
LEVELS, COUNTS = types.int8[:, ::1], types.int64[:, ::1]
KEYS = types.UniTuple(U32, 20)
INT32S, INT64S = types.int32[::1], types.int64[::1]
ROWS = types.Tuple((INT64S, INT32S, INT32S, INT32S, INT32S, types.float32))
STREAM = types.Tuple((types.boolean, U32, U32, U32, U32, U32, U32))
FULL = INT32S
COUNTER = types.UniTuple(U32, 4)
SCHEME = types.Tuple((types.float32, U32, U32))
TABLES = types.Tuple((MATRIX, MATRIX, TOTALS))
FLAT_TABLES = types.Tuple((F32, F32, F64))
#: A gradient's memory, by what the kernels' names have after a dash: float16 and bfloat16 are their bits.
REALS = {"": F32, "-float16": types.int16[::1], "-bfloat16": types.uint16[::1]}


def whole_row_kernels():
    """Return name -> (kernel, signature), for the kernels of rows of 512 coordinates at any place."""
    from qsgd_lab.kernels.cuda import whole_rows, whole_rows_mean

    void, i64, flag, f32 = types.void, types.int64, types.boolean, types.float32
    kernels: dict[str, tuple[object, object]] = {}
    for bits in (8, 16):
        levels, name = types.Array(getattr(types, f"int{bits}"), 1, "C"), f"-int{bits}"
        ends = flag, f32, F32, levels
        signatures = {
            whole_rows.quantize_whole_rows: (F32, FULL, KEYS, COUNTER, i64, SCHEME, levels, F32),
            whole_rows.quantize_whole_rows_with_norms: (
                *(F32, FULL, INT32S, f32, KEYS, COUNTER, SCHEME, F32, F32, levels),
            ),
            whole_rows_mean.accumulate_whole_rows: (
                *(F32, F32, flag, flag, FULL, KEYS, COUNTER, i64, SCHEME, U32, *ends),
            ),
            whole_rows_mean.accumulate_whole_rows_with_norms: (
                *(F32, flag, FULL, INT32S, f32, KEYS, COUNTER, SCHEME, FLAT_TABLES, U32, U32, *ends),
            ),
            whole_rows.dequantize_whole_rows: (levels, F32, FULL, INT32S, f32, U32, F64, F32),
        }
        kernels |= {one.py_func.__name__ + name: (one, void(*given)) for one, given in signatures.items()}
    return kernels


def full_row_kernels():
    """Return name -> (kernel, signature), for the kernels of rows of 512 coordinates that are aligned."""
    from qsgd_lab.kernels.cuda import full_rows, full_rows_with_norms

    void, i64, f32 = types.void, types.int64, types.float32
    kernels = {}
    for width, unit in {2: types.uint8[::1], 4: types.uint16[::1], 8: WORDS}.items():
        kernels[f"unpack_full_rows_{width}"] = full_rows.UNPACK[width], void(unit, FULL, F32, U32, F32)
        for name, reals in REALS.items() if width == 4 else [("", F32)]:
            kernels[f"pack_full_rows_{width}{name}"] = (
                full_rows.PACK[width],
                void(reals, FULL, KEYS, COUNTER, i64, f32, unit, F32),
            )
        kernels[f"pack_full_rows_with_norms_{width}"] = (
            full_rows_with_norms.PACK_WITH_NORMS[width],
            void(F32, FULL, INT32S, f32, KEYS, COUNTER, f32, F32, F32, unit),
        )
    return kernels


def quantizer_kernels():
    """Return name -> (kernel, signature), for each kernel of the quantizer."""
    from qsgd_lab.kernels.cuda import accumulate as accumulate_cuda
    from qsgd_lab.kernels.cuda import norms as norms_cuda
    from qsgd_lab.kernels.cuda import quantize as quantize_cuda
    from qsgd_lab.kernels.cuda.messages import fixed_width as fixed_width_cuda
    from qsgd_lab.kernels.cuda.messages import message_cost as message_cost_cuda

    void = types.void
    i64, flag = types.int64, types.boolean
    int8s, int16s = types.int8[::1], types.int16[::1]
    return {
        **full_row_kernels(),
        **whole_row_kernels(),
        "block_totals": (
            norms_cuda.block_totals,
            void(MATRIX, MATRIX, MATRIX, flag, INT64S, i64, flag, TOTALS, MATRIX),
        ),
        "fold_totals": (norms_cuda.fold_totals, void(TOTALS, INT64S, i64, flag, TOTALS, MATRIX)),
        "bucket_tables": (
            quantize_cuda.bucket_tables,
            void(MATRIX, types.float32, U32, MATRIX, MATRIX, TOTALS),
        ),
        "quantize_rows-int8": (
            quantize_cuda.quantize_rows,
            void(F32, ROWS, INT32S, STREAM, SCHEME, i64, int8s, F32),
        ),
        "quantize_rows-int16": (
            quantize_cuda.quantize_rows,
            void(F32, ROWS, INT32S, STREAM, SCHEME, i64, int16s, F32),
        ),
        "quantize_rows_with_norms": (
            quantize_cuda.quantize_rows_with_norms,
            void(F32, ROWS, INT32S, STREAM, SCHEME, TABLES, int8s),
        ),
        "accumulate_rows": (
            accumulate_cuda.accumulate_rows,
            void(MATRIX, MATRIX, flag, flag, ROWS, INT32S, STREAM, SCHEME, i64, i64, flag, F32, LEVELS),
        ),
        "accumulate_rows_with_norms": (
            accumulate_cuda.accumulate_rows_with_norms,
            void(MATRIX, flag, ROWS, INT32S, STREAM, SCHEME, TABLES, flag, F32, LEVELS),
        ),
        "chunk_costs": (
            message_cost_cuda.chunk_costs,
            void(LEVELS, types.uint64[::1], COUNTS, COUNTS, INT64S),
        ),
        "close_messages": (
            message_cost_cuda.close_messages,
            void(COUNTS, COUNTS, i64, i64, INT64S, INT64S),
        ),
        "clear_shared_words": (fixed_width_cuda.clear_shared_words, void(INT64S, i64, WORDS)),
        "quantize_pack_rows": (
            fixed_width_cuda.quantize_pack_rows,
            void(F32, ROWS, INT32S, STREAM, SCHEME, i64, flag, types.UniTuple(MATRIX, 2), i64, WORDS, F32),
        ),
        "pack_levels": (fixed_width_cuda.pack_levels, void(int8s, i64, WORDS)),
        "unpack_dequantize_rows": (
            fixed_width_cuda.unpack_dequantize_rows,
            void(WORDS, i64, F32, ROWS, INT32S, U32, flag, TOTALS, F32),
        ),
        "dequantize_rows": (
            quantize_cuda.dequantize_rows,
            void(int8s, F32, ROWS, INT32S, U32, flag, TOTALS, F32),
        ),
    }
