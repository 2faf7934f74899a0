"""What the values of a column are beside numbers and names: lists in a text, objects, numbers of people, dates."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

_SAMPLE = 2000
_MOST = 0.9
_LIST_DELIMITERS = ("|", ",", ";", " ")
_THOUSANDS = {
    ",": re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?"), ".": re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+(?:,\d+)?"),
    " ": re.compile(r"[-+]?\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?:[.,]\d+)?"),
    "'": re.compile(r"[-+]?\d{1,3}(?:['\u2019]\d{3})+(?:\.\d+)?")}
_PLAIN = re.compile(r"[-+]?\d+(?:\.\d+)?")
_COMMA_DECIMAL = re.compile(r"[-+]?\d*,\d+|[-+]?\d+")
_WITH_UNIT = re.compile(r"(?:[$€£¥]|USD|EUR|GBP)\s?[-+]?[\d.,]+|"
                        r"[-+]?[\d.,]+\s?(?:[$€£¥%]|USD|EUR|GBP|ms|s|kg|km|GB|MB)")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AP]M)?", re.IGNORECASE)
_MONTHS = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s?(?:Z|UTC|[+-]\d{2}:?\d{2})?)?")
# Times in forms that no reader of ours takes, since nobody can tell the day from the month, or the zone.
_OTHER_TIME = re.compile(
    r"\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})(?:[ T,]+\d{1,2}:\d{2}.*)?|\d{4}/\d{1,2}/\d{1,2}(?:[ T]\d{1,2}:\d{2}.*)?|"
    rf"(?:\w+,? )?{_MONTHS}\.? \d{{1,2}},? .*\d{{4}}.*|\d{{1,2}}[ -/]{_MONTHS}[ -/,]+\d{{4}}.*|"
    r"\d{4}-\d{2}-\d{2}[ T]\d{1,2}:\d{2}.*", re.IGNORECASE)


def thousands_of(texts: Sequence[str]) -> str | None:
  """The separator of thousands with which the texts are numbers; None where they are none, or have no such separator.

  Args:
    texts: distinct values that are there.
  """
  for separator, form in _THOUSANDS.items():
    separated = [text for text in texts if form.fullmatch(text)]
    if not separated:
      continue
    rest = [text for text in texts if not form.fullmatch(text)]
    # A point or comma before three digits may be a decimal one: then others have more or fewer digits after it.
    plain = re.compile(r"[-+]?\d{1,3}(?:,\d+)?") if separator == "." else re.compile(r"[-+]?\d{1,3}(?:\.\d+)?")
    if all(plain.fullmatch(text) for text in rest) and len(separated) >= 0.3 * len(texts):
      return separator
  return None


def number_like(texts: Sequence[str]) -> str | None:
  """What keeps texts that people read as numbers from being numbers, in words; None where they are something else."""
  few = texts[:_SAMPLE]
  if _share(_COMMA_DECIMAL, few) >= _MOST and any("," in text for text in few):
    return "numbers with a comma before the decimals, which are read with a point"
  if _share(_WITH_UNIT, few) >= _MOST:
    return "numbers with a unit, which are read without one"
  return None


def other_time(texts: Sequence[str]) -> str | None:
  """A form of times that is not read, in words; None where the texts are no times.

  Args:
    texts: distinct values that are there, none of them a time that is read.
  """
  few = [text for text in texts[:_SAMPLE] if not _ISO.fullmatch(text)]
  if not few or len(few) < _MOST * len(texts[:_SAMPLE]):
    return None
  if _share(_OTHER_TIME, few) >= _MOST:
    return "times in a form that is not read; ISO 8601 is, as in 2024-01-30T12:00:00Z"
  return "times of a day without the day" if _share(_CLOCK, few) >= _MOST else None


def digits_of_a_date(numbers: np.ndarray) -> str | None:
  """The form in which whole numbers are a date and an hour, such as YYMMDDHH; None where they are none.

  Args:
    numbers: `[n]` float64 without NaN.
  """
  if (numbers != np.floor(numbers)).any() or numbers.min() < 10**7 or numbers.max() >= 10**12:
    return None
  for form, century in (("YYMMDDHH", True), ("YYYYMMDDHH", False), ("YYMMDDHHMM", True), ("YYYYMMDDHHMM", False)):
    rest = numbers.astype(np.int64)
    minutes = form.endswith("MM")
    minute, rest = (rest % 100, rest // 100) if minutes else (np.zeros_like(rest), rest)
    hour, day, month, year = rest % 100, rest // 100 % 100, rest // 10**4 % 100, rest // 10**6
    years = (1, 99) if century else (1990, 2100)
    if all(((low <= part) & (part <= high)).all() for part, (low, high) in (
        (minute, (0, 59)), (hour, (0, 23)), (day, (1, 31)), (month, (1, 12)), (year, years))):
      return form
  return None


def is_time_text(text: str) -> bool:
  """Whether a text is a time or a date in any usual form."""
  return bool(_ISO.fullmatch(text) or _OTHER_TIME.fullmatch(text))


def _share(form: re.Pattern[str], texts: Sequence[str]) -> float:
  return sum(form.fullmatch(text) is not None for text in texts) / max(1, len(texts))


def list_like(texts: Sequence[str]) -> str | None:
  """How texts hold lists or objects in brackets, in words; None where they do not.

  Args:
    texts: distinct values that are there.
  """
  few = list(texts[:_SAMPLE])
  if few and sum(text[:1] in "[{" and text[-1:] in "]}" for text in few) >= _MOST * len(few):
    return f"{'lists or objects in JSON' if _is_json(few[0]) else 'lists in brackets'}, such as {few[0][:40]!r}"
  return None


def list_separator(texts: Sequence[str]) -> str | None:
  """What parts the values of texts that hold several each; None where each is one value, or a list in brackets.

  Args:
    texts: distinct values that are there.
  """
  few = list(texts[:_SAMPLE])
  return next((delimiter for delimiter in _LIST_DELIMITERS if _longest_list(few, delimiter)), None)


def _is_json(text: str) -> bool:
  try:
    json.loads(text)
  except ValueError:
    return False
  return True


def _longest_list(texts: Sequence[str], delimiter: str) -> str:
  """The text of most parts where the texts are lists with this delimiter; empty where they are not."""
  parts = [text.strip(delimiter).split(delimiter) for text in texts]
  several = [row for row in parts if len(row) > 1]
  if len(several) < max(2, 0.2 * len(parts)) or any("" in row for row in several):
    return ""
  if delimiter in ",; " and any(part != part.strip() for row in several for part in row):
    return ""  # "Oslo, Norway" is one value.
  if delimiter == " " and not all(_PLAIN.fullmatch(part) for row in parts for part in row):
    return ""  # Words of a title.
  values = {part for row in parts for part in row}
  lengths = {len(row) for row in parts}
  # The values of a list take turns: those that come first in one come later in another.
  firsts, later = {row[0] for row in several}, {part for row in several for part in row[1:]}
  shared = len(firsts & later) / max(1, min(len(firsts), len(later)))
  plain_ids = all(_PLAIN.fullmatch(part) for row in several for part in row)
  if shared >= 0.3 or (len(lengths) > 1 and len(values) < 0.5 * len(parts)) or (plain_ids and delimiter != "."):
    return max(texts, key=lambda text: text.count(delimiter))
  return ""


def spread(values: np.ndarray, limit: int = _SAMPLE) -> list[str]:
  """At most `limit` of `[n]` distinct texts, evenly over their order."""
  places = np.unique(np.linspace(0, len(values) - 1, limit).round().astype(int)) if len(values) else []
  return [values[place] for place in places]
