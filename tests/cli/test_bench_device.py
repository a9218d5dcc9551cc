"""`qsgd-lab bench --backend cuda`: refusals without a device, and how figures are printed."""

from __future__ import annotations

import json

from click.testing import CliRunner

from qsgd_lab.bench.device_suite import DeviceFigure
from qsgd_lab.cli.bench.device import render
from qsgd_lab.cli.main import cli
from qsgd_lab.errors import UsageError
from qsgd_lab.kernels.cuda import device as device_cuda

#: Made up: no device ever gave these.
FIGURES = [
    DeviceFigure("torch", "copy", None, 1000, 1e-6, 8000, 1.0),
    DeviceFigure("qsgd-lab", "quantize and pack", 7, 1000, 2e-6, 4508, 0.28175),
]


def refusal(*arguments):
    """Return the one line with which the command refuses."""
    result = CliRunner().invoke(cli, ["bench", "--backend", "cuda", *arguments])
    assert isinstance(result.exception, UsageError)
    assert result.stdout == ""
    return str(result.exception)


def test_without_a_device_it_is_one_line(monkeypatch):
    """No device: usage error, one line that names what would work, nothing on stdout."""
    monkeypatch.setattr(device_cuda, "has_device", lambda: False)

    assert "needs a CUDA device, and there is none" in refusal()
    assert "\n" not in refusal()


def test_options_of_the_cpu_are_refused():
    """What only the CPU's benchmark knows is not ignored in silence."""
    for arguments in (("--threads", "2"), ("--end-to-end",), ("--against", "naive")):
        assert "are for the CPU; leave out --backend cuda" in refusal(*arguments)


def test_figures_as_text_and_json():
    """Text has microseconds, rate and fraction of the copy; JSON has the figures as they are."""
    text = render(FIGURES, {"coordinates": 1000}, "text")
    found = json.loads(render(FIGURES, {"coordinates": 1000}, "json"))

    assert "28 %" in text
    assert "quantize and pack" in text
    assert found["conditions"] == {"coordinates": 1000}
    assert found["figures"][1]["bytes_moved"] == 4508
