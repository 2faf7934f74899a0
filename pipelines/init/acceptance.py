"""Whether `diet run` takes a config on the log that it was made from, by the functions with which it checks itself."""

from __future__ import annotations

from collections import Counter

import numpy as np

from diet_tf.config.config import Config
from diet_tf.config.early_checks import check_config
from diet_tf.distillation.span_size import check_num_examples
from diet_tf.errors import DataError
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.row_counts import RowTally
from pipelines.init.log_sample import LogSample
from pipelines.init.set_guess import with_lists
from pipelines.init.span_guess import SpanSizes
from pipelines.spans import plan_spans
from tfx_components.log_gen import available_spans, sources
from tfx_components.log_gen.generate import check_both_labels
from tfx_components.log_gen.read_columns import check_columns, list_columns, read_columns
from tfx_components.log_gen.rows import RowEncoder, RowPlan
from tfx_components.log_gen.span_window import SpanWindow

_NUM_NAMED_REASONS = 3
_MANY_IDS = 1 << 20


def require_acceptance(config: Config, sample: LogSample, sizes: SpanSizes) -> None:
  """Raises what `diet run` would raise on the log, as far as a sample tells it.

  Args:
    config: the config that is to be written.
    sample: rows of the log.
    sizes: the log's spans and about how many rows each has.

  Raises:
    ConfigError: the tables of the fields do not fit into memory.
    DataError: there are too few spans or rows, or more rows break the schema than the config allows.
  """
  if sum(config.features.num_ids) > _MANY_IDS:
    # Small tables fit anywhere, and building the members takes seconds.
    check_config(config)
  # Of a log that was read whole, the spans are those that a run finds; of another what its rows tell.
  available = available_spans(config.log) if sample.whole else [int(number) for number in sizes.numbers]
  spans = plan_spans(available, (), test_spans=config.test_spans).spans
  first = float(sizes.rows[np.flatnonzero(sizes.numbers == spans[0])[0]])
  check_num_examples(f"span {spans[0]}", int(first), num_examples_seen=0, budget=config.budget,
                     batch_size=config.distill.inner.least_batch_size)
  rule = DuplicateRule.of(config.log)
  needed = read_columns(config.features, config.log, (), rule)
  check_columns(needed, {name for run in sample.runs for name in run.block.columns}, "the log")
  plan = RowPlan(spec=config.features, span=spans[0], window=None, joins=(), max_quarantine_rows=0,
                 read_columns=frozenset(needed), thousands=config.log.thousands, rule=rule)
  lists = list_columns(config.features, range(len(config.features.fields)))
  window, lost = SpanWindow.of(config.log), 0
  labels, reasons_of_rows = [], Counter[str]()
  for run in sample.runs:
    if window is not None and (column := run.block.columns.get(window.column)) is not None:
      lost += int(np.count_nonzero(window.spans(column)[1].faulty[column.codes]))
    piece = sources.Piece(0, sample.paths[run.file], "", encoding=config.log.encoding)
    encoder = RowEncoder(plan, 0, piece)
    labels.append(encoder.encode(with_lists(run.block, lists))["label"].to_numpy())
    reasons_of_rows.update(encoder.quarantine.counts)
  num_rows = sample.num_rows + sum(len(run.block.rejected) for run in sample.runs)
  if window is not None and lost > reasons_of_rows.total():
    # A row without a readable time is of no span, whatever else it breaks.
    reasons_of_rows = Counter({f"column {window.column!r}, which gives the span, is not a time": lost})
  broken = reasons_of_rows.total()
  if broken > config.log.max_quarantine_share * num_rows:
    reasons = sorted(reasons_of_rows.items(), key=lambda item: (-item[1], item[0]))[:_NUM_NAMED_REASONS]
    raise DataError("log", rule=f"at most {config.log.max_quarantine_share:.2%} of a span's rows break the schema "
                    "(log.max_quarantine_share).",
                    received=f"{broken:,} of {num_rows:,} rows of the sample ({broken / num_rows:.2%}): " +
                    "; ".join(f"{count} x {reason}" for reason, count in reasons) + ".",
                    remedy="mend these rows, or name other columns or another way to read the files with --label, "
                    "--time, --delimiter, --encoding or --columns.")
  check_both_labels(RowTally.of(np.concatenate(labels)), "the sample", config.features.label.column)
