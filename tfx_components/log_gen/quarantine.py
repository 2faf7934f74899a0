"""Rows that break the schema: counted by reason, the first of them kept for the user to see."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.printable import printable_json

UNPARSABLE = "the line cannot be parsed"
UNDECODABLE = "a text is not valid UTF-8"

_NUM_NAMED_REASONS = 5
# Of a value, a column's name or a reason.
_MAX_CHARACTERS = 1000


@dataclasses.dataclass(frozen=True)
class QuarantinedRow:
  """One broken row.

  Attributes:
    piece: number of the piece of input that it was read from.
    record: its number within the piece, from 0; blank lines count.
    reason: what rule it breaks; equal for rows that break the same.
    values: its canonical texts by column, or the raw line as `line`.
  """

  piece: int
  record: int
  reason: str
  values: Mapping[str, str]

  def shortened(self) -> QuarantinedRow:
    """The row with what is very long in it cut: a value may have a megabyte."""
    values = {_shortened(name): _shortened(value) for name, value in self.values.items()}
    return dataclasses.replace(self, reason=_shortened(self.reason), values=values)


class Quarantine:
  """Counts broken rows by reason and keeps the first `max_rows` of them.

  Args:
    max_rows: how many to keep.
  """

  def __init__(self, max_rows: int) -> None:
    self._max_rows = max_rows
    self.counts: Counter[str] = Counter()
    self.rows: list[QuarantinedRow] = []

  def add(self, row: QuarantinedRow) -> None:
    """Counts a row, and keeps it, shortened, while there is room."""
    row = row.shortened()
    self.counts[row.reason] += 1
    if self.has_room:
      self.rows.append(row)

  def count(self, reason: str, number: int) -> None:
    """Counts rows that there is no room to keep."""
    if number:
      self.counts[_shortened(reason)] += number

  @property
  def has_room(self) -> bool:
    """Whether another row would be kept."""
    return len(self.rows) < self._max_rows

  def to_dict(self) -> dict[str, Any]:
    """The counts and rows as JSON types."""
    return {"counts": dict(self.counts), "rows": [dataclasses.asdict(row) for row in self.rows]}


def merge(parts: Sequence[Mapping[str, Any]], max_rows: int) -> Quarantine:
  """The quarantine of several `Quarantine.to_dict`, its rows in the order of the input."""
  merged = Quarantine(max_rows)
  rows = [QuarantinedRow(**row) for part in parts for row in part["rows"]]
  merged.rows = sorted(rows, key=lambda row: (row.piece, row.record))[:max_rows]
  for part in parts:
    merged.counts.update(part["counts"])
  return merged


def write(path: str, quarantine: Quarantine, locate: Mapping[int, tuple[str, int]]) -> None:
  """Writes the kept rows as JSON Lines: file, row (from 1, header included), reason, values.

  Args:
    path: the file to write.
    quarantine: what to write.
    locate: per piece its file and the number of the file's records before it.
  """
  lines = []
  for row in quarantine.rows:
    file, before = locate[row.piece]
    record = {"file": file, "row": before + row.record + 1, "reason": row.reason, "values": dict(row.values)}
    lines.append(printable_json(json.dumps(record, ensure_ascii=False)) + "\n")
  files.write_atomically(path, "".join(lines).encode())


def check_share(quarantine: Quarantine, num_rows: int, max_share: float, subject: str, path: str) -> None:
  """Raises `DataError` where more than `max_share` of `num_rows` rows are broken."""
  broken = sum(quarantine.counts.values())
  if broken <= max_share * num_rows:
    return
  reasons = sorted(quarantine.counts.items(), key=lambda item: (-item[1], item[0]))[:_NUM_NAMED_REASONS]
  listed = "; ".join(f"{count} x {reason}" for reason, count in reasons)
  raise DataError(subject, rule=f"at most {max_share:.2%} of a span's rows break the schema (max_quarantine_share).",
                  received=f"{broken} of {num_rows} rows ({broken / num_rows:.2%}): {listed}.",
                  remedy=f"see {path} for rows and reasons; mend the log or the spec, or raise the share.")


def _shortened(text: str) -> str:
  if len(text) <= _MAX_CHARACTERS:
    return text
  return f"{text[:_MAX_CHARACTERS]}... ({len(text):,} characters in all)"
