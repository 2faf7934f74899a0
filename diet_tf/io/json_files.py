"""JSON files that may be damaged or hostile: bounded in size, and refused with one kind of error."""

from __future__ import annotations

import json
from typing import Any

from diet_tf.errors import FormatError
from diet_tf.io import files

# A manifest with a closed vocabulary of a million values has about 30 MiB.
MAX_FILE_BYTES = 64 << 20


def read_json(path: str, remedy: str) -> Any:
  """The value in a JSON file.

  Args:
    path: of the file.
    remedy: what to do if it is not readable.

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
    content: the text, in UTF-8.
    subject: names it in messages.
    remedy: what to do if it is no JSON.

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
