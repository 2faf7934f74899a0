"""Everything that a first config says, drawn up from a sample of the log."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from diet_tf.config.config import MAX_NAME_CHARACTERS
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.errors import ConfigError
from diet_tf.io import files
from pipelines.init import field_guess, label_guess, log_times, reading, set_guess, span_guess, text_kinds, time_guess
from pipelines.init.field_guess import FieldGuess
from pipelines.init.label_guess import LabelGuess
from pipelines.init.log_sample import LogSample
from pipelines.init.span_guess import SpanChoice, SpanLayout
from pipelines.init.time_guess import TimeGuess
from tfx_components.log_gen.value_rules import plain_numbers

# The newest of the spans is kept for the test.
TEST_SPANS = 1


@dataclasses.dataclass(frozen=True)
class ConfigDraft:
  """Everything that a first config says.

  Attributes:
    name: name of the run.
    reading: keys of the section `log` that say how its files are read, with their values.
    notes: per key of `reading` why it is set; a key may have none.
    spans: how the spans are told apart.
    label: the column that is predicted.
    time: the column that orders the rows; None without one.
    fields: the fields of all other columns, those that are left out among them.
    budget_fraction: slots per example, in (0, 1].
    budget_reason: a sentence that says why the fraction is this one.
    sampled: what the guesses rest on, in words: how many rows of how many files.
    checks: sentences on the log as a whole that the user is to look at, with the word CHECK.
  """

  name: str
  reading: Mapping[str, Any]
  notes: Mapping[str, str]
  spans: SpanLayout
  label: LabelGuess
  time: TimeGuess | None
  fields: tuple[FieldGuess, ...]
  budget_fraction: float
  budget_reason: str
  sampled: str
  checks: tuple[str, ...] = ()

  @property
  def kept(self) -> list[FieldGuess]:
    """The fields that are used."""
    return [field for field in self.fields if field.kept]

  @property
  def left_out(self) -> list[FieldGuess]:
    """The columns that are not."""
    return [field for field in self.fields if not field.kept]


def make_draft(options: argparse.Namespace) -> tuple[ConfigDraft, LogSample]:
  """What a config for the log says, as far as a sample tells; and the sample.

  Args:
    options: the arguments of the command, as `init_parser` reads them.

  Raises:
    ConfigError, DataError: the log cannot be read, or what a config needs is not in it.
  """
  log_files, sample, notes, checks = reading.read_log(options)
  unusable = reading.unusable_columns(sample)
  texts = {name: values for name, values in sample.texts.items() if name not in unusable}
  label = label_guess.guess_label(texts, options.label, nested=reading.nested_columns(sample),
                                  positive=_listed(options.positive), at_least=options.at_least)
  labels = label_guess.label_values(texts[label.column], label)
  times = time_guess.guess_times(sample, texts, label.column, options.time)
  choice = span_guess.SpanChoice(log_files, sample, labels, DistillSettings().inner.least_batch_size, TEST_SPANS)
  time, spans = _time_and_spans(choice, times, options.time, _unread_times(texts, times))
  unusable.update({other.column: f"{other.reason} A time names the moment, and one to come has a value that no model "
                   "has seen." for other in times if other is not time})
  fields = _fields(sample, labels, unusable, [label.column, *([time.column] if time else [])],
                   log_files.reading.get("thousands"))
  if spans.column is None:
    fields = _without_names_of_spans(fields, sample.columns_that_name_files())
  fraction, why = span_guess.choose_budget(spans.sizes, choice.batch_size, TEST_SPANS)
  return ConfigDraft(
      name=_run_name(options), reading=log_files.reading, notes=notes, spans=spans, label=label, time=time,
      fields=fields, budget_fraction=fraction, budget_reason=why,
      sampled=f"{sample.num_rows:,} rows of {len(sample.paths)} of {len(log_files.paths)} files",
      checks=tuple(checks)), sample


def _time_and_spans(choice: SpanChoice, times: Sequence[TimeGuess],
                    asked: str | None, unread: str) -> tuple[TimeGuess | None, SpanLayout]:
  """The time that orders the rows, and the spans; a time that many rows lack is taken where spans need it, or if asked.
  """
  time = times[0] if times else None
  if time is not None and time.has_gaps and asked is None:
    with contextlib.suppress(ConfigError):
      return None, choice.choose(None, None)
  spans = choice.choose(time, log_times.times_of_log(choice.log_files, choice.sample, time), unread)
  if time is not None and spans.column is None and asked is None and choice.sample.is_of_folders(time.column):
    # It is the same in all rows of a span.
    time = next((other for other in times if not choice.sample.is_of_folders(other.column)), None)
  return time, spans


def _unread_times(texts: Mapping[str, np.ndarray], times: Sequence[TimeGuess]) -> str:
  """The columns of times that no run reads, with the reason, in words; empty without such."""
  told = {guess.column: guess.reason for guess in times if not np.isfinite(guess.seconds).any()}
  for name, values in texts.items():
    how = text_kinds.other_time(text_kinds.spread(np.unique(values[values != ""])))
    told.update({name: f"{how}."} if how is not None else {})
  return " ".join(f"Column {name!r} holds {reason}" for name, reason in told.items())


def _fields(sample: LogSample, labels: np.ndarray, unusable: Mapping[str, str], not_fields: list[str],
            thousands: str | None) -> tuple[FieldGuess, ...]:
  """The fields of all columns but the label and the time, at least one of which is kept."""
  known, lists = ~np.isnan(labels), set_guess.list_columns(sample)
  unread = dict.fromkeys(sorted(sample.unread), np.zeros(0, object))
  fields = tuple(field_guess.guess_list(name, values[known], labels[known], whole=sample.whole) if name in lists
                 else field_guess.left_out(name, unusable[name]) if name in unusable
                 else field_guess.guess_field(name, plain_numbers(values[known], thousands), labels[known],
                                              whole=sample.whole)
                 for name, values in {**sample.texts, **unread}.items() if name not in not_fields)
  _require_any(fields)
  return fields


def _without_names_of_spans(fields: tuple[FieldGuess, ...], naming: Collection[str]) -> tuple[FieldGuess, ...]:
  """The fields, of which those are left out that have one value in each span."""
  reason = "has one value in each span: it names the span, and the next one has a value that no model has seen."
  fields = tuple(field_guess.left_out(field.column, reason) if field.column in naming else field for field in fields)
  _require_any(fields)
  return fields


def _require_any(fields: tuple[FieldGuess, ...]) -> None:
  if not any(field.kept for field in fields):
    raise ConfigError("fields", rule="at least one column can be an input of models.",
                      received="; ".join(f"{field.column}: {field.reason}" for field in fields) or "no other column.",
                      remedy="check the log, and --label.")


def _listed(flag: str | None) -> tuple[str, ...]:
  return tuple(value.strip() for value in flag.split(",")) if flag else ()


def _run_name(options: argparse.Namespace) -> str:
  if options.name:
    return options.name
  name = files.join(options.output).rpartition("/")[2].rpartition(".")[0].lstrip(".")
  return (name or "log")[:MAX_NAME_CHARACTERS]
