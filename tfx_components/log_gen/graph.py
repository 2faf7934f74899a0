"""LogGen's two Beam graphs: from the files of a span to its sorted rows, and from these to shards of examples.

Between them, what the first one counted is checked, the vocabularies grow, and the shards get their numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton

from diet_tf.log.features import FeatureSpec
from tfx_components.beam_graph import CLAIMS, TOTALS, Graph, Sum
from tfx_components.log_gen import vocabularies
from tfx_components.log_gen.join import JoinPlan
from tfx_components.log_gen.ranges import KeySample, Ranges
from tfx_components.log_gen.rows import RowPlan
from tfx_components.log_gen.shards import Shard, WriteShard
from tfx_components.log_gen.sources import Piece
from tfx_components.log_gen.spill import Run
from tfx_components.log_gen.steps import LOG, SAMPLES, SIDE, EncodeSide, JoinPartition, ReadPiece, SortRange
from tfx_components.log_gen.vocabularies import CountValues


@dataclasses.dataclass(frozen=True)
class SortedSpan:
  """The graph from the files of a span to its sorted rows.

  Attributes:
    pieces: pieces of the log's files.
    side_pieces: pieces of each join's side table, by the join's number.
    plan: plan of how rows are encoded.
    known: values of growing vocabularies known before the span, by field name.
    rows_per_range: rows to sort at a time, about.
    folder: folder for spill files, seen by all workers.
  """

  pieces: Sequence[Piece]
  side_pieces: Mapping[int, Sequence[Piece]]
  plan: RowPlan
  known: Mapping[str, Sequence[str]]
  rows_per_range: int
  folder: str

  def build(self, graph: Graph) -> None:
    """Adds the transforms; totals are `COUNTS`, `QUARANTINE`, `SORTED` and `NEW_VALUES`."""
    plan, span = self.plan, self.plan.span
    sides = {join.index: self._encoded_side(graph, join) for join in plan.joins}
    in_memory = [sides[join.index][CLAIMS] for join in plan.joins if not join.keyed]
    rows = graph.create("Pieces", self.pieces) | "Read" >> graph.step(
        ReadPiece(plan, self.folder), f"Reading span {span}", len(self.pieces),
        side_input=AsList(in_memory | "In memory" >> beam.Flatten()) if in_memory else None, outputs=(SAMPLES,))
    steps = [*sides.values(), rows]
    for number, join in enumerate(plan.keyed_joins):
      rows = ({LOG: rows[CLAIMS], SIDE: sides[join.index][CLAIMS]} | f"By key {join.index}" >> beam.CoGroupByKey()
              | f"Join {join.index}" >> graph.step(
                  JoinPartition(plan, plan.keyed_joins[number:], self.folder), f"Joining with {join.pattern}",
                  join.num_partitions, outputs=(SAMPLES,)))
      steps.append(rows)
    ranges = AsSingleton(rows[SAMPLES] | "Sample" >> beam.CombinePerKey(Sum())
                         | "Cut" >> beam.Map(_ranges, self.rows_per_range), default_value=Ranges())
    growing = vocabularies.growing_fields(plan.spec)
    rows = (rows[CLAIMS] | "Claim" >> beam.FlatMap(Run.claims, ranges) | "By range" >> beam.GroupByKey()
            | "Sort" >> graph.step(SortRange(growing, self.folder), f"Sorting span {span}", len, side_input=ranges))
    steps.append(rows)
    if growing:
      steps.append(rows[CLAIMS] | "By value" >> beam.GroupByKey() | "Count" >> graph.step(
          CountValues(plan.spec, self.known), "Counting values", vocabularies.num_partitions, side_input=ranges))
    graph.hand_back([step[TOTALS] for step in steps])

  def _encoded_side(self, graph: Graph, join: JoinPlan) -> beam.pvalue.DoOutputsTuple:
    pieces = self.side_pieces[join.index]
    return graph.create(f"Pieces of {join.index}", pieces) | f"Encode {join.index}" >> graph.step(
        EncodeSide(join, self.plan.spec, self.folder), f"Reading side table {join.pattern}", len(pieces))


def _ranges(sample: tuple[None, KeySample], rows_per_range: int) -> Ranges:
  return Ranges.of(sample[1], rows_per_range)


def write_shards(graph: Graph, shards: Sequence[Shard], spec: FeatureSpec, vocabularies_path: str, span: int) -> None:
  """The graph from sorted rows to shards."""
  written = graph.create("Shards", shards) | "Write" >> graph.step(
      WriteShard(spec, vocabularies_path), f"Writing span {span}", len(shards))
  graph.hand_back([written[TOTALS]])
