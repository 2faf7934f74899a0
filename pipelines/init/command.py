"""The command `diet init`: a first config from a sample of the log."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from diet_tf.cli.help import ExamplesHelp
from diet_tf.cli.terminal import without_native_chatter
from diet_tf.errors import ConfigError, DietError
from diet_tf.io import files
from diet_tf.io.write_access import require_writable_file
from diet_tf.log.settings import FORMATS
from diet_tf.printable import printable

if TYPE_CHECKING:
  from pipelines.init.draft import ConfigDraft
  from pipelines.init.log_sample import LogSample

# What stands for a key of the config on this command's line.
_FLAGS = {key: f"--{key.replace('_', '-')}" for key in (
    "format", "delimiter", "encoding", "columns", "missing_values", "thousands", "label", "time")} | {"pattern": "LOG"}
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
  parser.add_argument("--positive", metavar="VALUES", help="values of the label's column that count as 1, with commas "
                      "between them, such as cart,buy; all others count as 0")
  parser.add_argument("--at-least", type=float, metavar="NUMBER", help="least number of the label's column that counts "
                      "as 1, such as 4 of a rating")
  parser.add_argument("--time", metavar="COLUMN", help="what orders the rows (default: a column of times since 1970)")
  parser.add_argument("--format", choices=FORMATS, help="format of the files (default: by the suffix)")
  parser.add_argument("--delimiter", metavar="CHARACTER",
                      help="what parts the values of CSV files, or its name: comma, tab, semicolon, pipe (default: by "
                      "the first lines)")
  parser.add_argument("--columns", metavar="NAMES", help="names of all columns of CSV files without a header, with "
                      "commas between them")
  parser.add_argument("--encoding", help="encoding of the texts, such as latin-1 or utf-16 (default: by their bytes)")
  parser.add_argument("--missing-values", metavar="TEXTS", help="texts that stand for a missing value, with commas "
                      "between them (default: NA, N/A, null, \\N, nan and the like)")
  parser.add_argument("--thousands", metavar="CHARACTER", help="what parts thousands in numbers")
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
  require_writable_file(options.output)
  if options.rows < 1:
    raise ConfigError("--rows", rule="it is at least 1.", received=str(options.rows), remedy="use 100000.")
  print("Reading a sample of the log.", file=sys.stderr, flush=True)
  from pipelines.init.config_text import config_text
  from pipelines.init.draft import make_draft

  with _flags_named():
    draft, sample = make_draft(options)
    text = config_text(draft, options.output)
    _require_accepted(text, options.output, draft, sample)
  with files.writing(options.output):
    files.make_folders(files.parent(options.output))
    files.write_atomically(options.output, text.encode())
  if options.json:
    print(json.dumps(_described(draft, options.output), indent=2))
    return 0
  print(printable(_summary(draft, options.output)))
  return 0


@contextlib.contextmanager
def _flags_named() -> Iterator[None]:
  """Says flags of this command where an error speaks of keys of a config, which is not written yet."""
  try:
    yield
  except DietError as error:
    subject, remedy = (_with_flags(text) for text in (error.subject, error.remedy))
    if (subject, remedy) == (error.subject, error.remedy):
      raise
    raise type(error)(subject, rule=error.rule, received=error.received, remedy=remedy) from error


def _with_flags(text: str) -> str:
  text = re.sub(r"\b(?:set|mend|correct) ((?:log|features)\.)", r"pass \1", text)
  text = text.replace("mend it in the log section of the config.", "correct it.")
  text = text.replace("features.label.positive", "--positive")
  return re.sub(r"\b(?:log|features)\.(\w+)", lambda found: _FLAGS.get(found[1], found[0]), text)


def _require_accepted(text: str, path: str, draft: ConfigDraft, sample: LogSample) -> None:
  """Reads the config back as `diet run` will, and checks it on the sample as that does."""
  from diet_tf.config.config import build_config
  from diet_tf.config.yaml_file import parse_config
  from pipelines.init.acceptance import require_acceptance

  require_acceptance(build_config(*parse_config(text, path)), sample, draft.spans.sizes)


def _described(draft: ConfigDraft, path: str) -> dict[str, object]:
  return {
      "config": path, "pattern": draft.spans.pattern, "spans": draft.spans.reason, "label": draft.label.column,
      "positive_from": draft.label.positive_from, "positive": list(draft.label.positive),
      "time": None if draft.time is None else draft.time.column,
      "budget_fraction": draft.budget_fraction, "sampled": draft.sampled, "checks": _checks(draft),
      "fields": [{"column": field.column, "kept": field.kept, "reason": field.reason, "auc": field.auc,
                  "hash": None if field.boundaries else field.hash_ids, "vocabulary": field.vocabulary_ids,
                  "boundaries": list(field.boundaries), "separator": field.separator, "max_values": field.max_values}
                 for field in draft.fields]}


def _checks(draft: ConfigDraft) -> list[str]:
  """What the user is to look at: all that has the word CHECK in the config."""
  told = [("spans", draft.spans.reason), ("label", draft.label.reason),
          *([("time", draft.time.reason)] if draft.time else []),
          *((field.column, field.reason) for field in draft.fields)]
  return [*draft.checks, *(f"{name}: {reason}" for name, reason in told if "CHECK" in reason)]


def _summary(draft: ConfigDraft, path: str) -> str:
  lines = [f"{path}: from {draft.sampled}", f"  label   {draft.label.column}: {draft.label.reason}",
           f"  time    {f'{draft.time.column}: {draft.time.reason}' if draft.time else 'none'}",
           f"  spans   {draft.spans.reason}", f"  fields  {len(draft.kept)} of {len(draft.fields)} columns"]
  lines += [f"  left out {field.column}: {field.reason}" for field in draft.left_out]
  lines += [f"  check    {field.column}: {field.reason}" for field in draft.kept if "CHECK" in field.reason]
  lines += [f"  check    {check}" for check in draft.checks]
  return "\n".join([*lines, "Read it through, then:", f"  diet run --config {shlex.quote(path)}"])
