"""JSON files that may be damaged or hostile: bounded in size, and refused with one kind of error."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from diet_tf.errors import FormatError
from diet_tf.io import files

_REMEDY = "restore the file, or run the span again."
# A manifest with a closed vocabulary of a million values has about 30 MiB.
MAX_FILE_BYTES = 64 << 20


def write_json(path: str, value: Any) -> None:
  """Writes a JSON value with sorted keys, whole or not at all.

  Raises:
    StoreError: the file cannot be written.
    ValueError: a number is not finite.
  """
  content = json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"
  with files.writing(path):
    files.write_atomically(path, content.encode())


def read_json(path: str, remedy: str = _REMEDY) -> Any:
  """The value in a JSON file.

  Args:
    path: path or URI of the file.
    remedy: sentence that says what to do if the file is not readable.

  Raises:
    FormatError: it is missing, larger than `MAX_FILE_BYTES`, nested too deeply, or no JSON in UTF-8.
  """
  with files.reading(path, remedy):
    num_bytes = files.num_bytes(path)
    if num_bytes > MAX_FILE_BYTES:
      raise FormatError(path, rule=f"a JSON file of ours has at most {MAX_FILE_BYTES:,} bytes.",
                        received=f"{num_bytes:,} bytes.", remedy=remedy)
    content = files.read_bytes(path)
  return parse_json(content, path, remedy)


def parse_json(content: bytes | str, subject: str, remedy: str) -> Any:
  """The value of JSON text.

  Args:
    content: the text, in UTF-8 where it is bytes.
    subject: name of the text in messages, mostly the path of its file.
    remedy: sentence that says what to do if the text is no JSON.

  Raises:
    FormatError: it is no JSON in UTF-8, or nested too deeply.
  """
  try:
    return json.loads(content)
  except ValueError as error:
    raise FormatError(subject, rule="the file is JSON in UTF-8.", received=f"{error}.", remedy=remedy) from error
  except RecursionError as error:
    raise FormatError(subject, rule="the file is JSON as its writer nested it.",
                      received="values that are nested too deeply.", remedy=remedy) from error


def without_nan(value: Any) -> Any:
  """The value with dicts, lists, texts, numbers and None alone; what is NaN or infinite becomes None.

  A margin without an end is written as null too: read back as NaN (`diet_tf.io.shapes.Figure`), it resolves nothing
  either.

  Args:
    value: mappings, lists, tuples and NumPy arrays of such, NumPy scalars, and JSON's own values.
  """
  if isinstance(value, Mapping):
    return {key: without_nan(entry) for key, entry in value.items()}
  if isinstance(value, (list, tuple)):
    return [without_nan(entry) for entry in value]
  # NumPy itself is not imported: manifests are read without it.
  if hasattr(value, "tolist"):
    return without_nan(value.tolist())
  return None if isinstance(value, float) and not math.isfinite(value) else value
