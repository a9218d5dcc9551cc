"""What `import qsgd_lab as ql` gives: names, their first words, and answers to what they cannot take."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from compressor_cases import CASES

import qsgd_lab as ql
from qsgd_lab import compressors
from qsgd_lab.compressors.wrappers.raw_small_tensors import RawSmallTensors

GRADIENT = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
QUANTIZED = ql.quantize(GRADIENT, bits=2, seed=3)
MESSAGE = ql.encode(QUANTIZED)
RAW_BYTES = bytes(MESSAGE)


def fresh(code):
    """Run code in a new interpreter; return (exit code, stdout, stderr)."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_every_name_is_there():
    """All of `__all__` can be had and is listed; other names are an AttributeError as usual."""
    assert all(getattr(ql, name) is not None for name in ql.__all__)
    assert set(ql.__all__) <= set(dir(ql))
    assert ql.QSGD is compressors.QSGD
    assert ql.ErrorFeedback is compressors.ErrorFeedback
    with pytest.raises(AttributeError, match="has no attribute 'QSDG'"):
        _ = ql.QSDG


def test_the_import_loads_no_compressors():
    """Compressors are loaded at the first use of a name; torch and Numba not even then."""
    code = (
        "import sys, qsgd_lab as ql\n"
        "assert 'qsgd_lab.compressors' not in sys.modules\n"
        "ql.ErrorFeedback(ql.QSGD(bits=2))\n"
        "print({'torch', 'numba'} & set(sys.modules))"
    )
    assert fresh(code) == (0, "set()\n", "")


@pytest.mark.parametrize("name", CASES)
def test_the_repr_of_a_compressor_is_the_call_that_makes_it(name):
    """Evaluated, it makes a compressor of the same repr."""
    names = {kind.__name__: kind for kind in _kinds(compressors.Compressor)}
    plain = CASES[name]()
    wrapped = ql.ErrorFeedback(plain if plain.interactive else RawSmallTensors(plain, 5))
    for text in map(repr, (plain, wrapped)):
        assert repr(eval(text, dict(names))) == text  # of our own making
        assert " at 0x" not in text


def _kinds(kind):
    return [kind, *(below for sub in kind.__subclasses__() for below in _kinds(sub))]


def test_reprs_say_what_differs_from_the_default():
    """A wrapper shows what it wraps; arguments at their default are left out."""
    assert repr(ql.QSGD(bits=2)) == "QSGD(levels=3)"
    assert repr(ql.ErrorFeedback(ql.QSGD(bits=3, norm="max"))) == "ErrorFeedback(QSGD(levels=7, norm='max'))"
    text = "<QuantizedGradient of shape (20, 30): levels -3..3, 2 l2 norms>"
    assert repr(QUANTIZED) == repr(ql.decode(MESSAGE)) == text


#: Function -> what it is given -> the words of its TypeError.
WRONG = {
    "encode an array": (ql.encode, GRADIENT, r"not a ndarray: write encode\(quantize\("),
    "encode a tensor": (ql.encode, torch.from_numpy(GRADIENT), r"not a Tensor: write encode\(quantize\("),
    "encode a list": (ql.encode, [0.5], r"not a list: write encode\(quantize\("),
    "encode a message": (ql.encode, MESSAGE, "not a Message: this is a message already"),
    "encode bytes": (ql.encode, RAW_BYTES, "not a bytes: this is a message already"),
    "encode nothing": (ql.encode, None, "no kind carries a NoneType; payloads are"),
    "dequantize a message": (ql.dequantize, MESSAGE, r"not a Message; decode\(message\) makes one"),
    "dequantize bytes": (ql.dequantize, RAW_BYTES, r"not a bytes; decode\(message\) makes one"),
    "dequantize an array": (ql.dequantize, GRADIENT, r"not a ndarray; quantize\(gradient, bits=...\) makes"),
    "dequantize nothing": (ql.dequantize, None, "not a NoneType; quantize and decode return one"),
    "size of an array": (ql.message_sizes, GRADIENT, r"not a ndarray; quantize\(gradient, bits=...\) makes"),
    "decode text": (ql.decode, "QSGD", "a message is bytes, or an array or tensor of uint8; this is a str"),
    "decode nothing": (ql.decode, None, "this is a NoneType"),
    "decode a quantized gradient": (ql.decode, QUANTIZED, "this is a QuantizedGradient"),
    "decode a float tensor": (ql.decode, torch.ones(99), "tensor of torch.float32; a message is one of"),
    "values of text": (ql.decode_values, "QSGD", "this is a str"),
    "open text": (ql.open_message, "QSGD", "this is a str"),
    "add text": (partial(ql.add_decoded, total=np.zeros(600, np.float32)), ["QSGD"], "this is a str"),
    "add one tensor": (
        partial(ql.add_decoded, total=np.zeros(600, np.float32)),
        torch.from_numpy(np.array(MESSAGE)),
        "put a single one in a list",
    ),
    "add to a masked total": (
        lambda total: ql.add_decoded([MESSAGE], total),
        np.ma.masked_array(np.zeros(600, np.float32)),
        "total must be a contiguous float32 array",
    ),
    "add to a sparse total": (
        lambda total: ql.add_decoded([MESSAGE], total),
        torch.zeros(600).to_sparse(),
        "total must be a contiguous float32 array",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_wrong_thing_is_answered_with_the_right_one(name):
    """A TypeError says what was given and which function makes of it what is wanted."""
    function, given, words = WRONG[name]
    with pytest.raises(TypeError, match=words):
        function(given)


@pytest.mark.parametrize("version", [1, 2])
def test_a_message_in_a_tensor_is_decoded_to_tensors(version):
    """As many bytes in a CPU tensor give the same, in tensors; a sum takes messages of either kind."""
    message = ql.encode(QUANTIZED, version=version)
    tensor = torch.from_numpy(np.array(message))
    values = ql.dequantize(QUANTIZED)
    decoded = ql.decode(tensor)
    assert isinstance(decoded.levels, torch.Tensor)
    assert isinstance(decoded.norms, torch.Tensor)
    assert np.array_equal(ql.dequantize(decoded).numpy(), values)
    assert np.array_equal(ql.decode_values(tensor).numpy(), values)
    assert np.array_equal(ql.decode(tensor, 5, 9).levels.numpy(), QUANTIZED.levels[5:9])
    total = torch.zeros(600)
    ql.add_decoded([tensor, message], total)
    assert np.array_equal(total.numpy(), 2 * values.reshape(-1))


@pytest.mark.parametrize("threads", [0, -1, 2.5, 2.0, np.float64(2), True, "2", float("nan"), [2]])
def test_threads_are_a_whole_number(threads):
    """Every function with `threads` refuses what is not an integer from 1 up, even where none is used."""
    empty = ql.quantize(np.zeros(0, np.float32), bits=2)
    calls = (
        lambda: ql.encode(QUANTIZED, threads=threads),
        lambda: ql.encode(QUANTIZED, layout="fixed", backend="reference", threads=threads),
        lambda: ql.encode(empty, version=2, threads=threads),
        lambda: ql.decode(MESSAGE, threads=threads),
        lambda: ql.decode(ql.encode(empty), threads=threads),
        lambda: ql.decode_values(MESSAGE, threads=threads),
        lambda: ql.add_decoded([], np.zeros(600, np.float32), threads=threads),
        lambda: ql.message_sizes(QUANTIZED, version=2, threads=threads),
        lambda: ql.quantize_and_encode(GRADIENT, bits=2, threads=threads),
        lambda: ql.quantize_and_encode(GRADIENT, 2, "omega", "dense", threads=threads),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"threads is .*; it must be an integer, at least 1, or None"):
            call()


AT_EXIT = """
import atexit, threading, numpy as np, qsgd_lab as ql
gradient = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
q = ql.quantize(gradient, bits=2)
message = ql.encode(q, threads={before})
def late():
    assert ql.encode(ql.quantize(gradient, bits=2), threads=3) == message
    assert (ql.decode(message, threads=3).levels == q.levels).all()
    total = np.zeros(50_000, np.float32)
    ql.add_decoded([message], total, threads=3)
    assert (total == ql.dequantize(q)).all()
    assert ql.quantize_and_encode(gradient, 2, "omega", "dense", threads=3) == ql.encode(q, "omega", "dense")
    print("late")
{register}
"""
REGISTER = {
    "atexit": "atexit.register(late)",
    "a thread": (
        "def wait():\n    threading.main_thread().join()\n    late()\nthreading.Thread(target=wait).start()"
    ),
}


@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize("way", REGISTER)
def test_threads_are_done_without_at_the_interpreters_exit(way, before):
    """Encoders and decoders work when no thread can start any more, whether there were helpers or not."""
    code, output, errors = fresh(AT_EXIT.format(before=before, register=REGISTER[way]))
    assert (code, output, errors) == (0, "late\n", "")
