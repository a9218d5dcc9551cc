"""Every public function of the theory refuses, in one clear line, whatever its formula excludes.

The walk finds the functions by itself: a new one fails until its parameters have a row in `DOMAINS`.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil

import numpy as np
import pytest

import qsgd_lab.theory
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.theory import arguments
from qsgd_lab.theory.checks.measurement import QuantizerSetting
from qsgd_lab.theory.checks.problems import least_squares, ridge_regression
from qsgd_lab.theory.level_positions import level_positions

NAN, INF = math.nan, math.inf
NO_NUMBERS = [NAN, "3", True, 1j, None]
VECTOR = [3.0, -4.0, 1.0]
CODEBOOK = [[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]]


def whole(good, *more, least=1):
    """Return (good value, excluded ones) of a whole number."""
    return good, [least - 1, -3, 2.5, INF, *NO_NUMBERS, *more]


def optional(good):
    """Return the same for a whole number that may be None."""
    return good, [0, -3, 2.5, INF, NAN, "3", True]


def real(good, *more):
    """Return the same for a real number, `more` being out of its range."""
    return good, [INF, -INF, *NO_NUMBERS, *more]


def name(good):
    """Return the same for a name."""
    return good, [good.upper(), "", f" {good}", "fish", None, 2]


def vector(good, *more):
    """Return the same for a vector."""
    return good, [[], [NAN, 1.0], [INF, 1.0], ["a"], [1j], [True], [[1.0], [1.0, 2.0]], *more]


#: Parameters of no domain of their own: checked where they are made, arrays between parts, free values.
OPAQUE = {"at", "backend", "blocks", "block", "index", "measurement", "printed_step", "problem", "quantizer"}
OPAQUE |= {"setting", "trial", "values_are_one", "negative", "parameters", "dim", "spec", "text", "source"}
OPAQUE |= {"cost", "baseline", "baseline_step", "network"}  # tuples of numbers
OPAQUE |= {"_", "_factor"}  # options, and a factor, that a formula does not depend on

#: Parameter -> (a good value, excluded ones), where a function has no entry of its own below.
DOMAINS = {
    **dict.fromkeys(("block_size", "interval"), whole(4)),
    **dict.fromkeys(("bucket", "gradient"), vector(VECTOR)),
    **dict.fromkeys(("contraction", "contraction_error"), real(0.5, 0.0, -0.5, 1.1)),
    **dict.fromkeys(("bits_per_coordinate", "gradient_second_moment", "gradient_variance"), real(4.0, -1.0)),
    **dict.fromkeys(("first_error", "initial_distance_squared"), real(1.0, -1.0)),
    **{"saved_bytes": real(1e3), "saved_seconds": real(-0.1), "devices": whole(1)},
    "collective": name("all-gather"),
    "batch": whole(2),
    "beta": real(40.0, 0.0, -1.0),
    "bits": whole(3),
    "bandwidth": real(1e8, 0.0, -1.0),
    "bucket_size": optional(2),
    "clip": real(2.5, -0.1),
    "code": name("omega"),
    "code_bits": whole(3, 9),
    "codebook": (CODEBOOK, [[], [[2.0]], [1.0], [[NAN]], [["a"]]]),
    "communication_fraction": real(0.5, -0.1, 1.1),
    "confidence": real(0.95, 0.0, 1.1),
    "convention": name("with-zero"),
    "convexity": real(1.0, 0.0, -1.0),
    "count": whole(3),
    "counts": vector([1.0, 2.0], [-1.0]),
    "distribution": name("normal"),
    "down_bytes": real(9.0, -1.0),
    "end": name("marker"),
    "epochs": whole(1, least=1),
    "exponent": whole([0, 3], -1, least=0),
    "extra_seconds": real(0.1),
    "factor": real(0.5, -0.5),
    "false_alarm_rate": real(1e-3, 0.0, -1.0, 1.5),
    "first": vector([0.1, 0.2], [-0.1]),
    "fraction": real(0.5, 0.0, -0.1, 1.1),
    "gap": real(0.1, 0.0, -1.0),
    "gradient_contraction": real(0.5, -0.1, 1.1),
    "gradient_ratio": (4.0, [0.5, 0.0, -4.0, *NO_NUMBERS]),
    "growth": real(1.25, 0.9, -1.0),
    "has_zero": (True, [1, 0, 1.0, NAN, "yes", None]),
    "high": real(2.0, 0.5, 1.0, -1.0),
    "inner": real(2.0, -1.0),
    "k": whole(2, 4),
    "coefficient": real(0.2, 0.0, -1.0),
    "delay": whole(3, least=0),
    "least": whole(2),
    "rate": real(0.1, -0.1),
    "unit": name("real"),
    "up_to": whole(2, least=0),
    "latency": real(1e-3, -1.0),
    "layout": name("dense"),
    "levels": optional(3),
    "line": whole(1, 3, least=0),
    "little_o": real(0.1, -0.1),
    "log2_k": real(3.0, -0.1),
    "loss_gap": real(2.0, -1.0),
    "low": real(1.0, 0.0, -1.0),
    "machine": whole(2, 3, 8),
    "mask": name("own"),
    "matrix": ([[3.0, 0.0], [0.0, 2.0]], [[], [1.0], [[NAN]], [["a"]], [[[1.0]]], 1.0, None]),
    "max_delay": whole(1, least=0),
    "max_level": whole(7),
    "mean_square": real(4.0, 0.0, -1.0),
    "message_bytes": real(9.0, -1.0),
    "most": real(3.0, 0.0, -1.0, 99.0),
    "multiple_of": whole(2),
    "n": whole(8),
    "name": name("normal"),
    "node_smoothness": vector([4.0, 5.0], [0.0], [-1.0]),
    "nodes": whole(4),
    "noise_variance": real(1.0, -1.0),
    "norm": name("l2"),
    "norm_bits": whole(6, least=0),
    "num_columns": whole(16),
    "num_coordinates": whole(8),
    "num_exponents": whole(3, 1001),
    "num_inner_steps": whole(40),
    "num_levels": whole(3),
    "num_nodes": whole(4),
    "num_points": whole(5, 1),
    "num_rounds": whole(4),
    "num_steps": whole(400),
    "num_workers": whole(4),
    "numbers_a_block": whole(2),
    "plus": (1, [2, -1, NAN, 0.5, "1", None]),
    "positions": vector([0.25, 1.0], [1.5], [-0.5]),
    "probabilities": vector([0.5, 0.5], [-1.0, 1.0], [0.0, 0.0]),
    "q": vector([0.5, 1.0], [1.5], [-0.5]),
    "radius": real(1.0, 0.0, -1.0),
    "rank": whole(1),
    "ratio": whole(2),
    "reset_contraction": real(0.5, 0.0, -0.1, 1.1),
    "reset_ratio": (4.0, [0.5, 0.0, -4.0, *NO_NUMBERS]),
    "restart": optional(2),
    "rotated": ([[1.0, 2.0], [0.0, 3.0]], [[], [1.0], [[NAN]], [["a"]], [[0.0, 0.0]], 1.0, None]),
    "rounding": name("stochastic"),
    "samples": (np.array([1.0, 2.0]), [np.array([]), np.array([1.0])]),
    "scale": real(1.0, 0.0, -1.0),
    "schedule": ([5, 10], [[10, 5], [5, 5], [0, 5], [-5], [2.5], [NAN], ["a"], 5, None]),
    "second": vector([0.1, 0.2], [-0.1]),
    "second_moment": real(1.0, 0.0, -1.0),
    "seed": whole(0, least=0),
    "segment": vector([3.0, 4.0], [1.0], [1.0, 2.0, 3.0]),
    "segment_size": whole(16),
    "shape": ((4, 3), [[-1, 3], [2.5, 3], [NAN, 3], ["a"], [True, 3], 5, None]),
    "shrink": real(4.0, 0.0, -1.0),
    "sign": name("nonzero"),
    "size": whole(64),
    "smoothness": real(4.0, 0.0, -1.0),
    "smoother": (0, [-1, 1, 16, 32.0, False, "32", NAN, None]),
    "square_of_mean": real(4.0, -1.0),
    "squares": real(9.0, -1.0),
    "step": real(0.05, 0.0, -0.1),
    "steps": whole(3),
    "strong_convexity": real(1.0, 0.0, -1.0, 5.0),
    "total": whole(11, 12, least=0),
    "trials": whole(2),
    "up_bytes": real(9.0, -1.0),
    "values": vector([0.0, 1.0, 2.0], [1.0], [1.0, 0.0]),
    "variance": real(1.0, -1.0),
    "variance_factor": real(0.5, -0.5),
    "vector": (np.float32([1, 2, 3, 4]), []),
    "workers": whole(2),
    "x": vector([0.0, 1.0], [1.0, 0.0], [1.0]),
    "y": vector([0.0, 1.0], [1.0]),
}

SETTING = QuantizerSetting(2, 4)
OPAQUE_VALUES = {
    "_factor": 0.5,
    "at": level_positions(VECTOR, 3),
    "negative": np.array([False, True, False]),
    "problem": ridge_regression,
    "setting": SETTING,
    "spec": COMPRESSORS.parse("top-k(fraction=0.5)"),
    "text": "top-k(fraction=0.5)",
    "values_are_one": False,
    "dim": 16,
}
#: (module, function) -> its own domains; those of (module, "") are the module's.
SENT = dict.fromkeys(("rows", "texts", "name", "rival", "layout"), ("", [])) | {"bits": real(2.0)}
HSQ = {"segment": whole(2), "codebook": whole(8), "norm_bits": whole(6, 17, least=0), "mode": name("random")}
OWN = {
    ("checks.code_length_bounds", "explicit_bound"): {},
    ("checks.message_bits", "chunk_bits"): {"levels": (np.array([1, 0, 3]), [])},
    ("checks.sweep", "settings_of"): {
        "bits": ([2], [[], [0], [2.5], [NAN], [16], ["a"]]),
        "levels": (None, [[], [0], [2.5], [NAN], [2**15], ["a"]]),
    },
    ("convergence", "nonconvex_gradient_bound"): {"step": real(0.05, 0.0, -0.1, 0.26)},
    ("convergence", "asynchronous_gradient_bound"): {"num_steps": whole(400, 63)},
    ("convergence", "convex_step"): {"variance": real(1.0, -1.0, 0.0)},
    ("convergence", "printed_parallel_step"): {"variance": real(1.0, -1.0, 0.0)},
    ("cser", "cser_gradient_bound"): {"step": real(0.05, 0.0, -0.1, 0.26)},
    ("dense_code_length", "dense_level_bits"): {"max_level": whole(7, least=0)},
    ("elias", "code_length"): {"k": whole([1, 5], 2**62)},
    ("elias", "floor_log2"): {"k": whole([1, 5], 2**62)},
    ("elias", "length_envelope"): {"log2_k": real(3.0, -0.1, 4097.0)},
    ("elias", "paper_length_shape"): {"k": real(4.0, 0.0, 0.5)},
    ("error_feedback", "scaled_sign_contraction"): {"gradient": vector(VECTOR, [0.0, 0.0])},
    ("error_feedback", "sparsifier_contraction"): {"k": whole(2, 9)},
    ("hyper_sphere", "greedy_contraction"): {"segment": vector([3.0, 4.0], [0.0, 0.0], [1.0])},
    **dict.fromkeys((("hyper_sphere", name) for name in ("expected_error", "expected_bits")), HSQ),
    **{("hyper_sphere", f"rotations_{n}"): {"segment_size": whole(4, 3)} for n in ("variance", "cosines")},
    ("local_sgd", "local_sgd_error_bound"): {
        "beta": real(40.0, 0.0, 31.9),
        "schedule": ([5, 10], [[10, 5], [5, 5], [0, 5], [2.5], [5, 401]]),
    },
    ("local_sgd", "leading_order_error"): {"schedule": ([5, 10], [[10, 5], [5, 5], [0, 5], [2.5], [5, 401]])},
    ("lower_bound", "unbiased_bits"): {"variance_factor": real(0.5, 0.0, -0.5)},
    ("odd_squares", "is_sum_of_odd_squares"): {"total": whole(11, 2**53, least=0)},
    ("qsvrg", "qsvrg_contraction"): {"step": real(0.01, 0.0, -0.1, 0.1)},
    ("methods.block_int", ""): {"bits": (4, [0, 2, 5, 16, 4.0, *NO_NUMBERS]), "machine": whole(1)},
    ("methods.block_int", "relative_error"): {"block_size": whole(3, 2), "vector": vector(VECTOR, [0.0] * 3)},
    ("methods.eden_bound", ""): {"bits": whole(2, 9)},
    ("methods.eden", ""): {"bits": whole(3, 9), "scale": name("unbiased")},
    ("methods.eden", "entropy_coded"): {"step": real(1.0, 0.0, -1.0)},
    ("methods.eden", "bits_of_blocks"): {"num_coordinates": whole(8, least=0), "block_size": whole(4, 3, 6)},
    ("methods.grbs", ""): {"values": name("plain")},
    ("methods.half", ""): {"name": name("fp16"), "values": vector(VECTOR)},
    ("methods.level_set", "exponential_bound"): {"num_levels": whole(3, 1001)},
    ("methods.level_set", "exponential_levels"): {"num_levels": whole(3, 1001)},
    ("methods.level_set", "exponential_variance"): {"num_levels": whole(3, 1001)},
    ("methods.level_set", "expected_bits_nuqsgd"): {"bits": whole(3, 9)},
    ("methods.level_set", "expected_error_natural"): {"gradient": vector(VECTOR, [1.0, -2e38])},
    ("methods.level_set", "expected_error_nuqsgd"): {"bits": whole(3, 9)},
    ("methods.level_set", "two_point_variance"): {
        "levels": vector([0.0, 0.5, 1.0], [1.0], [1.0, 0.0], [0.0, 0.0, 1.0])
    },
    ("methods.qsgd", ""): {"bits": whole(3, 16)},
    ("methods.rand_k", ""): {"k": whole(2, 9), "values": name("unbiased")},
    ("methods.shared_scale", "expected_bits_qsgd_shared"): {"bits": whole(1, 16)},
    ("methods.shared_scale", "expected_error_qsgd_shared"): {"bits": whole(3, 16)},
    ("methods.shared_scale", "expected_error_terngrad"): {"scale": name("own")},
    ("methods.shared_scale", "given_scale_error"): {"scale": real(1.0, -1.0)},
    ("methods.shifts", ""): {"first": name("compressed")},
    ("methods.shifts", "ef21_gradient_bound"): {"gap": real(0.1, -1.0)},
    ("methods.top_k", "squared_error"): {"k": whole(2, 5, least=0), "vector": vector([1.0, 2.0, 3.0, 4.0])},
    ("methods.top_k", "worst_case"): {"k": whole(2, 9, least=0)},
    ("methods.top_k", "contraction"): {"k": whole(2, 9, least=0)},
    ("methods.top_k", "bits"): {"num_coordinates": whole(8, least=0), "k": whole(2, 9, least=0)},
    ("tradeoff", "log2_binomial"): {"n": whole(4, least=0), "k": whole(2, 5, least=0)},
    ("tradeoff_every_vector", "tradeoff_of_every_vector"): {
        "bits": ([2], [[], [0], [2.5], [NAN], [21], ["a"]]),
        "bucket_size": whole(4),
    },
    ("universal_table", "universal_table"): {"resolution": (12, [7, 17, 12.5, NAN, "a"])},
    ("universal_table", "universal_table_bits"): {"resolution": (12, [7, 17, 12.5, NAN, "a"])},
    ("universal_table", "universal_coder_bits"): {
        "resolution": (12, [7, 17, 12.5, NAN, "a"]),
        "num_states": whole(16),
    },
    ("tradeoff_of_vector", "tradeoff_of"): {
        "bits": ([2], [[], [0], [2.5], [NAN], [21], ["a"]]),
        "bucket_size": whole(2),
        "gradient": vector(VECTOR, [0.0, 0.0]),
    },
    ("code_length", "ternary_sparse_bits"): {"num_coordinates": whole(8, 3)},
    ("code_length", "most_sparse_bits"): {"n": real(8.0, 0.0, -1.0)},
    ("checks.compressors", "check_compressor"): {
        "trials": whole(2, least=2),
        "vector": vector([1.0, 2.0, 3.0, 4.0], [0.0, 0.0], [1e39]),
    },
    ("checks.equal_bits", ""): SENT,
    ("checks.compressors", "predicted"): {"vector": vector([1.0, 2.0], [0.0, 0.0])},
    ("checks.distributions", "draw"): {"bucket_size": whole(4)},
    ("checks.blocks", "blocks_of"): {"bucket_size": whole(2)},
}
#: Sweeps hand their arguments on to what is walked, and take seconds; helpers work on what others checked.
LEFT_OUT = {
    ("checks.code_length", "sweep_code_length"),
    ("checks.convergence", "sweep_convergence"),
    *(("checks.measurement", name) for name in ("lab_quantizer", "measure")),
    ("checks.block_sums", "measure_block"),
    ("checks.message_bits", "measure_messages"),
    *(("checks.sweep", name) for name in ("subject_for", "sweep_bits")),
    ("checks.quantizer_tests", "stochastic_tests"),
    ("collectives", "pays_at"),
    *(("methods.level_set", name) for name in ("buckets", "norm_of")),
}


def public_functions():
    """Yield (module below qsgd_lab.theory, function) for every public function of a formula."""
    for module in pkgutil.walk_packages(qsgd_lab.theory.__path__, "qsgd_lab.theory."):
        short = module.name.removeprefix("qsgd_lab.theory.")
        for label, function in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            own = function.__module__ == module.name and not label.startswith("_")
            if own and short not in ("arguments", "arrays") and (short, label) not in LEFT_OUT:
                yield short, function


def domain(module, function, parameter):
    """Return (good value, excluded ones) of one parameter."""
    return {**DOMAINS, **OWN.get((module, ""), {}), **OWN.get((module, function.__name__), {})}[parameter]


def good_arguments(module, function):
    """Return arguments that the function accepts."""
    chosen = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in OPAQUE:
            if parameter.name in OPAQUE_VALUES and parameter.default is parameter.empty:
                value = OPAQUE_VALUES[parameter.name]
                chosen[parameter.name] = value() if inspect.isfunction(value) else value
        else:
            chosen[parameter.name] = domain(module, function, parameter.name)[0]
    return chosen


FUNCTIONS = [
    pytest.param(module, function, id=f"{module}.{function.__name__}")
    for module, function in public_functions()
    if set(inspect.signature(function).parameters) - OPAQUE
]


@pytest.mark.parametrize(("module", "function"), FUNCTIONS)
def test_excluded_arguments_are_refused_by_name(module, function):
    """Each excluded value of each parameter, the others good, is a ValueError of one line that names it."""
    good = good_arguments(module, function)
    function(**good)

    for parameter in good.keys() - OPAQUE:
        for bad in domain(module, function, parameter)[1]:
            with pytest.raises(ValueError) as error:
                function(**{**good, parameter: bad})
            message = str(error.value)
            words = {parameter, parameter.replace("_", " "), "distribution"}
            assert any(word in message for word in words), (parameter, bad, message)
            assert "\n" not in message and len(message) < 200, message


def test_the_walk_sees_all_formulas():
    """The walk covers over a hundred functions, and what it leaves out is there."""
    assert len(FUNCTIONS) > 110
    for module, label in LEFT_OUT:
        assert hasattr(importlib.import_module(f"qsgd_lab.theory.{module}"), label)


def test_lists_are_checked_entry_by_entry():
    """One excluded entry among good ones is refused, and named."""
    with pytest.raises(ValueError, match=r"num_coordinates is 0; it must be a whole number of at least 1"):
        qsgd_lab.theory.variance.worst_case_variance_l2([4, 0, 9], 3)
    with pytest.raises(ValueError, match=r"num_levels is 2\.5"):
        qsgd_lab.theory.variance.paper_variance_bound(4, [1, 2.5])


@pytest.mark.parametrize("good", [3, 3.0, np.int8(3), np.float32(3), np.array(3), np.uint64(3)])
def test_whole_numbers_of_any_type_are_taken(good):
    """Integers and floats of Python and NumPy are one number."""
    assert arguments.whole("n", good) == 3
    assert arguments.number("x", good) == 3.0


@pytest.mark.parametrize(
    "bad", [2**2000, -(2**2000), [3], np.array([3]), object(), {}, "3", b"3", np.bool_(1)]
)
def test_what_is_no_number_is_refused_in_one_short_line(bad):
    """Huge integers, lists, words and objects are not numbers; the message stays short."""
    for check in (arguments.whole, arguments.number):
        with pytest.raises(ValueError, match=r"^n is .*; it must be a ") as error:
            check("n", bad)
        assert len(str(error.value)) < 140


@pytest.mark.parametrize("text", ["", "fish", " QSGD", "qsgd(bits=0)", "qsgd(bits=2", None, 2])
def test_what_names_no_compressor_is_refused(text):
    """A compressor's text that names nothing is refused in one line that says so."""
    from qsgd_lab.theory.checks.compressors import check_compressor

    with pytest.raises(ValueError, match=r"^(cannot read|unknown compressor|qsgd\(bits|text is)") as error:
        check_compressor(text, np.float32(VECTOR))
    assert "\n" not in str(error.value)


def test_an_optimiser_takes_no_least_squares_without_ridge():
    """QSVRG's rate needs strong convexity."""
    from qsgd_lab.theory.checks.convergence import check_qsvrg

    with pytest.raises(ValueError, match="needs a ridge"):
        check_qsvrg(least_squares(), workers=1, epochs=1)
