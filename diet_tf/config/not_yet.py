"""What a log may need and a config cannot say yet: named with what can be done today, and not as a typing error."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from diet_tf.settings import Where, described, refuse


@dataclasses.dataclass(frozen=True)
class Need:
  """Something that logs need and that is not there yet.

  Attributes:
    keys: keys by which one would ask for it.
    rule: a sentence that says what there is instead.
    remedy: a sentence that tells what can be done today.
  """

  keys: tuple[str, ...]
  rule: str
  remedy: str


LABELS = Need(("labels", "outcomes", "tasks", "targets"), "a memory has one label; several outcomes are not there yet.",
              "name one column as features.label, and make a memory of its own for each other.")
WEIGHTS = Need(("weight", "weights", "sample_weight", "row_weight", "weight_column", "propensity"),
               "every row counts once; weights of rows are not there yet.",
               "leave it out; where rows were sampled, sample the others alike before.")
EVENTS = Need(("positives", "positive_values", "values", "events"),
              "the values of a label that count as 1 are listed in features.label.positive.", "name the key so.")
NEGATIVES = Need(("negatives", "negative_sampling", "num_negatives"),
                 "a log has rows of both labels; negatives are not drawn yet.",
                 "write rows with label 0 into the log, for example four for each positive, with items drawn from it.")
LISTS = Need(("list", "lists", "sep", "delimiter", "multi", "multi_valued", "multivalued"),
             "a field of several values a row says by max_values how many are kept, and by separator what stands "
             "between them in a text.", "name the keys so.")
HISTORIES = Need(("history_of", "history", "sequence", "newest", "times"),
                 "the values of a row are a set; histories, whose order counts, are not there yet.",
                 "leave it out: with max_values the past ids are read as a set.")
NUMBERS = Need(("numeric", "number", "dense", "standardise", "standardize", "log1p", "quantiles"),
               "a number is read by its bucket; numbers as they are are not there yet.", "set boundaries.")


def refuse_what_is_not_yet(values: Mapping[str, Any], where: Where) -> None:
  """Raises ConfigError where a config asks for something that is not there yet, by a key that is not known.

  Args:
    values: the sections of the config.
    where: the place of the config.
  """
  for section, place, needs in _sections(values, where):
    for need in needs:
      for key in need.keys:
        if key in section:
          refuse(place.child(key), need.rule, described(section[key]), need.remedy)


def _sections(values: Mapping[str, Any], where: Where) -> Iterator[tuple[Mapping[str, Any], Where, tuple[Need, ...]]]:
  """Sections that are mappings, each with its place and what one could ask for there."""
  yield values, where, (NEGATIVES,)
  for name, needs in (("log", (NEGATIVES, WEIGHTS)), ("features", (NEGATIVES, WEIGHTS, LABELS))):
    if isinstance(values.get(name), Mapping):
      yield values[name], where.child(name), needs
  features, place = values.get("features"), where.child("features")
  if not isinstance(features, Mapping):
    return
  label = features.get("label")
  if isinstance(label, (list, tuple)):
    refuse(place.child("label"), LABELS.rule, described(label), LABELS.remedy)
  if isinstance(label, Mapping):
    yield label, place.child("label"), (EVENTS, NEGATIVES, WEIGHTS)
  fields = features.get("fields")
  for index, field in enumerate(fields if isinstance(fields, (list, tuple)) else ()):
    if isinstance(field, Mapping):
      yield field, place.child("fields").child(index), (LISTS, HISTORIES, NUMBERS)
