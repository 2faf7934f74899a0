"""The labels of rows: what of a column's values counts as 1 and what as 0, by the rule of the label."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from diet_tf.log.encoding import Vocabulary
from diet_tf.log.features import NUM_RESERVED_VOCABULARY_IDS, OUT_OF_VOCABULARY_ID, Label
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import reasons, value_rules
from tfx_components.log_gen.columns import Column

# A label may be written as a truth value.
TRUTH_VALUES = {"true": "1", "t": "1", "yes": "1", "y": "1", "false": "0", "f": "0", "no": "0", "n": "0"}
_ZERO, _MINUS_ONE = "0", "-1"
_MAX_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Labels:
  """The distinct values of a column, read as labels.

  Attributes:
    values: `[u]` float32, 0 or 1; of no meaning where the value is none.
    known: `[u]` bool, true where the value is a label.
    wrong: pairs of `[u]` bool, true where something is wrong with the value, and the words for it.
    named: `[u]` bool by a value that the rule of the label names, true where it is that value.
  """

  values: np.ndarray
  known: np.ndarray
  wrong: list[tuple[np.ndarray, str]]
  named: Mapping[str, np.ndarray]

  def rows_by_value(self, codes: np.ndarray) -> dict[str, int]:
    """The number of rows of each value that the rule names, given the rows' `[n]` codes."""
    counts = {value: int(np.count_nonzero(found[codes])) for value, found in self.named.items() if found.any()}
    return {value: number for value, number in counts.items() if number}


def read_labels(label: Label, column: Column, thousands: str | None, *, takes_minus_one: bool = True) -> Labels:
  """The distinct values of a column as labels.

  Args:
    label: the rule.
    column: the label's column.
    thousands: separator of thousands in numbers; None for none.
    takes_minus_one: whether -1 counts as 0 where the label has no rule of its own.
  """
  if label.positive:
    return _of_listed_values(label, column)
  texts = np.array([TRUTH_VALUES.get(text.lower(), text) for text in column.texts], object)
  values, wrong = value_rules.read_numbers(dataclasses.replace(column, texts=texts), thousands)
  unreadable = np.any([broken for broken, _ in wrong], axis=0)
  missing = (np.isnan(values) & ~unreadable, reasons.MISSING)
  if label.positive_from is not None:
    known = ~(unreadable | np.isnan(values))
    return Labels((values >= label.positive_from).astype(np.float32), known, [missing, *wrong], {})
  named = {_ZERO: values == 0, _MINUS_ONE: values == -1}
  known = ~unreadable & (np.isin(values, (0, 1)) | (named[_MINUS_ONE] if takes_minus_one else False))
  return Labels(np.nan_to_num(np.maximum(values, 0)).astype(np.float32), known,
                [missing, (~known, reasons.NOT_BINARY)], named)


def _of_listed_values(label: Label, column: Column) -> Labels:
  listed = (*label.positive, *label.negative)
  ids = Vocabulary(listed, closed=True).ids(column.texts)
  places = ids - NUM_RESERVED_VOCABULARY_IDS
  positive = (places >= 0) & (places < len(label.positive))
  negative = places >= len(label.positive) if label.negative else ids == OUT_OF_VOCABULARY_ID
  # What is no single text is no other value either.
  sound = column.has(columns_lib.SOUND, *columns_lib.NUMBERS)
  known = (positive | negative) & sound
  return Labels(positive.astype(np.float32), known,
                [(column.missing, reasons.MISSING), (~known & sound & ~column.missing, reasons.NOT_LISTED)],
                {value: places == place for place, value in enumerate(listed)})


def mixes_minus_one(label: Label, rows_by_value: Mapping[str, int]) -> bool:
  """Whether rows have -1 beside 0, where the label has no rule that tells what -1 is: then it is no label."""
  return _has_no_rule(label) and _ZERO in rows_by_value and _MINUS_ONE in rows_by_value


def remarks(label: Label, rows_by_value: Mapping[str, int]) -> tuple[str, ...]:
  """What a user should know of a span's labels, a sentence each.

  Args:
    label: the rule.
    rows_by_value: number of rows of each value that the rule names.
  """
  if _has_no_rule(label) and _MINUS_ONE in rows_by_value and _ZERO not in rows_by_value:
    return (f"Label {label.column!r}: {rows_by_value[_MINUS_ONE]:,} rows have -1 and none has 0, so that -1 counts as "
            "0.",)
  missed = [repr(value) for value in label.positive if value not in rows_by_value]
  if not missed:
    return ()
  more = f" and {len(missed) - _MAX_NAMED} more" if len(missed) > _MAX_NAMED else ""
  return (f"Label {label.column!r}: no row has {', '.join(missed[:_MAX_NAMED])}{more} of the {len(label.positive)} "
          "values that count as 1.",)


def _has_no_rule(label: Label) -> bool:
  return label.positive_from is None and not label.positive
