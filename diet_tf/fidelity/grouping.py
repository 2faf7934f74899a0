"""The groups that rows of a log fall into by one of their fields: the users, or the requests; numpy only."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from diet_tf.errors import ConfigError
from diet_tf.group_metrics import Groups
from diet_tf.io.shapes import Figure
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import MISSING_ID, NUM_RESERVED_VOCABULARY_IDS, FeatureSpec, Field
from diet_tf.log.row_layout import RowLayout

GROUPING_SHAPE = {"field": str, "num_groups": int, "num_rows_without": int, "sharing": Figure}


@dataclasses.dataclass(frozen=True)
class Grouping:
  """How rows fall into groups.

  Attributes:
    field: name of the field whose ids tell the groups apart.
    num_groups: number of ids that occur, each of which is a group.
    num_rows_without: number of rows that belong to none: the field is missing, or its value is in no vocabulary.
    sharing: estimated share of the values in the rows, in [0, 1], that have an id in common with another one and so are
      taken for one group with it; NaN for a field that is not hashed, where no two are.
  """

  field: str
  num_groups: int
  num_rows_without: int
  sharing: float

  @property
  def text(self) -> str:
    """The grouping in a sentence."""
    without = f"; {self.num_rows_without:,} rows without {self.field} are in none" if self.num_rows_without else ""
    sharing = ("" if math.isnan(self.sharing) else f" Ids are hashes: about {self.sharing:.1%} of its values share one "
               "with another value, and count as one group with it.")
    occur = "1 id of it occurs" if self.num_groups == 1 else f"{self.num_groups:,} ids of it occur"
    return f"The rows are grouped by {self.field}: {occur}{without}.{sharing}"


def require_group_field(field: str | None, spec: FeatureSpec, subject: str) -> None:
  """Raises ConfigError if a field that is to group rows is none of the log's, or may have several values a row.

  Args:
    field: name of the field; None, where rows are not grouped, is right.
    spec: feature spec of the log.
    subject: what names the field, for the message.
  """
  if field is not None and field not in spec.names:
    raise ConfigError(subject, rule=f"it is one of the fields: {', '.join(spec.names)}.", received=repr(field),
                      remedy="name a field, or declare it under features.fields.")
  if field in spec.multi_valued:
    raise ConfigError(subject, rule="a row is in one group: the field has one value a row.",
                      received=f"{field}, which is multi-valued.", remedy="name the field of a user or a request.")


def group_rows(rows: EncodedRows, spec: FeatureSpec, field: str) -> tuple[Groups, Grouping]:
  """The groups of rows by the ids of a field, and what is to be said of them.

  Args:
    rows: the rows.
    spec: their feature spec.
    field: name of the field.

  Raises:
    ConfigError: there is no such field, or it may have several values a row.
  """
  require_group_field(field, spec, "group")
  number = spec.names.index(field)
  of_one, ids = spec.fields[number], rows.ids[:, RowLayout.of(spec).ids_at(number)].ravel()
  # Id 0 is all rows where the field is missing, and id 1 of a vocabulary all values that are not listed.
  reserved = NUM_RESERVED_VOCABULARY_IDS if of_one.vocabulary_ids is not None else MISSING_ID + 1
  groups = Groups.of(ids, ids >= reserved)
  return groups, Grouping(field, groups.count, int(np.count_nonzero(ids < reserved)), _sharing(of_one, groups.count))


def _sharing(field: Field, num_seen: int) -> float:
  """The share of values that share an id, where `num_seen` ids of a hashed field occur.

  `U` values fill `m (1 - (1 - 1/m)^U)` of `m` ids on average, which gives `U`; of each value, another one has the id
  with probability `1 - (1 - 1/m)^(U - 1)`.
  """
  if field.hash_ids is None:
    return math.nan
  num_ids = field.hash_ids - 1
  if num_seen >= num_ids or num_ids == 1:
    return 1.0 if num_seen else 0.0
  each = math.log1p(-1 / num_ids)
  num_values = math.log1p(-num_seen / num_ids) / each
  return max(0.0, -math.expm1((num_values - 1) * each))
