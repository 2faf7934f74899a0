"""Which values of the fields occur in a span: what a config lists and no row has, and fields that say nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diet_tf.log.features import NUM_RESERVED_VOCABULARY_IDS, FeatureSpec
from tfx_components.log_gen import join as join_lib
from tfx_components.log_gen.value_lists import list_entries

_MAX_NAMED = 5


@dataclasses.dataclass(frozen=True)
class SeenValues:
  """The values of fields in some rows.

  Attributes:
    listed: per number of a field with a closed vocabulary, the ids that occur.
    extremes: per number of a field its least and greatest id, or text where the vocabulary grows.
  """

  listed: Mapping[int, frozenset[int]] = dataclasses.field(default_factory=dict)
  extremes: Mapping[int, tuple[Any, Any]] = dataclasses.field(default_factory=dict)

  @classmethod
  def of(cls, table: pa.Table, spec: FeatureSpec) -> SeenValues:
    """The values in a table of encoded rows that has any."""
    listed, extremes = {}, {}
    for index, field in enumerate(spec.fields):
      column = table[join_lib.field_name(index)]
      if field.is_multi_valued:
        rows, column = list_entries(column)
        if len(np.unique(rows)) < table.num_rows:
          # A row without any value is missing.
          column = pa.concat_arrays([column, pa.array([""] if pa.types.is_string(column.type) else [0], column.type)])
      found = pc.min_max(column).as_py()
      extremes[index] = (found["min"], found["max"])
      if field.vocabulary:
        listed[index] = frozenset(np.flatnonzero(np.bincount(column.to_numpy())).tolist())
    return cls(listed, extremes)

  def __add__(self, other: SeenValues) -> SeenValues:
    listed = {index: self.listed.get(index, frozenset()) | other.listed.get(index, frozenset())
              for index in {**self.listed, **other.listed}}
    both = {index: [seen.extremes[index] for seen in (self, other) if index in seen.extremes]
            for index in {**self.extremes, **other.extremes}}
    return SeenValues(listed, {index: (min(low for low, _ in pairs), max(high for _, high in pairs))
                               for index, pairs in both.items()})

  def remarks(self, spec: FeatureSpec) -> tuple[str, ...]:
    """What a user should know of the fields, a sentence each, in their order."""
    found = []
    for index, field in enumerate(spec.fields):
      low, high = self.extremes.get(index, (0, 1))
      if low == high:
        found.append(f"Field {field.name!r} has the same id in all rows, and says nothing.")
      ids = self.listed.get(index, frozenset())
      missed = [repr(value) for number, value in enumerate(field.vocabulary, NUM_RESERVED_VOCABULARY_IDS)
                if number not in ids]
      if index in self.listed and missed:
        more = f" and {len(missed) - _MAX_NAMED} more" if len(missed) > _MAX_NAMED else ""
        found.append(f"Field {field.name!r}: no row has {', '.join(missed[:_MAX_NAMED])}{more} of the "
                     f"{len(field.vocabulary)} values that its vocabulary lists.")
    return tuple(found)
