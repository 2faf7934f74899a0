"""Whether a CSV file begins with the names of its columns, or with a row of data."""

from __future__ import annotations

import re
from collections.abc import Sequence

from diet_tf.errors import DataError

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*")


def is_data(values: Sequence[str]) -> bool:
  """Whether the values of a first line, each of which is a number or a date, are no names.

  A line that counts 0, 1, 2, ... is what pandas writes for columns that have no names: it is a header. A text among the
  numbers may be a name or a value, and is taken for a name.
  """
  told = [value for value in values if value.strip()]
  if not told or told == [str(number) for number in range(len(told))]:
    return False
  return all(_NUMBER.fullmatch(value.strip()) or _DATE.fullmatch(value.strip()) for value in told)


def check(path: str, first_line: Sequence[str], header: Sequence[str], key: str) -> None:
  """Raises `DataError` where a file has a header although its columns are named elsewhere, or the other way about.

  Args:
    path: the file.
    first_line: values of its first line.
    header: names of its columns as the config gives them; empty for a file that begins with them.
    key: key of the config that gives them.
  """
  if not header and is_data(first_line):
    raise DataError(path, rule="the first line of a CSV file names its columns.",
                    received=f"numbers or dates alone, as a row of data has them: {', '.join(first_line)[:200]}.",
                    remedy=f"name the columns in their order in {key}, or write a header line.")
  if header and tuple(first_line) == tuple(header):
    raise DataError(path, rule=f"a file whose columns are named in {key} has no header line.",
                    received="these very names in the first line.", remedy=f"remove {key}.")
  if header and len(first_line) != len(header):
    raise DataError(path, rule=f"{key} names each of its columns.",
                    received=f"{len(header)} names, and {len(first_line)} values in the first line.",
                    remedy=f"correct {key}, or the delimiter.")
