"""Rows that break the schema: counted by reason, the first of them kept for the user to see."""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Mapping

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.printable import printable_json
from tfx_components.log_gen import reasons as reasons_lib

_NUM_NAMED_REASONS = 5
# Of a value, a column's name or a reason.
_MAX_CHARACTERS = 1000
_MAX_EXAMPLE_CHARACTERS = 200


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


@dataclasses.dataclass(frozen=True)
class Quarantine:
  """Broken rows, counted by reason, and the first of them.

  Attributes:
    max_rows: how many to keep.
    counts: broken rows by reason.
    rows: those kept, shortened: the first by piece and record.
  """

  max_rows: int
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  rows: tuple[QuarantinedRow, ...] = ()

  @classmethod
  def of(cls, rows: Iterable[QuarantinedRow], max_rows: int, uncounted: Mapping[str, int] | None = None) -> Quarantine:
    """The quarantine of some broken rows.

    Args:
      rows: the broken rows.
      max_rows: how many to keep.
      uncounted: number of further broken rows by reason, none of which is to be kept.
    """
    short = [row.shortened() for row in rows]
    counts = Counter(row.reason for row in short)
    for reason, number in (uncounted or {}).items():
      counts[_shortened(reason)] += number
    return cls(max_rows, +counts, tuple(heapq.nsmallest(max_rows, short, key=_place)))

  def __add__(self, other: Quarantine) -> Quarantine:
    rows = heapq.nsmallest(self.max_rows, (*self.rows, *other.rows), key=_place)
    return Quarantine(self.max_rows, Counter(self.counts) + Counter(other.counts), tuple(rows))

  @property
  def num_rows(self) -> int:
    """All broken rows."""
    return sum(self.counts.values())


def _place(row: QuarantinedRow) -> tuple[int, int]:
  return row.piece, row.record


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
  broken = quarantine.num_rows
  if broken <= max_share * num_rows:
    return
  reasons = sorted(quarantine.counts.items(), key=lambda item: (-item[1], item[0]))[:_NUM_NAMED_REASONS]
  listed = "; ".join(f"{count} x {reason}" for reason, count in reasons)
  remedies = dict.fromkeys(filter(None, (reasons_lib.remedy_of(reason) for reason, _ in reasons)))
  example = next((f" {_example(row)}" for row in quarantine.rows if row.reason == reasons[0][0]), "")
  raise DataError(subject, rule=f"at most {max_share:.2%} of a span's rows break the schema (max_quarantine_share).",
                  received=f"{broken} of {num_rows} rows ({broken / num_rows:.2%}): {listed}.{example}",
                  remedy="; ".join([*remedies, f"see {path} for rows and reasons; mend the log or the spec, or raise "
                                    "the share."]))


def _example(row: QuarantinedRow) -> str:
  """A row as an example of its reason: the value that is wrong, where the reason names its column."""
  wrong = [f"{name} = {value!r}" for name, value in row.values.items() if f"{name!r} " in row.reason]
  shown = ", ".join(wrong) or f"{next(iter(row.values.values()), '')!r}"
  return f"The first of these: {shown[:_MAX_EXAMPLE_CHARACTERS]}."


def _shortened(text: str) -> str:
  if len(text) <= _MAX_CHARACTERS:
    return text
  return f"{text[:_MAX_CHARACTERS]}... ({len(text):,} characters in all)"
