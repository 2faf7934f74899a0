"""LogGen's three Beam graphs: from the files of a span to runs of its rows, to ranges in order, to shards of examples.

What the first one counted is checked before the second begins. Between that and the third the vocabularies grow, and
the shards get their numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
from apache_beam.pvalue import AsList

from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.features import FeatureSpec
from tfx_components.beam_graph import CLAIMS, TOTALS, Graph
from tfx_components.log_gen import vocabularies
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.ranges import Ranges
from tfx_components.log_gen.rows import RowPlan
from tfx_components.log_gen.shards import Shard, WriteShard
from tfx_components.log_gen.sources import Piece
from tfx_components.log_gen.spill import Claim, Run
from tfx_components.log_gen.steps import LOG, SIDE, EncodeSide, JoinPartition, ReadPiece, SortRange
from tfx_components.log_gen.unique_rows import DropEqualKeys
from tfx_components.log_gen.vocabularies import CountValues


@dataclasses.dataclass(frozen=True)
class ReadSpan:
  """The graph from the files of a span to runs of its encoded and joined rows.

  Attributes:
    pieces: pieces of the log's files.
    side_pieces: pieces of each join's side table, by the join's number.
    plan: plan of how rows are encoded.
    folder: folder for spill files, seen by all workers.
  """

  pieces: Sequence[Piece]
  side_pieces: Mapping[int, Sequence[Piece]]
  plan: RowPlan
  folder: str

  def build(self, graph: Graph) -> None:
    """Adds the transforms; totals are `COUNTS`, `QUARANTINE`, `RUNS`, `SAMPLE` and, with a declared key, `DROPPED`."""
    plan, span = self.plan, self.plan.span
    sides = {join.index: self._encoded_side(graph, join) for join in plan.joins}
    in_memory = [sides[join.index][CLAIMS] for join in plan.joins if not join.keyed]
    rows = graph.create("Pieces", self.pieces) | "Read" >> graph.step(
        ReadPiece(plan, self.folder), f"Reading span {span}", len(self.pieces),
        side_input=AsList(in_memory | "In memory" >> beam.Flatten()) if in_memory else None)
    steps = [*sides.values(), rows]
    for number, join in enumerate(plan.keyed_joins):
      rows = ({LOG: rows[CLAIMS], SIDE: sides[join.index][CLAIMS]} | f"By key {join.index}" >> beam.CoGroupByKey()
              | f"Join {join.index}" >> graph.step(
                  JoinPartition(plan, plan.keyed_joins[number:], self.folder), f"Joining with {join.pattern}",
                  join.num_partitions))
      steps.append(rows)
    if plan.rule.unique:
      steps.append(rows[CLAIMS] | "By declared key" >> beam.GroupByKey() | "Drop equal keys" >> graph.step(
          DropEqualKeys(plan, self.folder), "Looking for rows of one key", plan.num_key_partitions))
    graph.hand_back([step[TOTALS] for step in steps])

  def _encoded_side(self, graph: Graph, join: JoinPlan) -> beam.pvalue.DoOutputsTuple:
    pieces = self.side_pieces[join.index]
    return graph.create(f"Pieces of {join.index}", pieces) | f"Encode {join.index}" >> graph.step(
        EncodeSide(join, self.plan.spec, self.folder), f"Reading side table {join.pattern}", len(pieces))


@dataclasses.dataclass(frozen=True)
class SortSpan:
  """The graph from runs of rows to files of sorted rows, one per range.

  Attributes:
    runs: the runs.
    ranges: ranges of the rows' keys; the rows of one are sorted at a time.
    rule: which rows are dropped.
    spec: feature spec of the rows.
    span: the span's number.
    known: values of growing vocabularies known before the span, by field name.
    folder: folder for spill files, seen by all workers.
  """

  runs: Sequence[Run]
  ranges: Ranges
  rule: DuplicateRule
  spec: FeatureSpec
  span: int
  known: Mapping[str, Sequence[str]]
  folder: str

  def build(self, graph: Graph) -> None:
    """Adds the transforms; totals are `SORTED`, `SEEN` and `NEW_VALUES`."""
    growing = vocabularies.growing_fields(self.spec)
    rows = (graph.create("Runs", self.runs) | "Claim" >> beam.FlatMap(_claims, self.ranges)
            | "By range" >> beam.GroupByKey() | "Sort" >> graph.step(
                SortRange(self.ranges, self.rule, self.spec, self.folder), f"Sorting span {self.span}",
                len(self.ranges)))
    steps = [rows]
    if growing:
      steps.append(rows[CLAIMS] | "By value" >> beam.GroupByKey() | "Count" >> graph.step(
          CountValues(self.spec, self.known), "Counting values", vocabularies.num_partitions(self.ranges)))
    graph.hand_back([step[TOTALS] for step in steps])


def _claims(numbered: tuple[int, Iterable[Run]], ranges: Ranges) -> Iterator[tuple[int, Claim]]:
  run, = numbered[1]
  return run.claims(ranges)


def write_shards(graph: Graph, shards: Sequence[Shard], spec: FeatureSpec, vocabularies_path: str, span: int) -> None:
  """The graph from sorted rows to shards."""
  written = graph.create("Shards", shards) | "Write" >> graph.step(
      WriteShard(spec, vocabularies_path), f"Writing span {span}", len(shards))
  graph.hand_back([written[TOTALS]])
