"""The types with which the codec's CUDA kernels are compiled to PTX, by name."""

from __future__ import annotations

from numba import types

BYTES, WORDS, WORDS64 = types.uint8[::1], types.uint32[::1], types.uint64[::1]
INT32S, INT64S, FLOATS = types.int32[::1], types.int64[::1], types.float32[::1]
CHECKSUM_TABLES = types.Tuple((types.uint32[:, ::1], WORDS))
ENCODE_SCHEME = types.Tuple((types.int64, types.int64, types.uint64))
DECODE_SCHEME = types.Tuple((types.int64, types.int64, types.int64, types.uint64))
GEOMETRY = types.UniTuple(types.int64, 4)
DIRECTORY = types.Tuple((INT32S, WORDS, INT32S))


def codec_kernels():
    """Return name -> (kernel, signature), for each kernel of the codec."""
    from qsgd_lab.kernels.cuda.messages import checksum as checksum_cuda
    from qsgd_lab.kernels.cuda.messages import decode as decode_cuda
    from qsgd_lab.kernels.cuda.messages import dense_decode as dense_decode_cuda
    from qsgd_lab.kernels.cuda.messages import dense_encode as dense_encode_cuda
    from qsgd_lab.kernels.cuda.messages import encode as encode_cuda
    from qsgd_lab.kernels.cuda.messages import message_frame as message_frame_cuda
    from qsgd_lab.kernels.cuda.messages import scan as scan_cuda
    from qsgd_lab.kernels.cuda.messages import sizes as sizes_cuda

    void, i64 = types.void, types.int64
    kernels = {
        "encode_dense_chunks": (
            dense_encode_cuda.encode_dense_chunks,
            void(WORDS, WORDS64, CHECKSUM_TABLES, i64, WORDS, INT32S, WORDS, INT64S),
        ),
        "decode_dense_chunks": (
            dense_decode_cuda.decode_dense_chunks,
            void(
                WORDS,
                types.int64[:, ::1],
                WORDS64,
                CHECKSUM_TABLES,
                FLOATS,
                types.uint32,
                types.boolean,
                FLOATS,
                INT64S,
            ),
        ),
        "scan_lengths": (scan_cuda.scan_lengths, void(INT32S, INT64S)),
        "gather_chunks": (encode_cuda.gather_chunks, void(WORDS, i64, INT64S, WORDS, i64)),
        "write_around": (
            message_frame_cuda.write_around,
            void(WORDS, WORDS, i64, WORDS, INT32S, WORDS, INT32S, types.boolean),
        ),
        "enter_equal_chunks": (
            checksum_cuda.enter_equal_chunks,
            void(WORDS, i64, i64, i64, CHECKSUM_TABLES, INT32S, WORDS),
        ),
        "piece_states": (checksum_cuda.piece_states, void(WORDS, i64, i64, CHECKSUM_TABLES, WORDS)),
        "seal_header": (message_frame_cuda.seal_header, void(WORDS, WORDS, CHECKSUM_TABLES, CHECKSUM_TABLES)),
        "copy_bytes": (message_frame_cuda.copy_bytes, void(BYTES, BYTES)),
        "decode_to_values": (
            decode_cuda.decode_to_values,
            void(
                WORDS,
                types.int64[:, ::1],
                GEOMETRY,
                DECODE_SCHEME,
                CHECKSUM_TABLES,
                FLOATS,
                INT64S,
                types.boolean,
                FLOATS,
                INT64S,
            ),
        ),
    }
    for name, levels in (("int8", types.int8[::1]), ("int16", types.int16[::1])):
        kernels |= {
            f"find_levels-{name}": (decode_cuda.find_levels, void(levels, types.int64[:, ::1], INT64S)),
            f"encode_chunks-{name}": (
                encode_cuda.encode_chunks,
                void(
                    levels,
                    i64,
                    ENCODE_SCHEME,
                    types.UniTuple(WORDS64, 2),
                    i64,
                    CHECKSUM_TABLES,
                    WORDS,
                    DIRECTORY,
                    INT64S,
                ),
            ),
            f"measure_chunks-{name}": (
                sizes_cuda.measure_chunks,
                void(levels, i64, i64, types.UniTuple(WORDS64, 3), INT64S),
            ),
            f"decode_chunks-{name}": (
                decode_cuda.decode_chunks,
                void(
                    WORDS,
                    types.int64[:, ::1],
                    GEOMETRY,
                    DECODE_SCHEME,
                    CHECKSUM_TABLES,
                    levels,
                    INT64S,
                ),
            ),
        }
    return kernels
