"""Write docs/gpu.md from the results of `make gpu-check`, or check that it is current.

python docs/scripts/make_gpu_page.py            write it
python docs/scripts/make_gpu_page.py --check    exit with 1 if it would change

Every figure on the page comes from a file in benchmarks/results; where there is none, the page says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "gpu.md"
RESULTS = ROOT / "benchmarks" / "results"
INTRODUCTION = """# On a GPU

The CUDA kernels give the CPU's levels, norms, values and message bytes for the same key, whatever the launch
shape. Data stay on the device: a torch CUDA tensor, a CuPy or a Numba array is read in place, results are
arrays of the same library, and kernels run on its current stream. The host waits for the device only where
it needs a size.

```python
import torch
import qsgd_lab as ql

gradient = torch.randn(25_000_000, device="cuda")
q = ql.quantize(gradient, bits=3)  # q.levels and q.norms are CUDA tensors
received = ql.dequantize(q)  # a CUDA tensor, too
```

## Messages

```python
message = ql.encode(q, code="omega")  # uint8, a CUDA tensor too: what NCCL sends
received = ql.decode(message)  # levels and norms on the device
ql.add_decoded([message], total)  # float32 total on the device
on_host = ql.to_host_message(message)  # bytes for a file or a socket
```

A message made on a device equals that of the CPU, byte for byte, in every layout, code and chunk size; each
reads the messages of the other. `decode(message, start, stop)`, `decode_values`, `message_sizes` and
`quantize_and_encode` work there as well.

* Encoding: a block of threads codes a chunk into a slot, a running sum over chunks says where each belongs,
  and the slots are moved together. Whole dense chunks of s up to 7 are a warp's each. Checksums are computed
  in parallel, as sums over words. All tensors of a model are one message and a handful of launches. The host
  waits once, for the message's length; with "auto", once more, for the lengths to choose from; at fixed width
  by `quantize_and_encode`, not at all.
* Decoding needs no further index in the format. The threads of a block start at many places of a chunk at
  once. Each then reads again from where the thread before it ended, until nothing changes; Elias codes
  synchronise after a few codewords. Decoding ends for any bytes, at worst as slowly as with one thread.
* A message on a device is as untrusted as one on the host. The host reads header and index and checks them by
  the same code as for the CPU. Each chunk is compared with its checksum, and every codeword, level and
  position is checked before anything depends on it. At the end the host reads one number, which says whether
  all chunks were sound. A bad message is a `MessageError`, and nothing of a bad chunk is written.
* Sums have the CPU's bits: messages are added one after another, in order.
* Gradients of float16 and bfloat16 are read as they are by `quantize` and `quantize_and_encode`: no float32
  copy of them is made. Other methods widen them first.
* Too little device memory is a `MemoryError` that says how much was needed. Encoding needs slots for the
  longest codewords: for s = 7 one byte a coordinate, for s = 127 two.

## Streams and graphs

All launches, copies and scratch memory of a call are on torch's current stream. Tables that stay on the
device are waited for once, so that they are there for every stream, and no table is freed while a stream may
read it. Torch is told of the stream that reads a tensor (`record_stream`).

`quantize_and_encode` with `layout="fixed"` can be captured in a graph of torch. Make the same call once
before, which brings its tables to the device; after that a call copies nothing from the host and waits for
nothing. A graph that is run again encodes what is then in the gradient's memory, with the step and so the
random words of the captured call: capture one for each step, or use it where that does no harm.

```python
ql.quantize_and_encode(gradient, bits=3, layout="fixed")  # tables, once
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    message = ql.quantize_and_encode(gradient, bits=3, layout="fixed")
graph.replay()
```

A step of training takes four launches with buckets of 512: whole rows, the rest, and two for the messages'
sizes. A bucket for a whole model of 10^8 coordinates takes eight.

`backend="cuda"` requires a device; without one it is an error. `pip install "qsgd-lab[cuda]"` brings
numba-cuda with NVVM for CUDA 13; Numba's built-in target with the NVVM of a CUDA toolkit does as well. NVVM
must not be newer than the driver: 13.5 writes PTX that a driver of CUDA 13.0 does not read, and
`make gpu-check` says which version fits. Without a GPU, `NUMBA_ENABLE_CUDASIM=1` runs everything in Numba's
simulator, slowly; torch tensors of the CPU then count as tensors of the device.

## What is checked without a GPU

The test suite compiles every kernel to PTX for compute capabilities 8.0 and 9.0, reads there that no
multiplication is contracted with an addition but the exact squares of the norm, and executes it: PTX
becomes C++ (tests/ptx), each CUDA thread a fiber, in random order. Bits are compared with the CPU's. An
access outside of an array, or not aligned, is an error; so are collectives that lanes reach at different
places, a deadlock, two threads at one byte without a barrier, and a launch beyond the registers of a
multiprocessor. Removed barriers and changed instructions show that such faults are seen. Not seen are weak
ordering of memory, races of atomics, and what ptxas makes of the PTX. `make test-cuda` does the same with
numba-cuda, whose linker optimises once more, gives 2,000 hostile messages to the compiled decoder, which has
the CPU's verdict on each, and counts by a stand-in driver what the host asks for in a call. Where g++ is
missing, that is skipped; the simulator runs fewer examples in plain Python.

## Counted, not timed

Machine instructions a coordinate on the usual path of a kernel's loop, for compute capability 9.0 (ptxas
13.0), held by tests where ptxas and nvdisasm are installed; for decoding, counted look-ups of a warp times
the instructions of each loop. PTX instructions are those of the kernels before.

| kernel | before, PTX | now, machine | registers |
| --- | ---: | ---: | ---: |
| quantize + pack, l2, 4 bits (2, 8 bits) | 100 | 26.9 (26.9, 27.1) | 48 (48, 48) |
| the same in version 2 of the stream | | 23.9 (23.9, 24.1) | 48 (48, 48) |
| the same of float16 (bfloat16), 4 bits | | 29.0 (29.8) | 48 (48) |
| the same with norms taken before, 4 bits (2, 8 bits) | | 24.9 (24.8, 25.0) | 48 (48, 48) |
| quantize to int8 (int16), l2, any alignment | 78 | 30.0 (30.1) | 48 (48) |
| dequantize int8 (int16), any alignment | | 7.7 (7.7) | 56 (56) |
| error feedback: add, quantize, decode, average; a node | | 39.6 | 80 |
| unpack + dequantize, 4 bits (2, 8 bits) | 48 | 3.6 (3.6, 7.3) | 38 (38, 32) |
| encode, dense omega, s <= 7, without checksums and the copy to its place | 101 | 10.4 | 40 |
| decode to values, dense omega, s <= 7, without checksums; estimated | 244 | about 23 | 48 |

Rounding is stochastic. Packing takes rows of 512 coordinates that begin at a multiple of four, in arrays at
multiples of four times their item size: buckets of 512 with the norm in the same pass, all others whose
boundaries are multiples of four with norms of a pass before. Quantizing to levels, error feedback and
dequantizing take rows of 512 at any place, buckets of any size, and s of one byte or two. Encoding and
decoding take whole chunks of 4096. Shorter rows, other widths than 2, 4 and 8 bits and all else go through
the general kernels, which give the same bits.

## What is checked with a GPU

`make gpu-check` runs stages, each in a process with a time limit, which fit into ten minutes
(`MINUTES=10`): versions and compilers; one small kernel; every kernel against the CPU, small and then wide;
the benchmark; memcheck and racecheck of NVIDIA's compute-sanitizer where it is installed; a side stream
against the default one; training. What a stage finds is written at once to `benchmarks/results/<device>/`,
with a summary, and a stage that hangs or fails does not stop the next. It tells a machine without a device
from one without NVVM or with a driver that is too old. `make gpu-check DRY=1` runs all stages without a
device. It needs no network: `pip install --no-deps --no-build-isolation -e .` first. From
`benchmarks/results/<device>.json` this page is made.

## Measured

"""
NOT_YET = "Not yet measured.\n"
LEGEND = (
    "The fraction is the rate of moving the bytes that any implementation has to read and write,\n"
    "divided by the rate at which the same device copies float32 in the same run.\n"
)


def page(results: list[dict[str, Any]]) -> str:
    """Return the page for the contents of the results' files."""
    parts = [section for result in results for section in _device(result)]
    return INTRODUCTION + ("\n".join([*parts, LEGEND]) if parts else NOT_YET)


def _device(result: dict[str, Any]) -> Iterator[str]:
    device = result["device"]
    yield f"### {device['name']}\n"
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield (
        f"{result['date']}; compute capability {device['compute_capability']}, {device['memory_gib']} GiB, "
        f"{device['multiprocessors']} multiprocessors; {versions}.\n"
    )
    yield "| check | comparisons | largest gradient | result |\n| --- | ---: | ---: | --- |"
    for row in result["equality"]:
        verdict = f"differs: {row['failure']}" if row["failure"] else "equal, byte for byte"
        yield f"| {row['name']} | {row['comparisons']} | {row['coordinates']} | {verdict} |"
    for tool, said in result["sanitizer"].items():
        yield f"| {tool} | | | {said} |"
    yield "\n| operation | by | s | coordinates | µs | GB/s | of copy |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for row in result["figures"]:
        rate = row["bytes_moved"] / row["seconds"] / 1e9
        s = "" if row["num_levels"] is None else row["num_levels"]
        yield (
            f"| {row['operation']} | {row['name']} | {s} | {row['coordinates']} | {1e6 * row['seconds']:.1f} "
            f"| {rate:.0f} | {100 * row['copy_fraction']:.0f} % |"
        )
    yield ""


def stored_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the contents of the results' files, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


@click.command()
@click.option("--check", is_flag=True, help="Only compare.")
def main(check: bool) -> None:
    """Write the page, or check it."""
    fresh = page(stored_results())
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
        raise click.ClickException(
            "gpu.md is not what benchmarks/results say; run: python docs/scripts/make_gpu_page.py"
        )


if __name__ == "__main__":
    main()
