"""Columns whose rows have several values: lists of a file, and texts whose values are parted, as fields of sets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from typing import Any

import numpy as np

from diet_tf.log import encoding
from pipelines.init.log_sample import LogSample
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import value_lists
from tfx_components.log_gen.sources import Block

# A row of more values keeps so many of them, unless the user says otherwise.
MOST_VALUES = 64
_LEAST_VALUES = 4


@dataclasses.dataclass(frozen=True)
class Sets:
  """What the rows of a sample have in a column of several values.

  Attributes:
    values: `[n]` object array of canonical texts, those of all rows, one after the other.
    longest: the most values of a row.
  """

  values: np.ndarray
  longest: int

  @property
  def max_values(self) -> int:
    """How many values a field keeps of a row: all of the sample's, with some room, up to `MOST_VALUES`."""
    most = _LEAST_VALUES
    while most < min(self.longest, MOST_VALUES):
      most *= 2
    return most


def list_columns(sample: LogSample) -> set[str]:
  """Names of the columns of lists whose values are single ones."""
  return {name for name, flaw in sample.flaws.items() if flaw == columns_lib.LIST and all(
      values is not None for values in map(_values_of, np.unique(sample.texts[name])))}


def sets_of_lists(texts: np.ndarray) -> Sets:
  """The sets of a column of lists, whose texts are JSON."""
  return _sets([_values_of(text) or [] for text in texts])


def sets_of_texts(texts: np.ndarray, separator: str) -> Sets:
  """The sets of texts whose values are parted."""
  return _sets([[part.strip() for part in text.split(separator) if part.strip()] for text in texts])


def with_lists(block: Block, names: Collection[str]) -> Block:
  """A block of a sample, of which some columns are read as lists of values, as a run reads them."""
  columns = {name: value_lists.from_objects([_values_of(text) or [] for text in column.row_texts()])
             if name in names else column for name, column in block.columns.items()}
  return dataclasses.replace(block, columns=columns)


def _sets(rows: list[list[Any]]) -> Sets:
  values = [value for row in rows for value in row]
  array = np.empty(len(values), object)
  array[:] = values
  texts = encoding.canonical_texts(array)
  return Sets(texts[texts != encoding.MISSING_TEXT], max(map(len, rows), default=0))


def _values_of(text: str) -> list[Any] | None:
  """The values of a list in JSON, or the one of another text; None where they are lists or objects themselves."""
  try:
    values = json.loads(text) if text[:1] == "[" else [text] if text else []
  except ValueError:
    values = [text]
  return None if any(isinstance(value, (list, dict)) for value in values) else values
