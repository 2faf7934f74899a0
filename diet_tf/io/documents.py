"""JSON documents of ours: read, checked against their format name, version and keys, written, and digested."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diet_tf.errors import FormatError
from diet_tf.io.json_files import read_json

if TYPE_CHECKING:

  pass


REMEDY = "restore the file from a copy, or make it again from the spans; do not edit it by hand."
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_document(path: str) -> dict[str, Any]:
  """The JSON object in a file.

  Raises:
    FormatError: the file is not a JSON object.
  """
  value = read_json(path, REMEDY)
  if not isinstance(value, dict):
    raise damaged(path, "the file is a JSON object.", f"{type(value).__name__}.")
  return value


def document_bytes(value: Mapping[str, Any]) -> bytes:
  """The JSON of a document, sorted and indented, ending with a newline."""
  return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def canonical_digest(value: Any) -> str:
  """The SHA-256 (hex) of a value's JSON with sorted keys and no spaces."""
  return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict).encode()).hexdigest()


def check_document(value: Mapping[str, Any], subject: str, format_name: str, format_version: int,
                   keys: set[str]) -> None:
  """Raises FormatError unless the document is of this format, of a version that is read here, with exactly `keys`."""
  if value.get("format_name") != format_name:
    raise FormatError(subject, rule=f"format_name is {format_name!r}.", received=repr(value.get("format_name")),
                      remedy="give a file that DIET-TF wrote.")
  version = value.get("format_version")
  if not isinstance(version, int) or isinstance(version, bool) or version < 1:
    raise damaged(subject, "format_version is an integer of at least 1.", repr(version))
  if version > format_version:
    raise FormatError(subject, rule=f"this version of DIET-TF reads {format_name} up to format version "
                      f"{format_version}.", received=f"format version {version}.",
                      remedy="upgrade DIET-TF, or make the file again with this version.")
  if set(value) != keys:
    raise damaged(subject, f"version {version} has exactly the keys that its writer sets.",
                   f"missing: {sorted(keys - set(value))}, unknown: {sorted(set(value) - keys)}.")


def damaged(subject: str, rule: str, received: str) -> FormatError:
  """The error that says that a document is not as its writer made it."""
  return FormatError(subject, rule=rule, received=received, remedy=REMEDY)


def is_count(value: Any) -> bool:
  """Whether a value of a document is an integer of at least 0."""
  return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_sha256(value: Any) -> bool:
  """Whether a value of a document is a SHA-256 in hex."""
  return isinstance(value, str) and _SHA256.fullmatch(value) is not None
