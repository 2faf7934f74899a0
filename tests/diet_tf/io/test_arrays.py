"""Files of named arrays: written alike, and read without believing what they claim."""

from __future__ import annotations

import io
import pathlib
import pickle
import warnings
import zipfile

import numpy as np
import pytest

from diet_tf.errors import FormatError
from diet_tf.io import arrays


class Bomb:
  """Unpickling it raises."""

  def __reduce__(self):
    return (pytest.fail, ("it was unpickled",))


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
  buffer = io.BytesIO()
  np.lib.format.write_array(buffer, array, allow_pickle=pickled)
  return buffer.getvalue()


def write_members(path: pathlib.Path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
  with zipfile.ZipFile(path, "w", compression) as archive:
    for name, content in members:
      archive.writestr(name, content)


def test_round_trip_and_equal_bytes(tmp_path: pathlib.Path):
  written = {"a/b:0": np.arange(6, dtype=np.int32).reshape(2, 3), "scalar": np.array(2.5), "text": np.array("é"),
             "empty": np.zeros([0, 4], np.float32), "columns": np.asfortranarray(np.arange(4.0).reshape(2, 2))}
  for name in ("1.npz", "2.npz"):
    arrays.write_arrays(str(tmp_path / name), written)
  assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
  read = arrays.read_arrays(str(tmp_path / "1.npz"))
  assert set(read) == set(written)
  for name, array in written.items():
    assert read[name].dtype == array.dtype
    np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("array", [np.array([Bomb()], object), np.zeros(1, [("a", object)])])
def test_pickled_objects_are_never_unpickled(tmp_path: pathlib.Path, array: np.ndarray):
  if array.dtype.names:
    array["a"] = [Bomb()]
  path = tmp_path / "x.npz"
  write_members(path, [("a.npy", npy(array, pickled=True))])
  with pytest.raises(FormatError, match="pickled objects"):
    arrays.read_arrays(str(path))


HUGE = npy(np.zeros(1)).replace(b"(1,)", b"(999999999,)")[:-9]


@pytest.mark.parametrize("members", [
    [("a.npy", HUGE)], [("a.npy", npy(np.zeros(3))[:-1])], [("a.npy", npy(np.zeros(3)) + b"x")], [("a.npy", b"")],
    [("a.npy", pickle.dumps(1))], [("a.txt", b"x")], [("a.npy", npy(np.zeros(1))), ("a.npy", npy(np.ones(1)))],
    [("a.npy", npy(np.zeros(1)).replace(b"'<f8'", b"'<f9'"))], [("a.npy", npy(np.zeros(1)).replace(b"{", b"["))]])
def test_members_that_are_no_arrays(tmp_path: pathlib.Path, members: list[tuple[str, bytes]]):
  path = tmp_path / "x.npz"
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    write_members(path, members)
  with pytest.raises(FormatError, match=r"x\.npz"):
    arrays.read_arrays(str(path))


def test_archive_that_swells_is_refused(tmp_path: pathlib.Path):
  path = tmp_path / "x.npz"
  write_members(path, [("a.npy", npy(np.zeros(1_000_000)))], zipfile.ZIP_DEFLATED)
  with pytest.raises(FormatError, match="no array as it is written here"):
    arrays.read_arrays(str(path))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04", pickle.dumps({"a": 1}), npy(np.zeros(3))])
def test_other_files(tmp_path: pathlib.Path, content: bytes):
  path = tmp_path / "x.npz"
  path.write_bytes(content)
  with pytest.raises(FormatError, match=r"x\.npz"):
    arrays.read_arrays(str(path))
  with pytest.raises(FormatError, match="can be read"):
    arrays.read_arrays(str(tmp_path / "none.npz"))
