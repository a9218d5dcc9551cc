"""Layout `ranged` in the form of every processor: one stream, and one verdict on whatever is read."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import ranged_forms
from llvmlite import binding, ir

from qsgd_lab.kernels.cpu.messages import ranged_turns
from qsgd_lab.kernels.cpu.messages.ranged_turns import FORM, build_decode_turn, build_encode_turn, form_for

LINUX = "x86_64-unknown-linux-gnu"
PROCESSORS = [("haswell", "avx2"), ("nehalem", "ssse3"), ("generic", None)]


@pytest.fixture(scope="module")
def expected():
    """Return what the form of this machine makes of the cases."""
    return ranged_forms.lines()


@pytest.mark.parametrize(("processor", "form"), PROCESSORS)
def test_every_form_writes_and_reads_one_stream(expected, processor, form):
    """Under another processor's instructions streams, levels and verdicts on damaged streams are the same."""
    if not FORM or FORM == "neon":
        pytest.skip("the processor lacks the instructions of the other forms")
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, ranged_forms.__file__], env=environment, capture_output=True, text=True, check=True
    )
    found = done.stdout.splitlines()

    assert found[0] == str(form)
    assert found[1:] == expected[1:]


def test_damage_is_met_and_refused(expected):
    """Whole streams are read; most damage is refused, by a state and by the length: the verdicts tell."""
    verdicts = [line for line in expected if line.startswith("[")]
    damaged = [line for line in verdicts if not line.startswith("[1 1 1 1 1]")]

    assert len(verdicts) == len(ranged_forms.CASES) * (1 + ranged_forms.FLIPS)
    assert len(damaged) > len(verdicts) / 2
    assert any("[1 1 1 1 1]" in line for line in damaged)
    assert any("[1 1 1 1 1]" not in line for line in damaged)


@pytest.mark.parametrize(
    ("processor", "form"),
    [
        ("skylake-avx512", "avx512"),
        ("znver3", "avx2"),
        ("haswell", "avx2"),
        ("sandybridge", "ssse3"),
        ("nehalem", "ssse3"),
        ("core2", "ssse3"),
        ("x86-64", None),
    ],
)
def test_the_form_follows_the_processor(processor, form):
    """What LLVM makes of a small program tells which instructions a processor has."""
    assert form_for(LINUX, processor, "") == form


def test_features_decide_over_the_name():
    """Features that are taken away or given count, whatever the processor's name."""
    assert form_for(LINUX, "haswell", "-avx2") == "ssse3"
    assert form_for(LINUX, "nehalem", "-ssse3,-sse4.1,-sse4.2") is None
    assert form_for(LINUX, "haswell", "+avx512f") == "avx512"
    assert form_for("aarch64-unknown-linux-gnu", "generic", "") == "neon"


def turns_of(form):
    """Return a module of LLVM with both turns in one form."""
    module, integer = ir.Module(), ir.IntType
    for name, build, widths in (
        ("decode", build_decode_turn, (32, 32, 16, 8)),
        ("encode", build_encode_turn, (64, 8, 32, 32, 16)),
    ):
        kind = ir.FunctionType(integer(64), [integer(width).as_pointer() for width in widths])
        function = ir.Function(module, kind, name)
        builder = ir.IRBuilder(function.append_basic_block())
        builder.ret(build(builder, form, *function.args))
    return str(module)


@pytest.mark.parametrize(
    ("form", "triple", "processor", "instruction"),
    [
        ("avx512", LINUX, "skylake-avx512", "vpexpandd"),
        ("avx2", LINUX, "haswell", "vpgatherdd"),
        ("ssse3", LINUX, "core2", "pshufb"),
        ("neon", "aarch64-unknown-linux-gnu", "generic", "tbl"),
    ],
)
def test_every_form_compiles(form, triple, processor, instruction):
    """The instructions of every form can be selected, also those of a processor that is not here."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=processor, features="", opt=2)

    assert instruction in machine.emit_assembly(binding.parse_assembly(turns_of(form)))
    assert form in ranged_turns.FORMS
