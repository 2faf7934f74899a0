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
# Of small values a text holds so many that they take twenty times its bytes, once they are objects.
MAX_VALUES = 8_000_000
# An integer of 64 bits, with its sign.
_MAX_DIGITS = 20


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
    FormatError: it is missing, larger than `MAX_FILE_BYTES`, of more than `MAX_VALUES` values, nested too deeply, or no
      JSON in UTF-8.
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
    FormatError: it is no JSON in UTF-8, of more than `MAX_VALUES` values, or nested too deeply. Numbers
      beyond 64 bits are none either; NaN and infinities, which earlier releases wrote, are read as null.
  """
  comma, bracket, brace = (",", "[", "{") if isinstance(content, str) else (b",", b"[", b"{")
  most_values = content.count(comma) + content.count(bracket) + content.count(brace)  # type: ignore[arg-type]
  if most_values > MAX_VALUES:
    raise FormatError(subject, rule=f"a JSON file of ours has at most {MAX_VALUES:,} values.",
                      received=f"about {most_values:,}.", remedy=remedy)
  try:
    return json.loads(content, parse_constant=_null, parse_int=_bounded_integer, parse_float=_finite)
  except ValueError as error:
    raise FormatError(subject, rule="the file is JSON in UTF-8.", received=f"{error}.", remedy=remedy) from error
  except RecursionError as error:
    raise FormatError(subject, rule="the file is JSON as its writer nested it.",
                      received="values that are nested too deeply.", remedy=remedy) from error


def _bounded_integer(text: str) -> int:
  if len(text) > _MAX_DIGITS:
    raise ValueError(f"a number of {len(text):,} digits has no place in a file of ours")
  return int(text)


def _finite(text: str) -> float:
  value = float(text)
  if math.isinf(value):
    raise ValueError(f"{text[:_MAX_DIGITS]} is beyond the numbers of 64 bits")
  return value


def _null(name: str) -> None:
  """What stands for NaN and infinities, as in what is written today; they are no JSON, but were written once."""
  del name


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
