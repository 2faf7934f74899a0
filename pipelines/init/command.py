"""The command `diet init`: a first config from a sample of the log."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diet_tf.cli.help import ExamplesHelp
from diet_tf.cli.terminal import without_native_chatter
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.log.settings import FORMATS, TIME_UNITS
from diet_tf.printable import printable

if TYPE_CHECKING:
  from pipelines.init.column_guesses import TimeGuess
  from pipelines.init.config_text import ConfigDraft, SpanLayout
  from pipelines.init.log_sample import LogFiles, LogSample

# A memory of fewer slots than this is a handful of training steps.
_LEAST_SLOTS = 256
_USUAL_FRACTION = 0.01
_MOST_FRACTION = 0.5
# Lengths that a span may have, in seconds: of these the longest is taken that gives at least so many spans.
_SPAN_LENGTHS = ((604_800, "week"), (86_400, "day"), (3_600, "hour"))
_ENOUGH_SPANS = 5
_EXAMPLES = """examples:
  diet init diet_runs/demo/log --output shop.yaml
  diet init 'logs/day=*/part-*.parquet' --output shop.yaml --label is_click
  diet init 's3://logs/span-{SPAN}.jsonl.gz' --output shop.yaml --rows 200000

Then read the config through, and: diet run --config shop.yaml"""


def init_parser() -> argparse.ArgumentParser:
  """The arguments of `diet init`."""
  parser = argparse.ArgumentParser(
      prog="diet init", description="Write a first config from a sample of the log: it guesses label, time, fields and "
      "spans, leaves out columns that tell the label, name rows or never vary, and says why.", epilog=_EXAMPLES,
      formatter_class=ExamplesHelp)
  parser.add_argument("log", nargs="+", metavar="LOG", help="files, a folder, a glob, or a pattern with {SPAN} for the "
                      "number of a span; CSV, Parquet, JSON Lines or TFRecord")
  parser.add_argument("--output", default="config.yaml", metavar="FILE", help="the config (default: %(default)s)")
  parser.add_argument("--replace", action="store_true", help="replace a file that lies there")
  parser.add_argument("--name", help="name of the run (default: the config's file name)")
  parser.add_argument("--label", metavar="COLUMN", help="what models predict (default: a telling column of 0 and 1)")
  parser.add_argument("--time", metavar="COLUMN", help="what orders the rows (default: a column of times since 1970)")
  parser.add_argument("--format", choices=FORMATS, help="format of the files (default: by the suffix)")
  parser.add_argument("--delimiter", metavar="CHARACTER",
                      help="what parts the values of CSV files (default: by the header)")
  parser.add_argument("--rows", type=int, default=100_000, metavar="N",
                      help="rows of the sample (default: %(default)s)")
  parser.add_argument("--json", action="store_true", help="print what was guessed as JSON")
  return parser


def init(arguments: Sequence[str]) -> int:
  """`diet init`; returns the exit code."""
  return _init(init_parser().parse_args(arguments))


@without_native_chatter()
def _init(options: argparse.Namespace) -> int:
  if files.exists(options.output) and not options.replace:
    raise ConfigError(options.output, rule="diet init overwrites nothing.", received="a file that lies there.",
                      remedy="name another one with --output, or pass --replace.")
  if options.rows < 1:
    raise ConfigError("--rows", rule="it is at least 1.", received=str(options.rows), remedy="use 100000.")
  print("Reading a sample of the log.", file=sys.stderr, flush=True)
  from pipelines.init.config_text import config_text

  draft = make_draft(options)
  text = config_text(draft, options.output)
  _require_sound(text, options.output)
  with files.writing(options.output):
    files.make_folders(files.parent(options.output))
    files.write_atomically(options.output, text.encode())
  if options.json:
    print(json.dumps(_described(draft, options.output), indent=2))
    return 0
  print(printable(_summary(draft, options.output)))
  return 0


def make_draft(options: argparse.Namespace) -> ConfigDraft:
  """What a config for the log says, as far as a sample tells.

  Args:
    options: the arguments of the command, as `init_parser` reads them.

  Raises:
    ConfigError, DataError: the log cannot be read, or nothing in it looks like a label.
  """
  from pipelines.init import column_guesses, log_sample
  from pipelines.init.config_text import ConfigDraft

  log_files = log_sample.find_files(options.log, declared_format=options.format, delimiter=options.delimiter)
  sample = log_sample.read_sample(log_files, options.rows)
  unusable = {**dict.fromkeys(sample.undecodable, "holds bytes that are no UTF-8."),
              **dict.fromkeys(sample.nested, "holds lists or objects; a field has one value a row.")}
  if log_files.has_spans:
    unusable.update(dict.fromkeys(sample.columns_that_name_files(), "has one value in each span: it names the span, "
                                  "and the next one has a value that no model has seen."))
  plain = {name: values for name, values in sample.texts.items() if name not in unusable}
  label = column_guesses.guess_label(plain, options.label)
  time = column_guesses.guess_time(plain, label.column, options.time)
  labels = column_guesses.label_values(plain[label.column], label)
  not_fields = [label.column, *([time.column] if time else [])]
  fields = column_guesses.guess_fields(sample.texts, labels, not_fields=not_fields, unusable=unusable)
  if not any(field.kept for field in fields):
    raise ConfigError("fields", rule="at least one column can be an input of models.",
                      received="; ".join(f"{field.column}: {field.reason}" for field in fields) or "no other column.",
                      remedy="check the log, and --label.")
  fraction, why = _budget(log_files, sample)
  return ConfigDraft(
      name=options.name or files.join(options.output).rpartition("/")[2].rpartition(".")[0] or "log",
      pattern=log_files.pattern, declared_format=log_files.declared_format, delimiter=log_files.delimiter,
      spans=_spans(log_files, time), label=label, time=time, fields=tuple(fields), budget_fraction=fraction,
      budget_reason=why, sampled=f"{sample.num_rows:,} rows of {len(sample.paths)} of {len(log_files.paths)} files")


def _spans(log_files: LogFiles, time: TimeGuess | None) -> SpanLayout:
  from pipelines.init.config_text import SpanLayout
  from pipelines.init.log_sample import time_range
  from tfx_components.log_gen import available_spans

  if log_files.has_spans:
    numbers = available_spans(log_files.settings())
    named = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0]) if numbers else "none"
    return SpanLayout(f"{len(numbers)} of them ({named}), by the number in the paths that {{SPAN}} stands for.",
                      has_one_span=len(numbers) < 2)
  if time is None:
    raise ConfigError("spans", rule="spans come from a number in the paths, or from a column of times since 1970.",
                      received=f"{log_files.pattern}, and no such column.",
                      remedy="split the log into files such as span-0.csv, span-1.csv (a day each, say), or add a "
                      "column with the time in seconds.")
  found = time_range(log_files, time.column)
  per_second = TIME_UNITS[time.unit]
  least, greatest = (found[0] / per_second, found[1] / per_second) if found else (0.0, 0.0)
  seconds, word = next(((length, name) for length, name in _SPAN_LENGTHS
                        if (greatest - least) / length >= _ENOUGH_SPANS), _SPAN_LENGTHS[-1])
  # Weeks begin where the log does; days and hours where the clock's do.
  origin = math.floor(least / 86_400) * 86_400
  count = math.floor((greatest - origin) / seconds) - math.floor((least - origin) / seconds) + 1
  return SpanLayout(f"{count} of them, each a {word}, by the time in {time.column}, since the paths do not tell them "
                    "apart. Span 0 begins at midnight UTC before the first row.", column=time.column, seconds=seconds,
                    unit=time.unit, origin=origin, has_one_span=count < 2)


def _budget(log_files: LogFiles, sample: LogSample) -> tuple[float, str]:
  """Slots per example, and why: one in a hundred, or more where the log is small."""
  rows = sample.rows_per_file
  if rows is None or rows * _USUAL_FRACTION >= _LEAST_SLOTS:
    return _USUAL_FRACTION, "One slot per hundred examples."
  fraction = min(_MOST_FRACTION, math.ceil(100 * _LEAST_SLOTS / rows) / 100)
  return fraction, (f"Files have about {rows:,.0f} rows: one slot per hundred would be too few to train on. This gives "
                    f"at least {_LEAST_SLOTS} slots, or half as many as rows.")


def _require_sound(text: str, path: str) -> None:
  """Reads the config back as `diet run` will."""
  from diet_tf.config.config import build_config
  from diet_tf.config.yaml_file import parse_config

  build_config(*parse_config(text, path))


def _described(draft: ConfigDraft, path: str) -> dict[str, object]:
  return {
      "config": path, "pattern": draft.pattern, "spans": draft.spans.reason, "label": draft.label.column,
      "positive_from": draft.label.positive_from, "time": None if draft.time is None else draft.time.column,
      "budget_fraction": draft.budget_fraction, "sampled": draft.sampled,
      "fields": [{"column": field.column, "kept": field.kept, "reason": field.reason, "auc": field.auc,
                  "hash": None if field.boundaries else field.hash_ids, "vocabulary": field.vocabulary_ids,
                  "boundaries": list(field.boundaries)} for field in draft.fields]}


def _summary(draft: ConfigDraft, path: str) -> str:
  lines = [f"{path}: from {draft.sampled}", f"  label   {draft.label.column}: {draft.label.reason}",
           f"  time    {f'{draft.time.column}: {draft.time.reason}' if draft.time else 'none'}",
           f"  spans   {draft.spans.reason}", f"  fields  {len(draft.kept)} of {len(draft.fields)} columns"]
  lines += [f"  left out {field.column}: {field.reason}" for field in draft.left_out]
  lines += [f"  check    {field.column}: {field.reason}" for field in draft.kept if "CHECK" in field.reason]
  return "\n".join([*lines, "Read it through, then:", f"  diet run --config {path}"])
