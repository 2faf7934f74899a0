"""Rows that break the schema: counted by reason, the first of them kept for the user to see."""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections.abc import Iterable, Mapping

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log.row_counts import Reasons, RowTally, added, listed_reasons, total
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
    tallies: broken rows by reason.
    rows: those kept, shortened: the first by piece and record.
  """

  max_rows: int
  tallies: Reasons = dataclasses.field(default_factory=dict)
  rows: tuple[QuarantinedRow, ...] = ()

  @classmethod
  def of(cls, tallies: Reasons, rows: Iterable[QuarantinedRow], max_rows: int) -> Quarantine:
    """The quarantine of some broken rows.

    Args:
      tallies: all of them by reason.
      rows: those that may be kept, at least.
      max_rows: how many to keep.
    """
    counted: Reasons = {}
    for reason, tally in tallies.items():
      counted = added(counted, {_shortened(reason): tally})
    kept = heapq.nsmallest(max_rows, (row.shortened() for row in rows), key=_place)
    return cls(max_rows, counted, tuple(kept))

  def __add__(self, other: Quarantine) -> Quarantine:
    rows = heapq.nsmallest(self.max_rows, (*self.rows, *other.rows), key=_place)
    return Quarantine(self.max_rows, added(self.tallies, other.tallies), tuple(rows))

  @property
  def counts(self) -> dict[str, int]:
    """The number of broken rows by reason."""
    return {reason: tally.num_rows for reason, tally in self.tallies.items()}

  @property
  def num_rows(self) -> int:
    """All broken rows."""
    return total(self.tallies).num_rows


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


def check_share(quarantine: Quarantine, read: RowTally, max_share: float, subject: str, path: str) -> None:
  """Raises `DataError` where more than `max_share` of the rows that were read are broken."""
  broken = total(quarantine.tallies)
  if broken.num_rows <= max_share * read.num_rows:
    return
  reasons = sorted(quarantine.counts.items(), key=lambda item: (-item[1], item[0]))[:_NUM_NAMED_REASONS]
  remedies = dict.fromkeys(filter(None, (reasons_lib.remedy_of(reason) for reason, _ in reasons)))
  example = next((f" {_example(row)}" for row in quarantine.rows if row.reason == reasons[0][0]), "")
  raise DataError(subject, rule=f"at most {max_share:.2%} of a span's rows break the schema "
                  "(log.max_quarantine_share).",
                  received=f"{broken.num_rows:,} of {read.num_rows:,} rows ({broken.share_of(read):.2%}): "
                  f"{listed_reasons(quarantine.tallies, _NUM_NAMED_REASONS)}.{example}",
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
