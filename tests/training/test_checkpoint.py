"""Checkpoints: what is read back is what was written, and nothing else is read."""

import json
from pathlib import Path

import numpy as np
import pytest

from qsgd_lab.training import checkpoint
from qsgd_lab.training.checkpoint import FORMAT, load_checkpoint, save_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    """Arrays and scalars come back bit for bit; floats of JSON too, infinities and NaN among them."""
    arrays = {"a": np.float32([1, np.nan, -0.0]), "b": np.arange(6).reshape(2, 3)}
    scalars = {"x": 0.1 + 0.2, "y": float("inf"), "z": [1, None, "é"]}
    save_checkpoint(tmp_path / "new" / "c.npz", "k1", arrays, scalars)
    stored = load_checkpoint(tmp_path / "new" / "c.npz", "k1")
    assert stored is not None
    assert {n: (v.dtype, v.tobytes()) for n, v in stored[0].items()} == {
        n: (v.dtype, v.tobytes()) for n, v in arrays.items()
    }
    assert stored[1] == scalars
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "c.npz"]


def test_another_runs_checkpoint_is_not_used(tmp_path: Path) -> None:
    """A checkpoint of another configuration is as good as none."""
    save_checkpoint(tmp_path / "c.npz", "k1", {}, {})
    assert load_checkpoint(tmp_path / "c.npz", "k2") is None
    assert load_checkpoint(tmp_path / "missing.npz", "k1") is None


@pytest.mark.parametrize("cut", [0, 1, 40, 200, -30, -1])
def test_damaged_checkpoints_are_not_used(tmp_path: Path, cut: int) -> None:
    """A truncated file is as good as none."""
    path = tmp_path / "c.npz"
    save_checkpoint(path, "k", {"a": np.arange(100.0)}, {"s": 1})
    path.write_bytes(path.read_bytes()[:cut])
    assert load_checkpoint(path, "k") is None


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    """An object array, which only a pickle can hold, is refused."""
    path = tmp_path / "c.npz"
    save_checkpoint(path, "k", {"a": np.array([1])}, {})
    with np.load(path) as stored:
        head = stored["_scalars"]
    np.savez(path, _scalars=head, a=np.array([{}], dtype=object))
    assert load_checkpoint(path, "k") is None
    np.savez(path, _scalars=head, a=np.array([1]))
    assert load_checkpoint(path, "k") is not None


@pytest.mark.parametrize(
    ("arrays", "scalars"),
    [
        ({"a": np.arange(5.0)}, {"s": 1}),
        ({"a": np.arange(6.0).reshape(2, 3)}, {"s": 1}),
        ({"a": np.arange(6.0, dtype=np.float32)}, {"s": 1}),
        ({"b": np.arange(6.0)}, {"s": 1}),
        ({}, {"s": 1}),
        ({"a": np.arange(6.0)}, {}),
        ({"a": np.arange(6.0)}, None),
        ({"a": np.arange(6.0)}, {"s": 2}),
    ],
)
def test_a_sound_file_of_another_state_is_not_used(
    tmp_path: Path, arrays: dict[str, np.ndarray], scalars: object
) -> None:
    """An array that is shorter, of another type or missing, or other scalars: the run starts over."""
    path = tmp_path / "c.npz"
    save_checkpoint(path, "k", {"a": np.arange(6.0)}, {"s": 1})
    with np.load(path) as stored:
        head = json.loads(str(stored["_scalars"]))
    np.savez(path, _scalars=np.array(json.dumps({**head, "scalars": scalars})), **arrays)
    assert load_checkpoint(path, "k") is None


def test_a_checkpoint_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run keeps may change: a checkpoint that says another format, or none, is as good as none."""
    path = tmp_path / "c.npz"
    monkeypatch.setattr(checkpoint, "FORMAT", FORMAT - 1)
    save_checkpoint(path, "k", {}, {})
    monkeypatch.undo()
    assert load_checkpoint(path, "k") is None
    np.savez(path, _scalars=np.array('{"key": "k", "scalars": {}}'))
    assert load_checkpoint(path, "k") is None


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the new state, not the old one."""
    path = tmp_path / "c.npz"
    save_checkpoint(path, "k", {}, {"version": 1})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, "k", {}, {"version": 2})
    stored = load_checkpoint(path, "k")
    assert stored is not None
    assert stored[1] == {"version": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_no_damage_is_an_error_or_another_state(tmp_path: Path) -> None:
    """With any bit of any byte of the file flipped, the state is none or the one that was saved."""
    path = tmp_path / "c.npz"
    arrays = {"a": np.float32([1, 2])}
    save_checkpoint(path, "k", arrays, {"s": 1})
    good = path.read_bytes()
    for place in range(len(good)):
        for bit in (0, 3, 6):
            damaged = bytearray(good)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            stored = load_checkpoint(path, "k")
            assert stored is None or (
                stored[1] == {"s": 1}
                and {name: array.tobytes() for name, array in stored[0].items()}
                == {name: array.tobytes() for name, array in arrays.items()}
            )
