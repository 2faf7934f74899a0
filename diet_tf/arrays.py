"""Named arrays and JSON headers on disk: `.npz` files without pickle, written atomically and byte-identically."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from diet_tf import files, json_files
from diet_tf.errors import FormatError


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

  Raises:
    FormatError: if it is missing or damaged.
  """
  try:
    with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as archive:
      return {name: archive[name] for name in archive.files}
  except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
    raise FormatError(path, rule="is a readable .npz file without pickled objects.", received=str(error),
                      remedy="restore the file, or run the span again.") from error


def write_json(path: str, value: Any) -> None:
  """Writes a JSON document with sorted keys.

  Raises:
    StoreError: if the file cannot be written.
  """
  with files.writing(path):
    files.write_atomically(path, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())


def read_json(path: str) -> Any:
  """A JSON document.

  Raises:
    FormatError: if it is missing or damaged.
  """
  return json_files.read_json(path, "restore the file, or run the span again.")
