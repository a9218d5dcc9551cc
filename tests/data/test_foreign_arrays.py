"""Arrays from files of others: every kind is read, and no damage is more than one clear line."""

from __future__ import annotations

import io
import json
import os
import re
import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qsgd_lab.data.foreign_arrays import read_array, read_arrays
from qsgd_lab.errors import DataMissingError, IntegrityError, LabError, UsageError

VALUES = np.float32([[1, -2.5, 0], [np.inf, 3e-39, -0.0]])


def safetensors(dtype: str, array: np.ndarray, **changes: Any) -> bytes:
    """Return the bytes of a .safetensors file, made by hand."""
    content = array.tobytes()
    entry = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [0, len(content)], **changes}
    header = json.dumps({"__metadata__": {"format": "pt"}, "grad": entry}).encode()
    return len(header).to_bytes(8, "little") + header + content


def npy(array: np.ndarray) -> bytes:
    """Return the bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def files() -> dict[str, bytes]:
    """Return `VALUES` in files of every kind."""
    compressed, stored, tensor, state = (io.BytesIO() for _ in range(4))
    np.savez_compressed(compressed, grad=VALUES)
    np.savez(stored, VALUES)
    torch.save(torch.from_numpy(VALUES), tensor)
    torch.save({"grad": torch.from_numpy(VALUES)}, state)
    return {
        "little.npy": npy(VALUES),
        "big.npy": npy(VALUES.astype(">f4")),
        "columns.npy": npy(np.asfortranarray(VALUES)),
        "compressed.npz": compressed.getvalue(),
        "stored.npz": stored.getvalue(),
        "tensor.pt": tensor.getvalue(),
        "state.pt": state.getvalue(),
        "a.safetensors": safetensors("F32", VALUES),
    }


FILES = files()


@pytest.mark.parametrize("name", FILES)
def test_every_kind_is_read(tmp_path: Path, name: str) -> None:
    """The same numbers, bit for bit, in native byte order, whatever the kind of file and its name."""
    path = tmp_path / "named-otherwise"
    path.write_bytes(FILES[name])
    array = read_array(path)
    assert array.dtype == np.float32
    assert array.dtype.isnative
    assert array.shape == VALUES.shape
    assert array.tobytes() == VALUES.tobytes()


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_read(tmp_path: Path, name: str) -> None:
    """A pipe gives what an ordinary file gives."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(FILES[name],))
    writer.start()
    array = read_array(path)
    writer.join()
    assert array.tobytes() == VALUES.tobytes()


def test_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    """Bfloat16 comes as the float32 of the same value, from torch's files and from safetensors."""
    tensor = torch.tensor([1.5, -3e-5, float("inf"), 2.0**-133]).bfloat16()
    torch.save(tensor, tmp_path / "a")
    (tmp_path / "b").write_bytes(safetensors("BF16", tensor.view(torch.int16).numpy()))
    for name in "ab":
        assert read_array(tmp_path / name).tobytes() == tensor.float().numpy().tobytes()


@pytest.mark.parametrize("name", FILES)
def test_damage_is_one_line(tmp_path: Path, name: str) -> None:
    """Cut anywhere, or with any byte changed, a file gives an array or one clear line, nothing else."""
    path, good = tmp_path / name, FILES[name]
    step = max(1, len(good) // 60)
    for place in range(0, len(good), step):
        flipped = bytearray(good)
        flipped[place] ^= 1 << (place % 8)
        for bad in (good[:place], bytes(flipped)):
            path.write_bytes(bad)
            line = outcome(path)
            assert line is None or re.fullmatch(f".*{name}.*", line)


def outcome(path: Path) -> str | None:
    """Return the line that reading a file ends with, None if there is an array."""
    try:
        read_array(path)
    except LabError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("(4000, ", "damaged"),  # the header ends too early
        ("(2305843009213693952,)", "takes 9223372036854775808 bytes"),
        ("(99999999999999999999999,)", "takes"),
        ("(-4,)", "damaged"),
        ("(True,)", "damaged"),
        ("(3,)", "takes 12 bytes, and there are 24"),
        ("([], 1)", "damaged"),
        ("(" * 200, "damaged"),
    ],
)
def test_headers_that_lie(tmp_path: Path, shape: str, words: str) -> None:
    """A header that says another size than the file has is damage, found before memory is asked for."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    path = tmp_path / "bad.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(24))
    with pytest.raises(IntegrityError, match=words):
        read_array(path)


@pytest.mark.parametrize(
    "changes", [{"shape": [2**60]}, {"shape": [-1, -6]}, {"data_offsets": [0, 2**70]}, {"shape": "6"}]
)
def test_safetensors_that_lie(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Sizes and offsets that are not those of the file are damage."""
    (tmp_path / "bad").write_bytes(safetensors("F32", VALUES, **changes))
    with pytest.raises(IntegrityError):
        read_array(tmp_path / "bad")


def test_a_tensor_expanded_by_strides_is_refused(tmp_path: Path) -> None:
    """A .pt file of one stored number that claims 2^40 of them allocates nothing."""
    torch.save(torch.zeros(1).expand(2**40), tmp_path / "wide.pt")
    with pytest.raises(IntegrityError, match="takes more bytes"):
        read_array(tmp_path / "wide.pt")


@pytest.mark.parametrize(
    ("tensor", "old", "words"),
    [
        (torch.ones(3, device="meta"), False, "without values"),
        (torch.ones(3).to(torch.float8_e4m3fn), False, "float8_e4m3fn, which NumPy does not have"),
        (torch.ones(3), True, "before torch 1.6"),
    ],
)
def test_what_is_no_damage_is_not_called_so(
    tmp_path: Path, tensor: torch.Tensor, old: bool, words: str
) -> None:
    """A good file of a kind that is not read is the user's matter, with what would be right."""
    torch.save(tensor, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(UsageError, match=words):
        read_array(tmp_path / "a.pt")


def test_folders_in_an_archive_are_no_arrays(tmp_path: Path) -> None:
    """Programs that make zip archives of folders add entries for these."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.mkdir("d")
        archive.writestr("d/grad.npy", npy(VALUES))
    assert read_array(tmp_path / "a.npz").tobytes() == VALUES.tobytes()
    assert list(read_arrays(tmp_path / "a.npz")) == ["d/grad"]


class Code:
    """Runs something when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-pickle",)


def test_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickles in .npy, .npz and .pt files are refused, and what they would do is not done."""
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([Code()], dtype=object))
    np.savez("a.npz", np.array([Code()], dtype=object))
    torch.save(Code(), "a.pt")
    for name in ("a.npy", "a.npz", "a.pt"):
        with pytest.raises((UsageError, IntegrityError)):
            read_array(Path(name))
    assert not Path("made-by-a-pickle").exists()


def test_what_is_no_array_is_named(tmp_path: Path) -> None:
    """Missing files, folders, devices, texts, structures and several arrays: each says what is read."""
    with pytest.raises(DataMissingError, match="there is no file"):
        read_array(tmp_path / "none.npy")
    with pytest.raises(UsageError, match="a folder"):
        read_array(tmp_path)
    with pytest.raises(UsageError, match="a device"):
        read_array(Path(os.devnull))
    (tmp_path / "text").write_text("no array")
    with pytest.raises(UsageError, match=r"not a \.npy file"):
        read_array(tmp_path / "text")
    np.save(tmp_path / "structure.npy", np.zeros(2, [("a", "f4")]))
    with pytest.raises(UsageError, match="only arrays of numbers"):
        read_array(tmp_path / "structure.npy")
    np.savez(tmp_path / "two.npz", a=VALUES, b=VALUES)
    with pytest.raises(UsageError, match=r"two\.npz holds 2 arrays \(a, b\); only a file of one"):
        read_array(tmp_path / "two.npz")


def test_what_a_file_holds_is_said_in_words(tmp_path: Path) -> None:
    """A network, a nested tensor, an empty archive, headers of other types: never a parser's own words."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pt")
    with pytest.raises(UsageError, match="holds more than tensors, such as a whole network"):
        read_array(tmp_path / "network.pt")
    with warnings.catch_warnings(action="ignore"):
        torch.save(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), tmp_path / "nested.pt")
    with pytest.raises(UsageError, match="does not hold a dense tensor"):
        read_array(tmp_path / "nested.pt")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(UsageError, match="holds 0 arrays"):
        read_array(tmp_path / "empty.npz")
    for tensor in (5, [], {"dtype": [], "shape": [1], "data_offsets": [0, 4]}, {"dtype": "F32"}):
        header = json.dumps({"a": tensor}).encode()
        (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        with pytest.raises(IntegrityError, match="no dtype, shape and data_offsets"):
            read_array(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\x93NUMPY\x09\x00" + bytes(100))
    with pytest.raises(IntegrityError, match=r"version 9\.0"):
        read_array(tmp_path / "a")
