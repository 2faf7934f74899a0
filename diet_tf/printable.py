"""Text of unknown origin, made safe to show: values of a log may hold what moves a terminal's cursor or rewrites it."""

from __future__ import annotations

import re

# Control characters but for tabs and line feeds, separators of lines, lone surrogates, and the marks that turn the
# direction of the text around them.
_ESCAPED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
                      "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, max_characters: int | None = None) -> str:
  """The text with control characters written out (`\\x1b`), but for line feeds and tabs.

  Args:
    text: any text.
    max_characters: what is beyond is cut off, and the whole length told; None keeps all.
  """
  rest = "" if max_characters is None or len(text) <= max_characters else f"... ({len(text):,} characters in all)"
  return _ESCAPED.sub(_escape, text[:max_characters] if rest else text) + rest


def printable_json(text: str) -> str:
  """JSON text that stands for the same value, with the same characters written out in its strings."""
  return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
  return match[0].encode("unicode_escape").decode("ascii")
