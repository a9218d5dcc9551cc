"""The example of the hook runs as its first line says."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import checkout


def test_the_example_trains_and_says_what_it_sent(tmp_path):
    """Over 85 % on the digits after four epochs, and at most a ninth of float32's bytes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*command, str(checkout.ROOT / "examples" / "ddp_hook.py")],
        cwd=tmp_path,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    accuracy, sent, fp32 = map(float, re.findall(r"([\d.]+)(?:%| kB)", done.stdout))
    assert accuracy > 85
    assert sent * 9 < fp32
