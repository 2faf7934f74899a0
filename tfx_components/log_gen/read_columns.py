"""Which columns of a log are read, and what for: the one place that says so. No other column can break a row or a file.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

from diet_tf.errors import DataError
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import DELIMITERS, LogSettings
from tfx_components.log_gen import headers, reasons
from tfx_components.log_gen.join import JoinPlan

_MAX_NAMED = 8
_LABEL = "the label"


def read_columns(spec: FeatureSpec, settings: LogSettings, joins: Sequence[JoinPlan],
                 rule: DuplicateRule) -> dict[str, str]:
  """The columns of the log that are read, each with what for; a log that lacks one of them is refused.

  Args:
    spec: feature spec, whose fields, label and time are read.
    settings: settings of the log, whose spans may come from a column.
    joins: the joins that fields need; what they add is not read from the log, but their keys are.
    rule: which rows stand for each other, which a declared key may say.
  """
  joined = {index for plan in joins for index, _ in plan.fields}
  columns = {field.column: f"field {field.name!r}" for index, field in reversed(list(enumerate(spec.fields)))
             if index not in joined}
  columns.update({field.weights: f"the weights of field {field.name!r}" for index, field in enumerate(spec.fields)
                  if field.weights is not None and index not in joined and field.weights not in columns})
  columns.update({name: "log.unique" for name in rule.unique})
  columns.update({plan.on: f"the join with {plan.pattern}" for plan in joins})
  if settings.span_column:
    columns[settings.span_column] = "span_column"
  if spec.time_column:
    columns[spec.time_column] = "time_column"
  columns[spec.label.column] = _LABEL
  return columns


def list_columns(spec: FeatureSpec, fields: Iterable[int]) -> frozenset[str]:
  """The columns, by their names in the joined log, that some fields read as lists of values."""
  return frozenset(name for index in fields for name in spec.fields[index].list_columns)


def check_columns(needed: dict[str, str], present: Iterable[str], where: str) -> None:
  """Raises `DataError` where a needed column is not among those present, or is there several times."""
  numbers = Counter(present)
  names = sorted(numbers)
  for column, purpose in needed.items():
    if column not in numbers:
      raise DataError(f"column {column!r} of {where}", rule=f"it is there, for {purpose}.",
                      received=f"columns {', '.join(map(repr, nearest(column, names)))} (of {len(names)}).",
                      remedy=_remedy(column, purpose, names))
    if numbers[column] > 1:
      raise DataError(f"column {column!r} of {where}", rule=f"it is there once, for {purpose}.",
                      received=f"{numbers[column]} columns of this name.",
                      remedy="rename one of the columns, or drop it.")


def _remedy(column: str, purpose: str, names: Sequence[str]) -> str:
  """What to do about a column that is not there."""
  if any(column.startswith(f"{name}.") for name in names):
    return ("correct the column's name in the config: it is the keys that lead to a value within objects, with dots "
            "between them, and no list on the way.")
  if len(names) == 1 and any(delimiter in names[0] for delimiter in DELIMITERS):
    return "set log.delimiter (log.joins.delimiter) to the character that parts the names, such as tab."
  if headers.is_data(names):
    return "name the columns in log.columns: the first line looks like data, and not like a header."
  if purpose == _LABEL:
    return ("correct the column's name in the config, or bring the column back into the log; "
            f"{reasons.POSITIVES_ALONE}.")
  return "correct the column's name in the config, or bring the column back into the log."


def nearest(name: str, names: Sequence[str]) -> list[str]:
  """The names most like `name`, best first, or the first few where none is like it."""
  lower = {candidate.lower(): candidate for candidate in names}
  close = difflib.get_close_matches(name.lower(), list(lower), 3, 0.5)
  return [lower[candidate] for candidate in close] or list(names[:_MAX_NAMED])
