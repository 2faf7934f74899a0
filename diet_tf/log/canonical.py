"""The canonical text of a value: equal texts are equal values, whatever format they were written in.

- a missing value (None, NaN, the empty text) is the empty text;
- an integer is its decimal digits, a Boolean is `1` or `0`;
- a float that is a whole number is that integer (so a column may flip from integer to float when a null appears),
  another float is its shortest decimal form that reads back exactly;
- a text is itself, in Unicode normal form C; it is neither stripped nor case-folded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np

MISSING_TEXT = ""
# From here on a float64 leaves whole numbers out.
FIRST_ROUNDED = 2.0**53

# A whole number written as a float. So pandas writes a column of CSV with a gap, R 100000, and Java all above ten
# millions. Digits, an e and digits alone may be an id in hexadecimal, and stay a text.
_FLOAT_NOTATION = re.compile(r"-?(?:(?:0|[1-9][0-9]*)\.0+|[0-9](?:\.[0-9]+[eE][+-]?|[eE]\+)[0-9]{1,3})")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TRUTH = {"true": "1", "false": "0"}
_WORDS = {"1": ("true", "True", "TRUE"), "0": ("false", "False", "FALSE")}


def canonical_text(value: Any) -> str:
  """The canonical text of one Python or numpy value; empty where it is missing.

  Raises:
    UnicodeDecodeError: if bytes are not UTF-8.
    TypeError: if the value is a list or a mapping.
  """
  if value is None:
    return MISSING_TEXT
  if isinstance(value, bytes):
    value = value.decode("utf-8")
  if isinstance(value, str):
    return value if value.isascii() else unicodedata.normalize("NFC", value)
  if isinstance(value, (bool, np.bool_)):
    return "1" if value else "0"
  if isinstance(value, (int, np.integer)):
    return str(int(value))
  if isinstance(value, (float, np.floating)):
    if value != value:
      return MISSING_TEXT
    return str(int(value)) if np.isfinite(value) and value == np.floor(value) else str(value)
  raise TypeError(f"a single value was expected. Received: {type(value).__name__}.")


def whole_number(text: str) -> float | None:
  """The whole number that a text writes as a float, exact below `FIRST_ROUNDED`; None where it writes none."""
  if not (("." in text or "+" in text) and _FLOAT_NOTATION.fullmatch(text)):
    return None
  value = float(text)
  return value if value.is_integer() else None


def untyped_text(text: str) -> str:
  """The canonical text of a value of a format without types, such as CSV."""
  value = whole_number(text)
  return text if value is None or abs(value) >= FIRST_ROUNDED else str(int(value))


def listed_text(value: Any, text: str) -> str:
  """What a closed vocabulary holds of a value that a config lists.

  The text is kept as it was written, so that it meets the texts of a column: 1.10, and not 1.1. Only what is the same
  in every format, a truth value or a whole number, is in its canonical form.

  Args:
    value: the value, with the type that the config gives it.
    text: the text by which it was written.
  """
  canonical = canonical_text(value)
  kept = value is not None and (isinstance(value, bool) or untyped_text(text) == canonical)
  return canonical if kept else canonical_text(text)


def other_spellings(listed: str) -> Iterator[str]:
  """The canonical texts that a listed value may have besides its own: of typed columns, and of truth values."""
  digit = _TRUTH.get(listed.lower(), listed)
  if digit in _WORDS:
    yield from (digit, *_WORDS[digit])
  if _NUMBER.fullmatch(listed):
    yield canonical_text(float(listed))


def value_texts(value: Any, separator: str | None, missing: frozenset[str]) -> list[str]:
  """The canonical texts of the values of a row: of a list, or of a text that a separator parts; empty where missing.

  Args:
    value: the list, the text, or a single value.
    separator: text between values; None for lists. With one, numbers are read as in CSV.
    missing: texts that stand for a missing value.
  """
  if value is None:
    return []
  if isinstance(value, (list, tuple, np.ndarray)):
    texts = [_text_or_missing(one, missing) for one in value]
  elif separator is None:
    return [_text_or_missing(value, missing)]
  elif not (text := _text_or_missing(value, missing)):
    return []
  else:
    texts = [_text_or_missing(part.strip(), missing) for part in text.split(canonical_text(separator))]
  return texts if separator is None else [untyped_text(text) for text in texts]


def _text_or_missing(value: Any, missing: frozenset[str]) -> str:
  text = canonical_text(value)
  # The text of a number is not what the log has.
  return MISSING_TEXT if text in missing and isinstance(value, (str, bytes)) else text
