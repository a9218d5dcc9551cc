"""The Python edition: pickles are read for their bytes, and call nothing."""

from __future__ import annotations

import builtins
import os
import pickle

import cifar_fixture as fixture
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.data.cifar10.find import Source
from qsgd_lab.data.cifar10.formats import parse_batch
from qsgd_lab.data.cifar10.read import read_cifar10
from qsgd_lab.errors import IntegrityError

IMAGES, LABELS = (part[0] for part in fixture.images_and_labels())
ROWS = IMAGES.reshape(fixture.PER_FILE, 3072)
WRITERS = {"Python 2": fixture.original_pickle, "Python 3": fixture.modern_pickle}


def pickled(**entries):
    """Return a pickled batch with some entries replaced."""
    batch = {b"data": ROWS, b"labels": LABELS.tolist()} | {k.encode(): v for k, v in entries.items()}
    return pickle.dumps(batch, protocol=2)


@pytest.mark.parametrize("writer", WRITERS)
def test_batches_of_both_pythons_are_read(writer):
    """A batch written by Python 2, as the official ones, or by Python 3 gives back images and labels."""
    images, labels = parse_batch(WRITERS[writer](ROWS, LABELS), fixture.PER_FILE)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == labels.dtype == np.uint8


def test_the_handmade_pickle_is_what_python_2_wrote():
    """The fixture's Python 2 batch loads with the ordinary unpickler too: the fixture is a real pickle."""
    batch = pickle.loads(fixture.original_pickle(ROWS, LABELS), encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], ROWS)
    assert batch[b"labels"] == LABELS.tolist()


def test_text_keys_are_read_too():
    """A batch that someone wrote again with text for keys is the same batch."""
    again = pickle.dumps({"data": ROWS, "labels": LABELS.tolist()}, protocol=4)
    np.testing.assert_array_equal(parse_batch(again, fixture.PER_FILE)[0], IMAGES)


class Payload:
    """What an attacker would pickle: a call to be made while loading."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function",
    [
        os.system,
        builtins.eval,
        builtins.exec,
        builtins.open,
        builtins.getattr,
        np.fromfile,
        np.load,
        pickle.loads,
    ],
)
def test_a_payload_is_refused_and_not_called(tmp_path, function):
    """A pickle that asks for any other function is refused, in every protocol, and leaves no trace."""
    trace = tmp_path / "trace"
    for protocol in (0, 1, 2, 4):
        hostile = pickle.dumps({b"data": Payload(function, f"touch {trace}")}, protocol)
        with pytest.raises(ValueError, match=r"(asks for|uses) .*, which no batch needs"):
            parse_batch(hostile, fixture.PER_FILE)
    assert not trace.exists()


def test_a_payload_in_an_archive_is_one_error(tmp_path):
    """Read from an archive or a folder, a payload is an integrity error that names the file."""
    release = fixture.tiny_release(pinned=False)
    files = fixture.python_files() | {"data_batch_3": pickle.dumps(Payload(os.system, "true"), 2)}
    archive = tmp_path / release.python.archive
    archive.write_bytes(fixture.archive_of(release.python.folder, files))
    folder = fixture.write_folder(tmp_path / release.python.folder, files)
    for path in (archive, folder):
        with pytest.raises(IntegrityError, match=r"holds data_batch_3, which asks for posix\.system"):
            read_cifar10(Source(path, release, release.python, is_archive=path == archive))


def test_a_known_checksum_is_compared_before_the_pickle_is_opened(tmp_path, monkeypatch):
    """Where the MD5 of a file is known, a file with another never reaches the unpickler."""
    release = fixture.tiny_release()
    files = fixture.python_files() | {"data_batch_1": pickle.dumps(Payload(os.system, "true"), 2)}
    folder = fixture.write_folder(tmp_path / release.python.folder, files)
    monkeypatch.setitem(
        read_cifar10.__globals__, "parse_batch", lambda *_: pytest.fail("the pickle was opened")
    )
    with pytest.raises(IntegrityError, match="holds data_batch_1, which has"):
        read_cifar10(Source(folder, release, release.python, is_archive=False))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a pickle"),
        (pickled()[:-9], "not a pickle"),
        (pickle.dumps([1]), "holds a list"),
        (pickled(data=None), "has data of NoneType"),
        (pickled(data=ROWS[:5]), r"shape \(5, 3072\)"),
        (pickled(data=ROWS.astype(np.float32)), "not an array of uint8"),
        (pickled(data=ROWS.astype(object)), "not an array of uint8"),
        (pickled(data=np.asfortranarray(ROWS)), "row by row"),
        (pickled(labels=None), "no list of 20 labels"),
        (pickled(labels=[0] * 19), "no list of 20 labels"),
        (pickled(labels=[10] * 20), "integers from 0 to 9"),
        (pickled(labels=[-1] * 20), "integers from 0 to 9"),
        (pickled(labels=[True] * 20), "integers from 0 to 9"),
        (pickled(labels=["0"] * 20), "integers from 0 to 9"),
    ],
)
def test_what_is_no_batch_is_refused(content, complaint):
    """Damaged pickles, other types, shapes, orders and labels are refused with what is wrong."""
    with pytest.raises(ValueError, match=complaint):
        parse_batch(content, fixture.PER_FILE)


def test_the_array_may_not_be_larger_than_its_bytes():
    """A shape that promises more than the pickle holds allocates nothing and is refused."""
    promise = fixture.original_pickle(ROWS, LABELS).replace(
        b"J\x14\0\0\0M\0\x0c\x86", b"J\xff\xff\xff\x7fM\0\x0c\x86"
    )
    with pytest.raises(ValueError, match="not a pickle"):
        parse_batch(promise, fixture.PER_FILE)


@pytest.mark.parametrize(
    ("pickled_object", "complaint"),
    [
        (b"\x80\x02]r\xff\xff\xff\x7f.", "numbers an object 2147483647 among 2"),
        (b"\x80\x02]p999999999\n.", "operation PUT"),
        (b"\x80\x02\x82\x01.", "operation EXT1"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "operation NEWOBJ"),
        (b"(inumpy\nndarray\n.", "operation INST"),
    ],
)
def test_operations_that_no_batch_needs_are_refused_unseen(pickled_object, complaint):
    """A pickle that would fill the memory or reach for registries is refused before it is carried out."""
    with pytest.raises(ValueError, match=complaint):
        parse_batch(pickled_object, fixture.PER_FILE)


SHORT = fixture.original_pickle(ROWS[:1], LABELS[:1])


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 220), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_pickle_only_ever_raises_value_error(changes):
    """Whatever bytes of a batch are changed, it is read or refused; nothing else happens."""
    content = bytearray(SHORT)
    for position, value in changes:
        content[position] = value
    try:
        images, labels = parse_batch(bytes(content), 1)
    except ValueError:
        return
    assert images.shape == (1, 3, 32, 32)
    assert labels.max() <= 9
