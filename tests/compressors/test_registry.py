"""Methods are named by text: one parser, one canonical form, one clear line for what is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS, QSGD, Method, Option
from qsgd_lab.registry import Registry
from qsgd_lab.report.methods import facts
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.methods import compressor_fields, compressor_of
from qsgd_lab.training.presets import configurations

NAMES = sorted(COMPRESSORS.methods())


@st.composite
def texts(draw):
    """Draw a text of a chain of wrappers around a method, with some options and odd spacing."""
    space = draw(st.sampled_from(["", " ", "  "]))
    text = draw(st.sampled_from(["fp32", "qsgd", "top-k"]))
    if text == "qsgd":
        given_options = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "bits": st.integers(1, 8),
                    "norm": st.sampled_from(["l2", "max"]),
                    "bucket-size": st.sampled_from([64, 512, "tensor", "model"]),
                },
            )
        )
        text += f"({space}{f',{space}'.join(f'{k}{space}={v}' for k, v in given_options.items())})"
    elif text == "top-k":
        text += f"(fraction={draw(st.sampled_from(['0.01', '0.5', '1e-3']))}{space})"
    for wrapper in draw(st.lists(st.sampled_from(["ef", "raw-small"]), max_size=2, unique=True)):
        text = f"{wrapper}({space}{text}{space})"
    return text


@given(texts())
def test_the_canonical_text_is_a_fixed_point(text):
    """Parsing the canonical text gives the same text, options and compressor."""
    spec = COMPRESSORS.parse(text)
    again = COMPRESSORS.parse(str(spec))

    assert str(again) == str(spec)
    assert again.options == spec.options
    assert type(again.make()) is type(spec.make())
    assert " " not in str(spec)


@pytest.mark.parametrize("name", NAMES)
def test_options_at_their_default_are_left_out(name):
    """A method's name alone, and every option at its default, are one text."""
    method = COMPRESSORS.methods()[name]
    inner = ["qsgd"] if method.is_wrapper else []
    spelt = [f"{option.name}={option.default}" for option in method.options]
    bare = f"{name}({inner[0]})" if inner else name

    assert str(COMPRESSORS.parse(f"{name}({','.join([*inner, *spelt])})")) == bare


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read ''; write it as name"),
        ("topk", "unknown compressor 'topk'; did you mean 'top-k'"),
        ("qsgd(", "a closing \\) is missing"),
        ("qsgd(bits=2", "is missing at the end"),
        ("qsgd(bits=2))", "'\\)' is left over"),
        ("qsgd(bits=2,)", "is missing at ',\\)'"),
        ("qsgd(bits=2,bits=3)", "bits is given twice"),
        ("qsgd(bits=two)", "bits is 'two'; it must be an integer"),
        ("qsgd(bit=2)", "qsgd has no option 'bit'; it takes the options bits"),
        ("qsgd(norm=l3)", "norm is 'l3'; it must be one of: l2, max"),
        ("qsgd(qsgd)", "cannot read 'qsgd\\(qsgd\\)' at 'qsgd\\)': qsgd takes the options"),
        ("ef", "ef wraps a compressor"),
        ("ef()", "ef wraps a compressor"),
        ("fp32(bits=1)", "fp32 has no option 'bits'; it takes no options"),
        ("ef(" * 3000 + "qsgd" + ")" * 3000, "more than 32 wrappers"),
        ("qsgd;rm", "cannot read 'qsgd;rm' at ';rm'"),
        ("qsgd(bits=0)", "bits is 0"),
        ("biased-qsgd(bits=9223372036854775807)", "it must be an integer from 1 to 15"),
        ("top-k(fraction=0)", "fraction is 0.0; it must be above 0"),
        ("top-k(fraction=nan)", "fraction is 'nan'"),
        ("damped(top-k)", "only an unbiased quantizer is damped"),
        ("raw-small(qsgd,up_to=-1)", "tensors of up to -1"),
    ],
)
def test_what_is_wrong_is_one_clear_line(text, message):
    """Every malformed text, unknown name, bad option and impossible stacking is refused with its reason."""
    with pytest.raises(ValueError, match=message) as caught:
        COMPRESSORS.parse(text).make()
    assert "\n" not in str(caught.value)


def test_what_the_shorthand_can_say_has_its_fields():
    """A text that --bits and its companions can express sets the same fields, and so has the same key."""
    assert compressor_fields("fp32") == {"bits": 32}
    assert compressor_fields("ef(qsgd(bits=2,norm=max,bucket-size=model))") == {
        "bits": 2,
        "norm": "max",
        "bucket_size": "model",
        "rounding": "stochastic",
        "error_feedback": True,
        "raw_tensors_up_to": 0,
        "convention": None,
    }
    assert compressor_fields("qsgd(bits=2, stream_version=1)") == compressor_fields("qsgd(bits=2)")
    assert compressor_fields("ef(qsgd(bits=2, stream_version=2))") == {
        "compressor": "ef(qsgd(bits=2,stream_version=2))",
        "plugins": (),
    }
    assert compressor_fields("ef( top-k( fraction=0.05 ) )") == {
        "compressor": "ef(top-k(fraction=0.05))",
        "plugins": (),
    }


def test_the_key_of_a_run_tells_the_version_of_its_stream():
    """Version 1, written or left out, is one key; version 2 is another, and its record gives it back."""
    texts = ["qsgd(bits=2)", "qsgd(bits=2,stream_version=1)", "qsgd(bits=2,stream_version=2)"]
    cells = [configurations("demo", ["alexnet"], [2], [text], [0], {})[0] for text in texts]
    again = RunConfig.from_dict(cells[2].to_dict())

    assert cells[0].key == cells[1].key != cells[2].key
    assert again.key == cells[2].key
    assert compressor_of(again).stream_version == 2


def test_listing_compressors_loads_neither_numba_nor_torch():
    """Plans, tables and the command line name methods without the cost of running one."""
    code = (
        "import sys\n"
        "from qsgd_lab.compressors.registry import COMPRESSORS\n"
        "COMPRESSORS.parse('ef(qsgd(bits=2))').label, COMPRESSORS.methods()\n"
        "sys.exit(sum(name in sys.modules for name in ('numba', 'torch')))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_methods_of_one_name_are_refused():
    """A name of the package, or of another plug-in, cannot be taken."""
    method = Method("qsgd", object, (), lambda _: "", summary="", source="")
    with pytest.raises(ValueError, match="two compressors are named 'qsgd', from qsgd_lab and elsewhere"):
        COMPRESSORS.register(method, "elsewhere")
    with pytest.raises(ValueError, match="'Q S' is not a method's name"):
        COMPRESSORS.register(Method("Q S", object, (), lambda _: "", summary="", source=""), "elsewhere")
    assert COMPRESSORS.methods()["qsgd"].origin == "qsgd_lab"


def test_every_method_says_what_it_is():
    """Name, summary, source, options with help, a label; the theory it names can be imported."""
    for registry in (COMPRESSORS, ALGORITHMS):
        for method in registry.methods().values():
            assert method.summary
            assert method.source
            assert all(option.help for option in method.options)
            if method.theory:
                __import__(method.theory)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("false", False)])
def test_a_truth_value_is_read_as_it_is_written(text, value):
    """An option of type bool takes true and false, and nothing else."""
    assert Option("on", bool, False, "").parse("mine", text) is value
    with pytest.raises(ValueError, match="on is 'no'; it must be true or false"):
        Option("on", bool, False, "").parse("mine", "no")


def test_a_listing_has_no_number_that_json_lacks():
    """A bound that is infinite or NaN bounds nothing: it is None, as one that is not known."""

    class Boundless(QSGD):
        def variance_factor(self, num_coordinates):
            return float("inf")

        def contraction(self, num_coordinates):
            return float("nan")

    registry = Registry("compressor", ())
    registry.register(
        Method("boundless", lambda: Boundless(bits=2), (), lambda _: "b", summary="", source="")
    )
    (row,) = facts(registry)
    assert (row["variance_factor"], row["contraction"]) == (None, None)
