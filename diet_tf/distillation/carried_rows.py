"""Rows that are carried from stage to stage, so that a refinement of the whole memory need not read old spans again.

A refinement's outer batches are replayed slots, which stand for the spans up to the refinement before, and a bounded
sample of the rows since then. That sample is kept with each commit. It is a bottom-k sketch: the rows whose example ids
come first in a fixed pseudo-random order, so that it is a uniform sample of all spans together, and depends neither on
the order of rows nor on shards or batches. The rows have no labels: the teacher at hand labels them when they are used.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping

import numpy as np

from diet_tf.errors import DataError, FormatError
from diet_tf.io import files
from diet_tf.io.arrays import read_arrays, write_arrays
from diet_tf.io.documents import REMEDY, DocumentFormat, is_count
from diet_tf.log.encoded_rows import BoundedSample, EncodedRows
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix
from diet_tf.log.row_layout import PADDING_ID, RowLayout, missing_rows
from diet_tf.memory.memory import Memory

# The part of a commit that holds them.
CARRIED_PART = "carried"
_ROWS_NAME, _SUMMARY_NAME = "rows.npz", "carried.json"
_EXAMPLE_IDS = "example_ids"
CARRIED = DocumentFormat("diet_tf.carried_rows", {1: {
    "after_span": int | None, "num_examples_before": int, "num_rows": int, "num_kept": int,
    "feature_spec_digest": str}}, indent=1)
# One order for all spans, or a row of one would have another chance than a row of another.
_ORDER = functools.partial(mix, seed=29)


@dataclasses.dataclass(frozen=True)
class CarriedRows:
  """A sample of the rows since a refinement.

  Attributes:
    rows: ids and example ids of the sample, in the order of the draw.
    num_rows: number of the rows that it was drawn from, those of the sample included.
    after_span: number of the span of that refinement; None where the rows are of all spans.
    num_examples_before: number of examples of all spans up to it.
  """

  rows: EncodedRows
  num_rows: int
  after_span: int | None
  num_examples_before: int

  def __len__(self) -> int:
    return len(self.rows)

  def write(self, folder: str, spec: FeatureSpec) -> None:
    """Writes the sample into a folder, which is made; the same sample gives the same bytes."""
    with files.writing(folder):
      files.make_folders(folder)
    columns = _columns(self.rows.ids, spec)
    write_arrays(files.join(folder, _ROWS_NAME), {**columns, _EXAMPLE_IDS: self.rows.example_ids})
    CARRIED.write(files.join(folder, _SUMMARY_NAME), CARRIED.document({
        "after_span": self.after_span, "num_examples_before": self.num_examples_before, "num_rows": self.num_rows,
        "num_kept": len(self.rows), "feature_spec_digest": spec.digest()}))

  @classmethod
  def read(cls, folder: str, spec: FeatureSpec) -> CarriedRows:
    """The sample that `write` wrote.

    Raises:
      FormatError: a file is missing, damaged or newer, of another feature spec, or has ids beyond their field.
    """
    path = files.join(folder, _SUMMARY_NAME)
    summary = CARRIED.read(path)
    if summary["feature_spec_digest"] != spec.digest():
      raise FormatError(path, rule=f"the rows are of the feature spec {spec.digest()[:12]} in use.",
                        received=summary["feature_spec_digest"][:12], remedy="use the config that made them.")
    path = files.join(folder, _ROWS_NAME)
    arrays = read_arrays(path)
    expected = _columns(missing_rows(spec, summary["num_kept"]), spec)
    expected[_EXAMPLE_IDS] = np.zeros(summary["num_kept"], np.uint64)
    sound = set(arrays) == set(expected) and all(
        arrays[name].shape == one.shape and arrays[name].dtype.kind in ("f" if one.dtype.kind == "f" else "iu")
        for name, one in expected.items())
    sound = sound and all(is_count(summary[key]) for key in ("num_rows", "num_examples_before"))
    sound = sound and summary["num_kept"] <= summary["num_rows"]
    if not sound:
      raise FormatError(path, rule="it has an id within its field for each field of each row, and example ids.",
                        received=", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()),
                        remedy=REMEDY)
    ids = _rows_of(arrays, spec)
    try:
      RowLayout.of(spec).check(ids, spec, path)
    except DataError as error:
      raise FormatError(error.subject, rule=error.rule, received=error.received, remedy=REMEDY) from error
    return cls(EncodedRows(ids, example_ids=arrays[_EXAMPLE_IDS]), summary["num_rows"], summary["after_span"],
               summary["num_examples_before"])


def num_carried(folder: str) -> int:
  """The number of rows of the sample in a folder, which are not read.

  Raises:
    FormatError: the summary is missing, damaged or newer.
  """
  return int(CARRIED.read(files.join(folder, _SUMMARY_NAME))["num_kept"])


def carried_on(previous: Memory | None, carried: CarriedRows | None, batches: Iterable[EncodedRows],
               max_rows: int) -> CarriedRows:
  """The sample of all rows since the memory was last refined, those of a new span included.

  Args:
    previous: the memory before the span; None in the first stage.
    carried: the sample before the span; None where none was kept. It is dropped where `previous` was refined since.
    batches: the span's rows that are not held back, with their example ids.
    max_rows: the most rows that are kept.
  """
  after, before, num_rows, sample = None, 0, 0, BoundedSample(max_rows, _ORDER)
  last = None
  if previous is not None:
    after, before = previous.manifest.span, previous.manifest.num_examples_seen
    if carried is not None and previous.manifest.refinement().span != previous.manifest.span:
      after, before, num_rows = carried.after_span, carried.num_examples_before, carried.num_rows
      sample.add(carried.rows)
      # Rows that the sample was too small for then, as it may be larger now, must not have another chance today.
      last = _ORDER(carried.rows.example_ids).max() if 0 < len(carried) < carried.num_rows else None
  for batch in batches:
    num_rows += len(batch)
    batch = EncodedRows(batch.ids, example_ids=batch.example_ids)
    sample.add(batch if last is None else batch.take(_ORDER(batch.example_ids) <= last))
  return CarriedRows(sample.shuffled(), num_rows, after, before)


def _columns(rows: np.ndarray, spec: FeatureSpec) -> dict[str, np.ndarray]:
  """The arrays of encoded rows: ids in the smallest unsigned type, in which the size of the id space is padding."""
  layout, columns = RowLayout.of(spec), {}
  for number, (field, num_ids) in enumerate(zip(spec.fields, spec.num_ids, strict=True)):
    ids = rows[:, layout.ids_at(number)]
    if not field.is_multi_valued:
      columns[_column(field.name)] = ids[:, 0].astype(np.min_scalar_type(num_ids - 1))
      continue
    columns[_column(field.name)] = np.where(ids == PADDING_ID, num_ids, ids).astype(np.min_scalar_type(num_ids))
    if field.weights is not None:
      columns[_weights_column(field.name)] = layout.weights(rows, number)
  return columns


def _rows_of(arrays: Mapping[str, np.ndarray], spec: FeatureSpec) -> np.ndarray:
  """The encoded rows of arrays that `_columns` made; what is no id of a field stays none."""
  most, ids = np.iinfo(np.int32).max, []
  for field, num_ids in zip(spec.fields, spec.num_ids, strict=True):
    own = np.minimum(arrays[_column(field.name)].astype(np.int64), most)
    ids.append(np.where(own == num_ids, PADDING_ID, own) if field.is_multi_valued else own[:, None])
  weights = {number: arrays[_weights_column(field.name)] for number, field in enumerate(spec.fields)
             if field.weights is not None}
  return RowLayout.of(spec).packed(ids, weights)


def _column(name: str) -> str:
  return f"ids/{name}"


def _weights_column(name: str) -> str:
  return f"weights/{name}"
