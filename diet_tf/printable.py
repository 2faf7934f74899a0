"""Text of unknown origin, made safe to show: values of a log may hold what moves a terminal's cursor or rewrites it."""

from __future__ import annotations

import re

# Room for the note that a text was cut, so that a text that was cut is not cut again.
_MAX_NOTE_CHARACTERS = 40
# Wide forms too: some spreadsheets take them for the others.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# An underscore within a word is one to Markdown too.
_MARKDOWN = re.compile(r"[\\`*{}\[\]<>#!|~&$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
# Control characters but for tabs and line feeds, separators of lines, lone surrogates, and the marks that turn the
# direction of the text around them.
_ESCAPED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
                      "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, max_characters: int | None = None) -> str:
  """The text with control characters other than line feeds and tabs written out (`\\x1b`).

  The result passes through unchanged if it is given again.

  Args:
    text: any text.
    max_characters: about how many characters are kept. What is longer by more than a short note is cut off there, and
      the note tells the length of the whole; None, the default, keeps all.
  """
  if max_characters is None:
    return _ESCAPED.sub(_escape, text)
  limit = max_characters + _MAX_NOTE_CHARACTERS
  shown = _ESCAPED.sub(_escape, text[:limit])
  if len(text) <= limit and len(shown) <= limit:
    return shown
  return f"{shown[:max_characters]}... ({len(text):,} characters in all)"


def spreadsheet_text(text: str) -> str:
  """The printable text for a cell of a CSV file, with an apostrophe in front where a spreadsheet would run it.

  A text of a spreadsheet's that begins with one of `=+-@` or a tab is a formula, which can read files and call others.
  """
  text = printable(text)
  return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def markdown_text(text: str) -> str:
  """The printable text on one line of Markdown, in which nothing is a link, a picture, HTML or a cell's end."""
  text = printable(text).replace("\n", "\\n").replace("\t", "\\t")
  return _MARKDOWN.sub(lambda match: f"\\{match[0]}", text)


def printable_json(text: str) -> str:
  """JSON text that stands for the same value, with the same characters written out in its strings."""
  return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
  return match[0].encode("unicode_escape").decode("ascii")
