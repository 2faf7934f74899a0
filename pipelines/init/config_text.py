"""The text of a first config: what was guessed of a log, each guess with its reason as a comment."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from diet_tf.printable import printable, printable_json
from pipelines.init.draft import TEST_SPANS, ConfigDraft
from pipelines.init.field_guess import FieldGuess
from pipelines.init.label_guess import LabelGuess

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RESERVED_WORDS = ("null", "true", "false", "inf", "nan")
# Keys that an example has beside its fields.
_EXAMPLE_KEYS = ("label", "example_id", "time")
_WIDTH = 118
_EFFORT = ("What the memory may cost: a draft is never refined; ranking, the default, is refined enough to order "
           "architectures; fidelity recovers more of the log's AUC, at several times the cost.")
# Whole numbers up to here are written as such.
_MOST_WHOLE = 1e15


def config_text(draft: ConfigDraft, path: str) -> str:
  """The YAML of a draft.

  Args:
    draft: what the config says.
    path: path that the config is written to, for the command in its head.
  """
  lines = [*_comment(f"Written by 'diet init' from {draft.sampled}. Every choice is a guess: read it through."), "#",
           f"#   diet run --config {' '.join(printable(shlex.quote(path)).splitlines())}", "#",
           *_comment("docs/configuration.md has every key."), f"name: {_yaml_text(draft.name)}", "",
           *_log_section(draft), "", *_features_section(draft), "", *_comment(draft.budget_reason), "budget:",
           f"  fraction: {draft.budget_fraction:g}", "", *_comment(_EFFORT), "distill:", "  effort: ranking"]
  return "\n".join(lines) + "\n"


def _log_section(draft: ConfigDraft) -> Iterator[str]:
  for check in draft.checks:
    yield from _comment(check)
  yield from _comment(f"Spans: {draft.spans.reason}")
  yield "log:"
  yield f"  pattern: {_yaml_text(draft.spans.pattern)}"
  for key, value in draft.reading.items():
    if key in draft.notes:
      yield from _comment(draft.notes[key], 2)
    yield f"  {key}: {_yaml_value(list(value) if isinstance(value, tuple) else value)}"
  if draft.spans.rows is not None:
    yield f"  span_rows: {draft.spans.rows}"
  if draft.spans.column is not None:
    yield f"  span_column: {_yaml_text(draft.spans.column)}"
    yield f"  span_seconds: {draft.spans.seconds}"
    yield f"  span_origin: {draft.spans.origin}"
    if draft.spans.unit is not None:
      yield f"  span_time_unit: {draft.spans.unit}"
  yield ""
  yield from _comment("The newest span is not distilled: the figures at the end are taken on it.")
  yield f"test_spans: {TEST_SPANS}"


def _features_section(draft: ConfigDraft) -> Iterator[str]:
  yield "features:"
  yield from _comment(f"{draft.label.column}: {draft.label.reason}", 2)
  yield f"  label: {_label_entry(draft.label)}"
  if draft.time is not None:
    yield from _comment(f"{draft.time.column}: {draft.time.reason} It orders the rows of a span, and is no field.", 2)
    yield f"  time: {_yaml_text(draft.time.column)}"
  else:
    yield from _comment("No column looks like a time. With one, name it here: it orders the rows of a span.", 2)
    yield "  # time: COLUMN"
  yield "  fields:"
  names = _FieldNames()
  for field in draft.kept:
    yield from _comment(f"{field.column}: {field.reason}", 4)
    yield from _wrapped_entry(_flow_mapping(_field_entry(field, names)), "    - ", "       ")
  if draft.left_out:
    yield from _comment("Left out. To use one after all, remove the # before its lines.", 4)
  for field in draft.left_out:
    yield from _comment(f"{field.column}: {field.reason}", 4)
    yield from _wrapped_entry(_flow_mapping(_field_entry(field, names)), "    # - ", "    #    ")


class _FieldNames:
  """Gives each field a name that examples can have."""

  def __init__(self) -> None:
    self._taken = set(_EXAMPLE_KEYS)

  def name(self, column: str) -> str:
    """The column's own name, or the one nearest to it that is allowed and not taken yet."""
    name = column.replace("/", "_") or "unnamed"
    while name in self._taken or not name:
      name = f"{name}_column"
    self._taken.add(name)
    return name


def _label_entry(label: LabelGuess) -> str:
  """The label as a config writes it."""
  form: dict[str, Any] = {"column": label.column}
  if label.positive_from is not None:
    form["positive_from"] = label.positive_from
  if label.positive:
    form["positive"] = list(label.positive)
  return _yaml_text(label.column) if len(form) == 1 else _flow_mapping(form)


def _field_entry(field: FieldGuess, names: _FieldNames) -> dict[str, Any]:
  """A field as a config writes it."""
  name = names.name(field.column)
  form: dict[str, Any] = {"name": name}
  if name != field.column:
    form["column"] = field.column
  if field.boundaries:
    form["boundaries"] = list(field.boundaries)
  elif field.hash_ids is not None:
    form["hash"] = field.hash_ids
  else:
    form["vocabulary"] = field.vocabulary_ids
  if field.separator is not None:
    form["separator"] = field.separator
  if field.max_values is not None:
    form["max_values"] = field.max_values
  if field.ids_per_slot is not None:
    form["ids_per_slot"] = field.ids_per_slot
  return form


def _wrapped_entry(flow: str, first: str, rest: str) -> Sequence[str]:
  """Lines of an entry of a list; a text in quotes, which may hold spaces, is not broken."""
  if '"' in flow:
    return [first + flow]
  return textwrap.wrap(flow, _WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False,
                       break_on_hyphens=False)


def _flow_mapping(form: dict[str, Any]) -> str:
  return "{" + ", ".join(f"{key}: {_yaml_value(value)}" for key, value in form.items()) + "}"


def _yaml_value(value: Any) -> str:
  if isinstance(value, list):
    return "[" + ", ".join(map(_yaml_value, value)) + "]"
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_WHOLE:
    return str(int(value))
  return _yaml_text(value) if isinstance(value, str) else repr(value)


def _yaml_text(text: str) -> str:
  """A text as YAML: plain where it cannot be taken for anything else, in quotes elsewhere."""
  if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED_WORDS:
    return text
  return printable_json(json.dumps(text, ensure_ascii=False))


def _comment(text: str, indent: int = 0) -> Sequence[str]:
  """Lines of a comment; what the log says cannot end it."""
  flat = " ".join(printable(text).split())
  prefix = " " * indent + "# "
  return textwrap.wrap(flat, _WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_long_words=False,
                       break_on_hyphens=False)
