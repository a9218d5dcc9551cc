"""What callers give to `compress` and to wrappers, at every method of the registry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compressor_cases import EVERY

import qsgd_lab as ql
from qsgd_lab.compressors import COMPRESSORS, Damped, Layout
from qsgd_lab.compressors.wrappers.raw_small_tensors import RawSmallTensors
from qsgd_lab.compressors.wrappers.shifts import Shifted
from qsgd_lab.stream import Stream

torch = pytest.importorskip("torch")
N = 64
LAYOUT = Layout.of(N)
#: Multiples of 1/8 below 8, which float16 and bfloat16 hold too.
X = (np.random.default_rng(0).integers(-32, 32, N) / 8).astype(np.float32)
T = torch.from_numpy(X.copy())
SAME = {
    "two dimensions": X.reshape(8, 8),
    "columns first": np.asfortranarray(X.reshape(8, 8).T).T,
    "strided": np.repeat(X, 2)[::2],
    "float16": X.astype(np.float16),
    "tensor": T,
    "tensor of two dimensions": T.reshape(8, 8),
    "tensor that requires a gradient": T.clone().requires_grad_(),
    "negated tensor": torch._neg_view(-T),
    "bfloat16 tensor": T.bfloat16(),
}
#: Input -> the error's type, and what it begins with.
REFUSED = {
    "masked": (np.ma.array(X, mask=X > 1), TypeError, "gradient is a masked array"),
    "masked nowhere": (np.ma.array(X), TypeError, "gradient is a masked array"),
    "None": (None, TypeError, "gradient is a NoneType"),
    "a text": ("gradient", TypeError, "gradient is a str"),
    "float64": (X.astype(np.float64), TypeError, "gradient is float64"),
    "a list": (X.tolist(), TypeError, "gradient is float64"),
    "integers": (np.arange(N), TypeError, "gradient is int64"),
    "complex": (X.astype(np.complex64), TypeError, "gradient is complex64"),
    "other byte order": (X.astype(">f4"), TypeError, "gradient is >f4"),
    "sparse": (T.to_sparse(), TypeError, "gradient is a sparse_coo tensor"),
    "nested": (
        torch.nested.nested_tensor([T, T], layout=torch.jagged),
        TypeError,
        "gradient is a nested tensor",
    ),
    "meta": (T.to("meta"), TypeError, "gradient is a meta tensor"),
    "short": (X[:10], ValueError, f"gradient has 10 coordinates, but the state is for {N}"),
    "long": (np.zeros(N + 1, np.float32), ValueError, f"gradient has {N + 1} coordinates"),
}
WRAPPED = (
    "ef(eden)",
    "ef21(top-k)",
    "ef21(bf16)",
    "diana(qsgd,first=dense)",
    "ef(powersgd)",
    "raw-small(fp32)",
)
ROWS = sorted({*EVERY, *WRAPPED})


def make(text):
    """Return the compressor that a text names."""
    return COMPRESSORS.parse(text).make()


def second_step(compressor, gradient):
    """Return what is decoded of a gradient after a first step of the usual one, as bytes."""
    _, state = compressor.compress(X, compressor.init(LAYOUT), Stream(1))
    decoded = compressor.decompress(compressor.compress(gradient, state, Stream(1, step=1))[0])
    return np.asarray(decoded).reshape(-1).tobytes()


@pytest.mark.parametrize("text", ROWS)
def test_a_gradient_of_any_form_is_read_alike(text):
    """Shape, library, strides and 16-bit formats change no bit; what is no gradient is one clear line."""
    compressor = make(text)
    expected = second_step(compressor, X)
    _, after = compressor.compress(X, compressor.init(LAYOUT), Stream(1))

    for kind, gradient in SAME.items():
        assert second_step(compressor, gradient) == expected, kind
    for kind, (gradient, error, words) in REFUSED.items():
        for state in (compressor.init(LAYOUT), after):
            with pytest.raises(error) as raised:
                compressor.compress(gradient, state, Stream(1))
            assert str(raised.value).startswith(words) and "\n" not in str(raised.value), kind


@pytest.mark.parametrize("text", ROWS)
def test_other_arguments_are_checked_too(text):
    """A number for a layout or a stream is named in one line."""
    compressor = make(text)
    for call in (lambda: compressor.init(N), lambda: compressor.init_nodes(2, N)):
        with pytest.raises(
            TypeError, match=r"^layout is the int 64; it must be a Layout, such as Layout\.of\("
        ):
            call()
    with pytest.raises(TypeError, match=r"^stream is the int 3; it must be a Stream, such as Stream\("):
        compressor.compress(X, compressor.init(LAYOUT), 3)


@pytest.mark.parametrize("text", ["qsgd", "ef(qsgd)", "ef21(top-k)", "damped(qsgd)", "one-bit", "powersgd"])
def test_a_missing_state_is_named(text):
    """None where a state is needed."""
    with pytest.raises(TypeError, match=r"^state is None; give what init\(layout\)"):
        make(text).compress(X, None, Stream())


@pytest.mark.parametrize(
    "wrap",
    [
        ql.ErrorFeedback,
        Damped,
        lambda inner: Shifted(inner, biased=True),
        lambda inner: RawSmallTensors(inner, 10),
    ],
)
@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ("qsgd", r"not the str 'qsgd': make it with COMPRESSORS\.parse\(text\)\.make\(\)$"),
        (ql.QSGD, r"not the class QSGD: call QSGD\(\.\.\.\)$"),
        (None, "such as QSGD.bits=4., not None$"),
        (4, "not the int 4$"),
    ],
)
def test_wrappers_say_what_they_wrap(wrap, inner, words):
    """A text, a class, or another object in place of a compressor is one clear line."""
    with pytest.raises(TypeError, match=r"^[\w ]+ wraps a compressor.*" + words):
        wrap(inner)


def seen_by_all(text, bad):
    """Whether the payload of a vector with one such coordinate decodes to something not finite."""
    compressor, spoiled = make(text), X.copy()
    spoiled[5] = bad
    with np.errstate(all="ignore"):
        _, state = compressor.compress(X, compressor.init(LAYOUT), Stream(3))
        payload = compressor.compress(spoiled, state, Stream(3, step=1))[0]
        return not np.isfinite(
            compressor.decompress(compressor.wire.unpack(compressor.wire.pack(payload), LAYOUT))
        ).all()


def is_wrapped(text, wrapper):
    """Whether the wrapper takes the method."""
    try:
        make(wrapper.format(text))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", sorted(EVERY))
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_seen_by_all(text, bad):
    """Under every wrapper, but for random masks without `skip_nonfinite`: what is not drawn is not sent."""
    if text.startswith(("damped", "raw-small", "ef(", "ef21", "diana")):
        text = "qsgd"
    for wrapper in ("ef({},skip_nonfinite=true)", "ef({})", "ef21({})", "diana({})", "diana({},first=dense)"):
        is_masked = text.startswith(("rand-k", "grbs")) and "skip" not in wrapper
        if not is_masked and is_wrapped(text, wrapper):
            assert seen_by_all(wrapper.format(text), bad), wrapper
