"""JSON documents of ours: each format is declared once, and read, checked, written and digested by that declaration."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from diet_tf.errors import FormatError
from diet_tf.io import files
from diet_tf.io.json_files import read_json
from diet_tf.io.shapes import Place, shaped

REMEDY = "restore the file from a copy, or make it again from the spans; do not edit it by hand."
# Counts are kept in arrays of int64 too.
MAX_COUNT = (1 << 63) - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER = ("format_name", "format_version")


@dataclasses.dataclass(frozen=True)
class DocumentFormat:
  """A format of JSON documents: an object with `format_name`, an integer `format_version`, and the version's keys.

  Attributes:
    name: the `format_name` of its documents.
    versions: per version that is read, the shapes of its keys (see `diet_tf.io.shapes`), the two of the format left
      out; writers write the newest version, or an earlier one that can say all that they have to say.
    remedy: sentence that says what to do about a damaged document.
    indent: spaces by which nested values are indented.
    sort_keys: whether keys are sorted; otherwise they stand in the order of the document.
    ascii_only: whether characters beyond ASCII are escaped.
    final_newline: whether the text ends with a line feed.
  """

  name: str
  versions: Mapping[int, Mapping[str, Any]]
  remedy: str = REMEDY
  indent: int = 2
  sort_keys: bool = True
  ascii_only: bool = True
  final_newline: bool = True

  @property
  def newest(self) -> int:
    """The newest version that is known."""
    return max(self.versions)

  @property
  def header(self) -> dict[str, Any]:
    """`format_name` and `format_version` of a document of the newest version."""
    return {"format_name": self.name, "format_version": self.newest}

  def document(self, content: Mapping[str, Any]) -> dict[str, Any]:
    """A document of the newest version with these keys."""
    return {**self.header, **content}

  def bytes(self, document: Mapping[str, Any]) -> bytes:
    """The JSON text of a document in UTF-8; equal documents give equal bytes.

    Raises:
      ValueError: a number is not finite; `diet_tf.io.json_files.without_nan` makes it null where that is allowed.
    """
    text = json.dumps(document, indent=self.indent, sort_keys=self.sort_keys, ensure_ascii=self.ascii_only,
                      allow_nan=False)
    return (text + ("\n" if self.final_newline else "")).encode()

  def write(self, path: str, document: Mapping[str, Any]) -> None:
    """Writes a document, whole or not at all.

    Raises:
      StoreError: the file cannot be written.
      ValueError: a number is not finite.
    """
    content = self.bytes(document)
    with files.writing(path):
      files.write_atomically(path, content)

  def read(self, path: str) -> dict[str, Any]:
    """The content of the document in a file, as `check` gives it.

    Raises:
      FormatError: the file is missing or damaged, of another format, or of a newer version.
    """
    return self.check(read_document(path, self.remedy), path)

  def check(self, document: Any, subject: str) -> dict[str, Any]:
    """The content of a document as the shapes of its version want it, without name and version.

    Args:
      document: JSON value.
      subject: name of the document in messages, mostly its path.

    Raises:
      FormatError: the document is of another format or of a newer version, a key is missing or unknown at any depth, or
        a value is of another type.
    """
    place = Place(subject, self.remedy)
    if not isinstance(document, Mapping):
      place.refuse("the file is a JSON object.", f"{type(document).__name__}.")
    shapes = self.versions[self._version(document, subject)]
    content = shaped(document, {**dict.fromkeys(_HEADER, Any), **shapes}, place)
    return {key: value for key, value in content.items() if key not in _HEADER}

  def _version(self, document: Mapping[str, Any], subject: str) -> int:
    if document.get("format_name") != self.name:
      raise FormatError(subject, rule=f"format_name is {self.name!r}.", received=repr(document.get("format_name")),
                        remedy="give a file that DIET-TF wrote.")
    version = document.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < min(self.versions):
      raise FormatError(subject, rule="format_version is an integer of at least 1.", received=repr(version),
                        remedy=self.remedy)
    if version > self.newest:
      raise FormatError(subject, rule=f"this version of DIET-TF reads {self.name} up to format version {self.newest}.",
                        received=f"format version {version}.",
                        remedy="upgrade DIET-TF, or make the file again with this version.")
    return version


def read_document(path: str, remedy: str = REMEDY) -> dict[str, Any]:
  """The JSON object in a file, of whatever format.

  Args:
    path: path or URI of the file.
    remedy: sentence that says what to do if the file is not readable.

  Raises:
    FormatError: the file is not a JSON object.
  """
  value = read_json(path, remedy)
  if not isinstance(value, dict):
    raise FormatError(path, rule="the file is a JSON object.", received=f"{type(value).__name__}.", remedy=remedy)
  return value


def document_bytes(value: Mapping[str, Any]) -> bytes:
  """The JSON of an object without a format, sorted and indented, ending with a line feed."""
  return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def canonical_digest(value: Any) -> str:
  """The SHA-256 (hex) of a value's JSON with sorted keys and no spaces."""
  return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict).encode()).hexdigest()


def damaged(subject: str, rule: str, received: str) -> FormatError:
  """The error that says that a document is not as its writer made it."""
  return FormatError(subject, rule=rule, received=received, remedy=REMEDY)


def is_count(value: Any) -> bool:
  """Whether a value of a document is an integer in [0, 2^63)."""
  return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def is_sha256(value: Any) -> bool:
  """Whether a value of a document is a SHA-256 in hex."""
  return isinstance(value, str) and _SHA256.fullmatch(value) is not None
