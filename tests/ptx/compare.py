"""The device checks of gpu_check, with kernels executed as compiled code; and faults that must be seen.

NUMBA_ENABLE_CUDASIM=1 python tests/ptx/compare.py            little of everything, as the test suite runs it
NUMBA_ENABLE_CUDASIM=1 python tests/ptx/compare.py --long     more of everything, and every fault

A JSON object a line: a check's outcome, or a fault and what was seen of it. It ends with 1 where a check
failed. QSGD_LAB_PTX_PYTHON names the interpreter whose numba.cuda compiles.
"""

from __future__ import annotations

import json
import re
import sys
import time

from executor import Compiled, LaunchError, Schedule
from simulated import LAUNCHES

SCOPES = {
    "short": {"sizes": (1, 31, 513, 4097), "large": 9001, "repeats": 6, "levels": tuple(range(1, 256, 17))},
    "long": {"sizes": (1, 31, 513, 4097, 20_003), "large": 2**17 + 77, "repeats": 10},
}
#: Random order; then also preemption at one of 40 accesses, and a look-out for races.
SCHEDULES = {"random": Schedule(seed=1, blockorder=1), "races": Schedule(seed=7, preempt=40, race=1)}


def tell(**facts):
    """Write a line."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def run_checks(scope, schedule):
    """Run all checks under a schedule; return whether all are equal."""
    from qsgd_lab.gpu_check.cases import Scope, run_check
    from qsgd_lab.gpu_check.checks import CHECKS

    good = True
    for name, check in CHECKS:
        LAUNCHES.schedule, begun = SCHEDULES[schedule], time.process_time()
        outcome = run_check(name, check, Scope(**scope, device="cpu"))
        good = good and outcome.failure is None
        tell(
            check=name,
            schedule=schedule,
            comparisons=outcome.comparisons,
            failure=outcome.failure,
            seconds=round(time.process_time() - begun, 1),
        )
    return good


def run_rare(schedule):
    """Run the kernels that the checks rarely reach: rows of two bits, and decoding of zero buckets."""
    import numpy as np
    import torch

    from qsgd_lab.coding.decode import decode
    from qsgd_lab.coding.encode import encode
    from qsgd_lab.gpu_check.quantizer_checks import _words, packed
    from qsgd_lab.quantization import dequantize, quantize

    LAUNCHES.schedule = SCHEDULES[schedule]
    x = np.random.default_rng(2).standard_normal(9001, dtype=np.float32)
    x[512:1024] = 0
    ternary = quantize(x, levels=1, bucket_size=512)
    words, _, values = packed(torch.from_numpy(x.copy()), ternary, 0, "stochastic")
    others = []  # norms of buckets that are not rows, at each width that full rows may have
    for s, bucket_size in ((1, 100), (7, "tensor"), (127, 1024)):
        q = quantize(x, levels=s, bucket_size=bucket_size)
        found, _, decoded = packed(torch.from_numpy(x.copy()), q, 0, "stochastic")
        others += [(found.numpy(), _words(q)), (decoded.numpy(), dequantize(q))]
    levels = decode(torch.from_numpy(np.array(encode(ternary))), backend="cuda").levels
    pairs = [
        (words.numpy(), _words(ternary)),
        (values.numpy(), dequantize(ternary)),
        (levels.numpy(), ternary.levels),
        *others,
    ]
    good = all(np.array_equal(found, expected) for found, expected in pairs)
    failure = None if good else "other bits"
    tell(check="two bits, zero buckets", schedule=schedule, comparisons=len(pairs), failure=failure)
    return good


def cases():
    """Return kernel name -> a function that says whether its result is the CPU's."""
    from dataclasses import replace

    import numpy as np
    import torch

    from qsgd_lab.coding.decode import decode
    from qsgd_lab.coding.encode import encode
    from qsgd_lab.gpu_check.quantizer_checks import _words, packed
    from qsgd_lab.quantization import dequantize, quantize

    x = np.random.default_rng(1).standard_normal(9001, dtype=np.float32)
    q, wide = (quantize(x, levels=s, bucket_size=512) for s in (7, 18))  # 6 bits: no row is a full one
    device = replace(q, **{name: torch.from_numpy(getattr(q, name).copy()) for name in ("levels", "norms")})
    message = np.array(encode(q, "gamma", "sparse"))

    def packs():
        words, _, values = packed(torch.from_numpy(x.copy()), wide, 0, "stochastic")
        return np.array_equal(words.numpy(), _words(wide)) and np.array_equal(
            values.numpy(), dequantize(wide)
        )

    def encodes():
        return np.array_equal(np.asarray(encode(device, "gamma", "sparse", backend="cuda")), message)

    def decodes():
        found = decode(torch.from_numpy(message.copy()), backend="cuda").levels
        return np.array_equal(found.numpy(), q.levels)

    return {"quantize_pack_rows": packs, "encode_chunks": encodes, "decode_chunks": decodes}


BARRIER = re.compile(r"\s*(bar\.sync|bar\.warp\.sync)\b")
#: What an instruction becomes, for faults of arithmetic.
CHANGES = [(r"\badd\.s64\b", "sub.s64"), (r"\bshl\.b64\b", "shr.u64"), (r"\bor\.b32\b", "and.b32")]


def faults(ptx, every):
    """Yield (what was done, PTX): each barrier removed, and some instructions changed."""
    lines = ptx.splitlines()
    for i, line in enumerate(lines):
        if BARRIER.match(line):
            yield f"without {line.strip()} of line {i + 1}", [*lines[:i], "", *lines[i + 1 :]]
    for pattern, other in CHANGES:
        places = [i for i, line in enumerate(lines) if re.search(pattern, line)]
        for i in places[:: 1 if every else max(1, len(places))]:
            changed = re.sub(pattern, other, lines[i])
            yield f"line {i + 1}: {lines[i].strip()} -> {other}", [*lines[:i], changed, *lines[i + 1 :]]


def verdict(is_right):
    """Return how a fault shows: as an error, as other bits, or not at all."""
    from qsgd_lab.kernels.cuda.launch import launch_shape

    for warps in (4, 2):
        for seed in (5, 77, 1234):
            LAUNCHES.schedule = Schedule(seed=seed, preempt=20, race=1)
            try:
                with launch_shape(warps, 1):
                    if not is_right():
                        return "other bits"
            except Exception as error:
                return f"error: {error}"[:160]
    return "not seen"


def inject(every):
    """Try faults, one at a time; tell what was seen of each."""
    for name, is_right in cases().items():
        sound = verdict(is_right)
        tell(kernel=name, fault=None, seen=sound)
        tried = list(faults(LAUNCHES.latest[name].ptx, every))
        for what, lines in tried if every else tried[:2] + tried[-1:]:
            try:
                LAUNCHES.replaced[name] = Compiled("\n".join(lines))
                tell(kernel=name, fault=what, seen=verdict(is_right))
            except LaunchError as error:
                tell(kernel=name, fault=what, seen=f"error: {error}"[:160])
            del LAUNCHES.replaced[name]


def main(arguments):
    """Run what the arguments name; return the exit status."""
    long = "--long" in arguments
    LAUNCHES.install()
    scope, good = SCOPES["long" if long else "short"], True
    for schedule in SCHEDULES:
        if schedule == "races" and not long:
            scope = {**scope, "levels": scope["levels"][::4], "large": 4097, "repeats": 3}
        if f"--no-{schedule}" not in arguments:
            good = run_checks(scope, schedule) and run_rare(schedule) and good
    if "--no-faults" not in arguments:
        inject(long)
    tell(launches=dict(LAUNCHES.launches))
    LAUNCHES.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
