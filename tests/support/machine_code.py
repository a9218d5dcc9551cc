"""Machine instructions of compiled kernels, counted along the usual path of a loop.

The machine code is what ptxas makes, read by nvdisasm; both come with a CUDA toolkit, or from PyPI as
nvidia-cuda-nvcc and nvidia-cuda-nvdisasm.
"""

from __future__ import annotations

import heapq
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from ptx_compiler import assemblers

from qsgd_lab.kernels.cuda.toolkit import candidate_homes

LABEL = re.compile(r"\s*(\.L_\w+):")
INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]{4,5}\*/\s+(.*?);")
TARGET = re.compile(r"`\((\.L_\w+)\)")


def disassembler() -> str | None:
    """Return where nvdisasm is, or None."""
    places = [shutil.which("nvdisasm"), *(str(home / "bin" / "nvdisasm") for home in candidate_homes())]
    return next((place for place in places if place and Path(place).exists()), None)


def machine_code(ptx: str) -> str:
    """Return the disassembly of a kernel for compute capability 9.0; skip where a program is missing."""
    nvdisasm, programs = disassembler(), assemblers()
    if nvdisasm is None or not programs:
        pytest.skip("no ptxas or no nvdisasm: pip install nvidia-cuda-nvcc nvidia-cuda-nvdisasm")
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), str(Path(folder, "kernel.cubin"))
        source.write_text(ptx)
        for ptxas in programs:
            command = [ptxas, "-arch=sm_90", str(source), "-o", binary]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                break
        return subprocess.run([nvdisasm, "-c", binary], capture_output=True, text=True, check=True).stdout


class Code:
    """Instructions of a disassembly, and where each may go on."""

    def __init__(self, text: str) -> None:
        self.instructions: list[str] = []
        labels: dict[str, int] = {}
        for line in text.splitlines():
            if found := LABEL.match(line):
                labels[found[1]] = len(self.instructions)
            elif found := INSTRUCTION.match(line):
                self.instructions.append(found[1])
        self.targets = [
            labels.get(found[1]) if "BRA" in line and (found := TARGET.search(line)) else None
            for line in self.instructions
        ]

    def next_of(self, i: int) -> list[int]:
        """Return the instructions that may follow instruction i; copies for divergent lanes are left out."""
        line, target = self.instructions[i], self.targets[i]
        if target is None or "BRA.DIV" in line:
            return [] if line.startswith(("EXIT", "RET")) else [i + 1]
        is_conditional = line.startswith("@") or re.search(r"BRA\s+!?U?P\d", line) is not None
        return [target, i + 1] if is_conditional else [target]

    def length(self, start: int, end: int) -> int | None:
        """Return how many instructions the shortest way from one to another takes, without a call."""
        best, queue = {start: 0}, [(0, start)]
        while queue:
            steps, i = heapq.heappop(queue)
            if i == end:
                return steps
            for j in self.next_of(i):
                if (
                    j < len(self.instructions)
                    and "CALL" not in self.instructions[j]
                    and steps + 1 < best.get(j, 1 << 30)
                ):
                    best[j] = steps + 1
                    heapq.heappush(queue, (steps + 1, j))
        return None

    def loop(self, holding: str) -> tuple[int, int]:
        """Return (first, last) of the smallest loop with an instruction that matches."""
        loops = [(target, i) for i, target in enumerate(self.targets) if target is not None and target <= i]
        fitting = [
            (last - first, first, last)
            for first, last in loops
            if any(re.search(holding, line) for line in self.instructions[first : last + 1])
            and not any("COLLECTIVE" in line for line in self.instructions[first : last + 1])
        ]
        _, first, last = min(fitting)
        return first, last

    def usual_path(self, holding: str, waypoints: list[str]) -> int:
        """Return the instructions of a turn of a loop that passes by what matches the waypoints."""
        first, last = self.loop(holding)
        total, place = 1, first
        for waypoint in waypoints:
            following = range(place + (total > 1), last + 1)
            there = next(i for i in following if re.search(waypoint, self.instructions[i]))
            steps = self.length(place, there)
            assert steps is not None, waypoint
            total, place = total + steps, there
        steps = self.length(place, last)
        assert steps is not None
        return total + steps
