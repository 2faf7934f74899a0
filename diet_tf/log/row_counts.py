"""What became of the rows of a span: how many were read, kept, set aside and dropped, why, and their click rates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from diet_tf.errors import DataError
from diet_tf.io.shapes import MapOf

# Reasons for which a row is dropped.
EQUAL_ROWS = "equal to another row in all columns"
EQUAL_KEYS = "the same key as another row, and the same values in all columns that are read"
CONFLICTING_KEYS = "the same key as another row, and other values"

_MOST_NAMED_REASONS = 3
_MOST_REASON_CHARACTERS = 120


@dataclasses.dataclass(frozen=True)
class RowTally:
  """Some rows, counted.

  Attributes:
    num_rows: number of rows.
    num_labelled: number of those whose label could be read; a broken row may have none.
    num_positives: number of those whose label is 1.
  """

  num_rows: int = 0
  num_labelled: int = 0
  num_positives: int = 0

  @classmethod
  def of(cls, labels: np.ndarray, num_unlabelled: int = 0) -> RowTally:
    """The tally of rows with these `[n]` labels, 0 or 1, and of some rows without one."""
    return cls(len(labels) + num_unlabelled, len(labels), int(np.count_nonzero(labels)))

  def __add__(self, other: RowTally) -> RowTally:
    return RowTally(self.num_rows + other.num_rows, self.num_labelled + other.num_labelled,
                    self.num_positives + other.num_positives)

  @property
  def click_rate(self) -> float | None:
    """The share of positives among the labelled rows, in [0, 1]; None where no row has a label."""
    return self.num_positives / self.num_labelled if self.num_labelled else None

  def share_of(self, whole: RowTally) -> float:
    """The number of these rows over that of others, 0 where there are no others."""
    return self.num_rows / whole.num_rows if whole.num_rows else 0.0

  def to_dict(self) -> dict[str, Any]:
    """The tally as JSON values, the click rate among them."""
    return {**dataclasses.asdict(self), "click_rate": self.click_rate}


Reasons = Mapping[str, RowTally]


def added(one: Reasons, other: Reasons) -> dict[str, RowTally]:
  """The tallies of two parts by reason, added up; reasons without rows are left out."""
  sums = {reason: one.get(reason, RowTally()) + other.get(reason, RowTally()) for reason in {**one, **other}}
  return {reason: tally for reason, tally in sums.items() if tally.num_rows}


def total(reasons: Reasons) -> RowTally:
  """The rows of all reasons together."""
  return sum(reasons.values(), RowTally())


@dataclasses.dataclass(frozen=True)
class RowCounts:
  """What became of the rows of a span: each that was read is kept, set aside or dropped.

  Attributes:
    read: rows of the span in the log.
    kept: rows that became examples.
    quarantined: rows that break the schema and were set aside, by reason.
    dropped: rows for which another one stands (`diet_tf.log.duplicates`), by reason.
    duplicates: kept rows that look like another kept row in all that is read of them, the first of each kind not among
      them.
    remarks: what was noticed of the fields, a sentence each: listed values that never occur, and fields of one id.
  """

  read: RowTally = RowTally()
  kept: RowTally = RowTally()
  quarantined: Reasons = dataclasses.field(default_factory=dict)
  dropped: Reasons = dataclasses.field(default_factory=dict)
  duplicates: RowTally = RowTally()
  remarks: tuple[str, ...] = ()

  def __add__(self, other: RowCounts) -> RowCounts:
    return RowCounts(self.read + other.read, self.kept + other.kept, added(self.quarantined, other.quarantined),
                     added(self.dropped, other.dropped), self.duplicates + other.duplicates,
                     tuple(dict.fromkeys((*self.remarks, *other.remarks))))

  def to_dict(self) -> dict[str, Any]:
    """The counts as JSON values."""
    return {"read": self.read.to_dict(), "kept": self.kept.to_dict(),
            "quarantined": {reason: tally.to_dict() for reason, tally in sorted(self.quarantined.items())},
            "dropped": {reason: tally.to_dict() for reason, tally in sorted(self.dropped.items())},
            "duplicates": self.duplicates.to_dict(), "remarks": list(self.remarks)}

  @classmethod
  def from_dict(cls, content: Mapping[str, Any]) -> RowCounts:
    """The counts in a part of a document that has the shape `ROW_COUNTS_SHAPE`."""
    reasons = {name: {reason: _tally(value) for reason, value in content[name].items()}
               for name in ("quarantined", "dropped")}
    return cls(_tally(content["read"]), _tally(content["kept"]), duplicates=_tally(content["duplicates"]),
               remarks=tuple(content["remarks"]), **reasons)

  def require_all(self, num_written: int, subject: str) -> None:
    """Raises DataError where a row was lost, or counted twice: an error of the program and not of the log.

    Args:
      num_written: number of examples that were written.
      subject: name of the span in the message.
    """
    accounted = self.kept + total(self.quarantined) + total(self.dropped)
    if accounted == self.read and num_written == self.kept.num_rows:
      return
    raise DataError(subject, rule="every row that is read is kept and written, set aside or dropped.",
                    received=f"{self.read} read; {self.kept} kept, {num_written} written; "
                    f"{total(self.quarantined)} set aside; {total(self.dropped)} dropped.",
                    remedy="report this with the settings of the log; nothing of the span was committed.")

  def sentence(self) -> str:
    """What became of the rows, by reason, and the click rates before and after."""
    parts = [f"{self.read.num_rows:,} rows read", f"{self.kept.num_rows:,} kept"]
    for name, reasons in (("set aside", self.quarantined), ("dropped", self.dropped)):
      listed = f" ({listed_reasons(reasons)})" if reasons else ""
      parts.append(f"{total(reasons).num_rows:,} {name}{listed}")
    if self.duplicates.num_rows:
      parts.append(f"{self.duplicates.num_rows:,} of those kept ({self.duplicates.share_of(self.kept):.1%}) look like "
                   "another row")
    return f"{', '.join(parts)}; click rate {rate_text(self.read)} before and {rate_text(self.kept)} after."


def listed_reasons(reasons: Reasons, most: int = _MOST_NAMED_REASONS, *, rates: bool = False) -> str:
  """The most frequent reasons, each with its number of rows and, where that is asked, their click rate."""
  order = sorted(reasons.items(), key=lambda item: (-item[1].num_rows, item[0]))
  named = "; ".join(f"{tally.num_rows:,} x {reason[:_MOST_REASON_CHARACTERS]}"
                    + (f" (click rate {rate_text(tally)})" if rates else "") for reason, tally in order[:most])
  return f"{named}; {len(order) - most} more reasons" if len(order) > most else named


def rate_text(tally: RowTally) -> str:
  """The click rate with four digits, or that it is not known."""
  return "unknown" if tally.click_rate is None else f"{tally.click_rate:.4f}"


def _tally(value: Mapping[str, Any]) -> RowTally:
  return RowTally(**{field.name: value[field.name] for field in dataclasses.fields(RowTally)})


_TALLY = {"num_rows": int, "num_labelled": int, "num_positives": int, "click_rate": float | None}
ROW_COUNTS_SHAPE = {"read": _TALLY, "kept": _TALLY, "quarantined": MapOf(_TALLY), "dropped": MapOf(_TALLY),
                    "duplicates": _TALLY, "remarks": list[str]}
