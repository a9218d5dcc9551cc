"""Several buckets on their way: the order of what is begun, and who is told of an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.distributed.bucket_messages import add_raw, groups_of, raw_bytes
from qsgd_lab.distributed.gradient_layout import Run
from qsgd_lab.distributed.pipeline import Pipeline
from qsgd_lab.errors import MessageError


def bucket(name, stages, log, fails_at=None):
    """Return a bucket that writes what it does into a log, a letter and a number a stage."""
    for stage in range(stages):
        if stage == fails_at:
            raise ValueError(name)
        log.append(f"{name}{stage}")
        if stage < stages - 1:
            yield


def send(pipeline, name, stages, log, fails_at=None):
    """Add a bucket, and return its future."""
    future = torch.futures.Future()
    pipeline.add(bucket(name, stages, log, fails_at), torch.tensor([stages]), future)
    return future


def test_a_new_bucket_begins_before_older_ones_go_on():
    """Three buckets in two phases: begun, turned and ended in one order, whatever has arrived."""
    pipeline, log = Pipeline(), []
    futures = []
    for name in "abc":
        futures.append(send(pipeline, name, 3, log))
        pipeline.advance(to_the_end=name == "c")
    assert log == ["a0", "b0", "a1", "c0", "b1", "a2", "c1", "b2", "c2"]
    pipeline.release()
    assert all(future.wait() == 3 for future in futures)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8))
def test_every_bucket_ends_and_no_two_change_places(stages):
    """Of any numbers of stages: each is done once, and buckets of as many end in the order they came."""
    pipeline, log = Pipeline(), []
    for number, count in enumerate(stages):
        send(pipeline, f"{number} ", count, log)
        pipeline.advance(to_the_end=number == len(stages) - 1)
    assert sorted(log) == sorted(f"{n} {i}" for n, count in enumerate(stages) for i in range(count))
    for count in set(stages):
        ends = [entry for entry in log if entry in {f"{n} {count - 1}" for n in range(len(stages))}]
        ends = [int(entry.split()[0]) for entry in ends if stages[int(entry.split()[0])] == count]
        assert ends == sorted(ends)


def test_an_error_reaches_every_bucket_on_its_way():
    """Those before the one that fails, and those after it; what had ended keeps its mean."""
    pipeline, log = Pipeline(), []
    done = send(pipeline, "a", 1, log)
    pipeline.advance(to_the_end=False)
    waiting, failing = send(pipeline, "b", 3, log), send(pipeline, "c", 2, log, fails_at=0)
    with pytest.raises(ValueError, match="c") as caught:
        pipeline.advance(to_the_end=False)
    pipeline.fail(caught.value)
    pipeline.release()
    assert done.wait() == 1
    for future in (waiting, failing):
        with pytest.raises((RuntimeError, ValueError), match="c"):
            future.wait()


@given(st.lists(st.tuples(st.integers(1, 1 << 18), st.booleans()), max_size=12))
def test_groups_have_every_run_once(sizes):
    """In order; and each group but the last has enough to be sent."""
    runs = [Run(i, [slice(0, size)], slice(0, size), is_raw) for i, (size, is_raw) in enumerate(sizes)]
    groups = groups_of(runs)
    assert [i for group in groups for i in sorted(group.coded + group.raw)] == list(range(len(runs)))
    assert all(runs[i].is_raw for group in groups for i in group.raw)
    assert not any(runs[i].is_raw for group in groups for i in group.coded)
    for group in groups[:-1]:
        assert sum(sizes[i][0] for i in group.coded + group.raw) >= 1 << 17


def test_values_in_float32_arrive_or_are_refused():
    """To the bit; every byte that changes is noticed, and so is one too few."""
    values = np.array([1.5, -0.0, 1e-45, np.inf], np.float32)
    data = raw_bytes(values)
    total = np.array([1, 0, 0, 0], np.float32)
    add_raw(data, total)
    assert np.array_equal(total, [2.5, 0, np.float32(1e-45), np.inf])
    for position in range(data.size):
        damaged = data.copy()
        damaged[position] ^= 1
        with pytest.raises(MessageError, match="checksum"):
            add_raw(damaged, total)
    with pytest.raises(MessageError, match="checksum"):
        add_raw(data[:-1], total)
