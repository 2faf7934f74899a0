"""Named arrays on disk: `.npz` files without pickle, written atomically and byte-identically."""

from __future__ import annotations

import dataclasses
import io
import math
import zipfile
from collections.abc import Mapping

import numpy as np

from diet_tf.errors import FormatError
from diet_tf.io import files

_REMEDY = "restore the file, or run the span again."


@dataclasses.dataclass(frozen=True)
class ArrayFormat:
  """A format of `.npz` files that hold columns of equal length, beside their format's name and version.

  Attributes:
    name: name of the format: what its files hold as `format_name`, an array of one text.
    version: version of the format, what its files hold as `format_version`; it is what is written.
    columns: per column the dtype of its values; each column is `[num_rows]`.
    remedy: sentence that says what to do about a damaged file.
    earlier: columns of the earlier versions that are read too, by version.
  """

  name: str
  version: int
  columns: Mapping[str, type[np.generic]]
  remedy: str = _REMEDY
  earlier: Mapping[int, Mapping[str, type[np.generic]]] = dataclasses.field(default_factory=dict)

  def write(self, path: str, columns: Mapping[str, np.ndarray]) -> None:
    """Writes the columns, whole or not at all; the same columns give the same bytes.

    Raises:
      StoreError: the file cannot be written.
    """
    write_arrays(path, {"format_name": np.array(self.name), "format_version": np.array(self.version), **columns})

  def read(self, path: str) -> dict[str, np.ndarray]:
    """The columns of a file, by their names: those of its version.

    Raises:
      FormatError: the file is missing or damaged, of another format or an unknown version, or a column is missing or
        unknown, of another dtype, or of another length than the others.
    """
    arrays = read_arrays(path)
    known = {str(version): columns for version, columns in {**self.earlier, self.version: self.columns}.items()}
    expected = known.get(str(arrays.get("format_version")))
    if str(arrays.get("format_name")) != self.name or expected is None:
      raise FormatError(path, rule=f"is of format {self.name} version {self.version}.",
                        received=f"{arrays.get('format_name')} version {arrays.get('format_version')}.",
                        remedy=self.remedy)
    columns = {name: array for name, array in arrays.items() if name not in ("format_name", "format_version")}
    shapes = {array.shape for array in columns.values()}
    if (set(columns) != set(expected) or len(shapes) != 1 or len(shapes.pop()) != 1
        or any(columns[name].dtype != dtype for name, dtype in expected.items())):
      raise FormatError(path, rule=f"has the columns {list(expected)}, with one value per row.",
                        received=", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
                        + ".", remedy=self.remedy)
    return columns


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes named arrays; the same arrays give the same bytes.

  Raises:
    StoreError: if the file cannot be written.
  """
  buffer = io.BytesIO()
  # Variable names hold characters such as '/' and ':' that NumPy passes on to the archive unchanged.
  np.savez(buffer, **{name: np.asarray(arrays[name]) for name in sorted(arrays)})
  with files.writing(path):
    files.write_atomically(path, buffer.getvalue())


def read_arrays(path: str) -> dict[str, np.ndarray]:
  """The named arrays of a file.

  Nothing in it is unpickled, and what it claims to hold is believed only as far as its bytes go.

  Raises:
    FormatError: if it is missing or damaged.
  """
  with files.reading(path, _REMEDY):
    content = files.read_bytes(path)
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      members = [_member(archive, info) for info in archive.infolist()]
    arrays = dict(members)
    if len(arrays) != len(members):
      raise ValueError("an array is given twice")
    return arrays
  # What the parts of a damaged archive make the readers below raise has no end: NotImplementedError for an unknown
  # compression, SyntaxError for a header that is no literal, struct.error, MemoryError ...
  except Exception as error:
    raise FormatError(path, rule="is a readable .npz file without pickled objects.",
                      received=f"{type(error).__name__}: {error}", remedy=_REMEDY) from error


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[str, np.ndarray]:
  """Name and array of one member, whose checksum is tested before anything in it is believed."""
  if not info.filename.endswith(".npy") or info.compress_type != zipfile.ZIP_STORED:
    raise ValueError(f"the member {info.filename!r}, which is no array as it is written here")
  content = archive.read(info)
  stream = io.BytesIO(content)
  version = np.lib.format.read_magic(stream)
  read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
  shape, _, dtype = read_header(stream)
  if dtype.hasobject:
    raise ValueError(f"pickled objects in {info.filename!r}")
  if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
    raise ValueError(f"{shape} values of {dtype} in {len(content)} bytes of {info.filename!r}")
  stream.seek(0)
  return info.filename.removesuffix(".npy"), np.lib.format.read_array(stream, allow_pickle=False)
