"""The shards of a span: where its sorted rows are cut, and how a shard is written."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from diet_tf.io import files
from diet_tf.io.record_frames import ShardInfo
from diet_tf.log import encoding
from diet_tf.log.examples import write_example_shard
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout
from diet_tf.log.value_sets import packed_sets
from tfx_components.beam_graph import total
from tfx_components.log_gen import columns as columns_lib
from tfx_components.log_gen import join as join_lib
from tfx_components.log_gen import spill
from tfx_components.log_gen.value_lists import list_entries, spilled_entries

# Total: number of rows written.
WRITTEN = "written"
# Total: per multi-valued field, the number of rows that have more values than are kept.
CUT = "cut"


@dataclasses.dataclass(frozen=True)
class RowSlice:
  """Consecutive rows of a spill file with batches of `spill.BATCH_ROWS`.

  Attributes:
    path: the file.
    start: number of the first row.
    stop: one more than the number of the last.
  """

  path: str
  start: int
  stop: int

  def read(self) -> pa.Table:
    """The rows."""
    first, stop = self.start // spill.BATCH_ROWS, -(-self.stop // spill.BATCH_ROWS)
    table = pa.Table.from_batches(spill.read_batches(self.path, range(first, stop)))
    return table.slice(self.start - first * spill.BATCH_ROWS, self.stop - self.start)


@dataclasses.dataclass(frozen=True)
class Shard:
  """An output file and the rows that go into it."""

  path: str
  slices: tuple[RowSlice, ...]


def plan_shards(folder: str, sorted_files: Sequence[tuple[str, int]], rows_per_shard: int) -> list[Shard]:
  """Shards of about `rows_per_shard` rows, all equally long; a span of no more than two is one.

  Args:
    folder: folder that gets the shards.
    sorted_files: path of each file of sorted rows and the number of rows in it, in the order of the rows.
    rows_per_shard: number of rows of a shard, about.
  """
  num_rows = sum(number for _, number in sorted_files)
  num_shards = -(-num_rows // rows_per_shard) if num_rows > 2 * rows_per_shard else 1
  cuts = [number * num_rows // num_shards for number in range(num_shards + 1)]
  slices: list[list[RowSlice]] = [[] for _ in range(num_shards)]
  start, shard = 0, 0
  for path, number in sorted_files:
    stop, low = start + number, start
    while low < stop:
      high = min(stop, cuts[shard + 1])
      slices[shard].append(RowSlice(path, low - start, high - start))
      shard, low = shard + (high == cuts[shard + 1]), high
    start = stop
  return [Shard(files.join(folder, f"data_tfrecord-{index:05d}-of-{num_shards:05d}.gz"), tuple(own))
          for index, own in enumerate(slices)]


@dataclasses.dataclass(frozen=True)
class WriteShard:
  """Writes sorted rows as a shard of examples.

  Attributes:
    spec: the feature spec.
    vocabularies_path: file of the vocabularies, the values of the span included.
  """

  spec: FeatureSpec
  vocabularies_path: str

  def run(self, number: int, shards: Iterable[Shard], side_input: None) -> Iterator[TaggedOutput]:
    """Writes the file; the number of its rows is a total."""
    shard, = shards
    rows = pa.concat_tables([part.read() for part in shard.slices])
    written, num_cut = write_shard(shard.path, rows, self.spec, encoding.read_vocabularies(self.vocabularies_path))
    yield total(WRITTEN, written.num_records)
    yield total(CUT, Counter(num_cut))


def write_shard(path: str, rows: pa.Table, spec: FeatureSpec,
                vocabularies: Mapping[str, list[str]]) -> tuple[ShardInfo, dict[str, int]]:
  """Writes finished rows as one shard of examples.

  Returns:
    What is known of the file, and per multi-valued field the number of rows that have more values than it keeps.
  """
  encoded, num_cut = encoded_rows(rows, spec, vocabularies)
  written = write_example_shard(path, encoded, rows["label"].to_numpy(), rows["example_id"].to_numpy(),
                                rows["time"].to_numpy(), spec)
  return written, num_cut


def encoded_rows(rows: pa.Table, spec: FeatureSpec,
                 vocabularies: Mapping[str, list[str]]) -> tuple[np.ndarray, dict[str, int]]:
  """`[num_rows, num_places]` int32 encoded rows, and the rows of too many values as `write_shard` returns them."""
  layout = RowLayout.of(spec)
  ids, weights, num_cut = [], {}, {}
  for index, field in enumerate(spec.fields):
    column = rows[join_lib.field_name(index)]
    if field.is_multi_valued:
      entries = spilled_entries(column, rows[join_lib.weights_name(index)] if layout.is_weighted[index] else None,
                                _ids_of_texts(list_entries(column)[1], vocabularies[field.name])
                                if encoding.grows(field) else None)
      sets = packed_sets(entries, rows.num_rows, layout.widths[index])
      ids.append(sets.ids)
      num_cut[field.name] = sets.num_cut
      if sets.weights is not None:
        weights[index] = sets.weights
    elif encoding.grows(field):
      ids.append(_ids_of_texts(column, vocabularies[field.name])[:, None])
    else:
      ids.append(column.to_numpy()[:, None])
  return layout.packed(ids, weights), num_cut


def _ids_of_texts(texts: pa.Array | pa.ChunkedArray, vocabulary: Sequence[str]) -> np.ndarray:
  distinct = columns_lib.from_arrow(texts)
  return encoding.Vocabulary(vocabulary).ids(distinct.texts)[distinct.codes]
