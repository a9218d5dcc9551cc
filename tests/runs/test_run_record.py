"""run.json is parsed strictly: a sound record or a ValueError, whatever the bytes."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from typing import Any

import pytest
from fake_worker import make_config, make_outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.runs.environment import collect_environment
from qsgd_lab.runs.record import RunRecord


def make_record(**changes: Any) -> RunRecord:
    """Return a sound record of `make_config(**changes)`."""
    config = make_config(**changes).canonical()
    outcome = make_outcome(config)
    return RunRecord(
        key=config.key,
        status=outcome.status,
        config=config,
        result=outcome.result,
        timing=outcome.timing,
        environment={"python": "3.11.7", "torch": None, "dirty": False, "threads": 1},
    )


DOCUMENT: dict[str, Any] = json.loads(make_record().to_json())

#: Every field of a record, as a path of names.
FIELDS = [(name,) for name in DOCUMENT] + [
    (group, name) for group in ("config", "result", "timing") for name in DOCUMENT[group]
]


def edited(path: tuple[str, ...], value: Any) -> str:
    """Return a sound record's JSON with one field replaced, or removed if the value is `...`."""
    document = copy.deepcopy(DOCUMENT)
    place = document
    for name in path[:-1]:
        place = place[name]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize("bits", [1, 2, 32])
def test_round_trip(bits: int) -> None:
    """from_json(to_json(record)) is the record, and its text is a fixed point."""
    record = make_record(bits=bits)
    assert RunRecord.from_json(record.to_json()) == record
    assert RunRecord.from_json(record.to_json()).to_json() == record.to_json()


def test_canonical_text() -> None:
    """The text has sorted names, an indent of one, and a newline at its end."""
    text = make_record().to_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_missing_field(path: tuple[str, ...]) -> None:
    """A record without any one of its fields is refused, and the message names the field."""
    with pytest.raises(ValueError, match=path[-1]):
        RunRecord.from_json(edited(path, ...))


@pytest.mark.parametrize("group", [(), ("config",), ("result",)])
def test_unknown_field(group: tuple[str, ...]) -> None:
    """A field that the schema does not know is refused."""
    with pytest.raises(ValueError, match="unknown"):
        RunRecord.from_json(edited((*group, "surprise"), 1))


@pytest.mark.parametrize(
    "path",
    [path for path in FIELDS if path[0] in ("key", "status", "schema", "result", "timing")],
    ids=".".join,
)
@pytest.mark.parametrize("value", [True, [1], {"a": {}}, -1, 2**70, "a\x1b[2Jb", "x" * 1000])
def test_wrong_value(path: tuple[str, ...], value: Any) -> None:
    """Values of another type, negative and huge numbers, control characters and long texts are refused."""
    with pytest.raises(ValueError):
        RunRecord.from_json(edited(path, value))


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_not_finite(constant: str) -> None:
    """No number in a record is NaN or infinite, however it is spelled."""
    text = edited(("timing", "total_s"), "here").replace('"here"', constant)
    with pytest.raises(ValueError):
        RunRecord.from_json(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("schema",), True),
        (("result", "test_accuracy"), 1.5),
        (("config", "nodes"), 0),
        (("config", "nodes"), 2.0),
        (("config", "seed"), True),
        (("config", "bits"), 32),  # then rounding and norm would be null
        (("config", "bucket_size"), 0.5),
        (("environment",), {"torch": ["2.13"]}),
        (("environment",), {"user\n": 1}),
        (("environment",), {"cpu": "\ud800"}),  # half a surrogate pair: could not be printed
    ],
)
def test_out_of_range(path: tuple[str, ...], value: Any) -> None:
    """Values of the right type that no run can have are refused too."""
    with pytest.raises(ValueError):
        RunRecord.from_json(edited(path, value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        b"\xff\xfe",
        b"\x80\x04N.",
        "[" * 100_000,
        '{"schema": 1, "schema": 1}',
        '{"schema": ' + "1" * 10_000 + "}",
    ],
    ids=range(9),
)
def test_hostile_text(text: str | bytes) -> None:
    """Truncated, binary, bottomless and ambiguous texts are a ValueError and nothing else."""
    with pytest.raises(ValueError):
        RunRecord.from_json(text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@given(path=st.sampled_from(FIELDS), value=JSON_VALUES)
@settings(max_examples=200)
def test_any_value_anywhere(path: tuple[str, ...], value: Any) -> None:
    """A record with any JSON in any field is refused, or is sound: finite, and written again alike."""
    try:
        record = RunRecord.from_json(edited(path, value))
    except ValueError:
        return
    assert RunRecord.from_json(record.to_json()) == record
    assert all(math.isfinite(seconds) for seconds in record.timing.values())
    assert 0 <= record.result["test_accuracy"] <= 1


@given(data=st.data())
@settings(max_examples=200)
def test_any_damage_to_bytes(data: st.DataObject) -> None:
    """Bytes of a record cut out and replaced by others give a sound record or a ValueError."""
    raw = make_record().to_json().encode()
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(start + 40, len(raw))))
    damaged = raw[:start] + data.draw(st.binary(max_size=8)) + raw[end:]
    try:
        record = RunRecord.from_json(damaged)
    except ValueError:
        return
    assert RunRecord.from_json(record.to_json()) == record


def test_stale() -> None:
    """A record is stale when its key is not what today's component versions make of its configuration."""
    assert not make_record().is_stale
    assert RunRecord.from_json(edited(("key",), "0123456789ab")).is_stale


def test_environment_fits_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names versions, device and threads, and no path or host."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = collect_environment("cuda:0")
    assert RunRecord.from_json(edited(("environment",), environment)).environment == environment
    assert {"python", "torch", "numpy", "numba", "commit", "dirty"} < environment.keys()
    assert (environment["device"], environment["threads"]) == ("cuda:0", 1)
    assert not any("/" in str(value) for value in environment.values())


def test_imports_are_light() -> None:
    """qsgd_lab.runs, environment included, imports no numpy, numba or torch (beyond qsgd_lab's own)."""
    code = (
        "import sys, qsgd_lab; before = set(sys.modules);"
        "import qsgd_lab.runs.plan, qsgd_lab.runs.sweep, qsgd_lab.runs.environment as environment;"
        "environment.collect_environment();"
        "print(sorted({'numpy', 'numba', 'torch'} & (sys.modules.keys() - before)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
