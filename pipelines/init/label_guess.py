"""The column that models are to predict, guessed from names and values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from diet_tf.errors import ConfigError
from diet_tf.log import encoding
from diet_tf.log.features import Label
from pipelines.init import names
from pipelines.init.text_kinds import spread
from tfx_components.log_gen import columns
from tfx_components.log_gen.labels import TRUTH_VALUES, read_labels

_MAX_EVENTS = 30
_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class LabelGuess:
  """The column that models are to predict.

  Attributes:
    column: name of the log's column.
    positive_from: the least value that counts as 1; None where the column is 0 or 1.
    reason: a sentence that says why it is this column; with the word CHECK where that is not sure.
    positive: the values that count as 1; empty where the column is 0 or 1, or a number.
  """

  column: str
  positive_from: float | None
  reason: str
  positive: tuple[str, ...] = ()


def guess_label(texts: Mapping[str, np.ndarray], asked: str | None = None, *, nested: Sequence[str] = (),
                positive: Sequence[str] = (), at_least: float | None = None) -> LabelGuess:
  """The column that models are to predict.

  Args:
    texts: per column's name, `[num_rows]` object array of the canonical texts of the sample.
    asked: name of the column that the user named; None, the default, leaves it to a guess.
    nested: names of columns with lists or objects, in which a label may be hidden.
    positive: the values of that column that count as 1, as the user named them; empty leaves them to a guess.
    at_least: the least number of that column that counts as 1; None leaves it to a guess.

  Raises:
    ConfigError: no column looks like a label, several do, or the one that was asked for is none; or both `positive` and
      `at_least` are given.
  """
  if positive and at_least is not None:
    raise ConfigError("--at-least", rule="--positive or --at-least says what counts as 1.", received="both.",
                      remedy="keep one of them.")
  if asked is not None:
    if asked not in texts:
      received = f"{asked!r}, which holds lists or objects" if asked in nested else repr(asked)
      raise ConfigError("--label", rule=f"it is a column of the log: {', '.join(texts)}.", received=f"{received}.",
                        remedy="name one of them.")
    return _asked_label(asked, texts[asked], positive, at_least)
  if positive or at_least is not None:
    raise ConfigError("--positive" if positive else "--at-least", rule="it says what of a column counts as 1.",
                      received="no column.", remedy="name the column with --label.")
  binary = [name for name, values in texts.items() if _is_binary(values)]
  ranks = {name: rank for name in texts if (rank := names.label_rank(name)) is not None}
  named = sorted(ranks, key=ranks.__getitem__)
  chosen = next((name for name in named if name in binary), None)
  if chosen is None:
    # A label by its name is not passed over in silence for another column.
    for name in named:
      if (guess := _of_other_values(name, texts[name])) is not None:
        return guess
  if chosen is not None:
    return _binary_guess(chosen, texts[chosen], "and a telling name", _rivals(chosen, binary))
  ratings = [name for name, values in texts.items()
             if names.is_rating(name) and not names.is_history(name) and _even_threshold(values) is not None]
  likely = [name for name in binary if not names.is_property(name) and not names.is_weight(name)]
  events = [guess for name, values in texts.items()
            if _holds_events(name, values) and (guess := _event_guess(name, values)) is not None]
  if len(events) == 1 and not any(map(names.is_outcome, likely)):
    return events[0]
  if len(likely) == 1 and not ratings:
    sure = names.is_outcome(likely[0])
    return _binary_guess(likely[0], texts[likely[0]], "the only column that may be a label" +
                         ("" if sure else ". CHECK: is it what models are to predict? --label names another"), [])
  if not likely and len(ratings) == 1:
    return _asked_label(ratings[0], texts[ratings[0]])
  stays = [name for name, values in texts.items()
           if names.is_spent(name) and not names.is_history(name) and _even_threshold(values) is not None]
  if not likely and not ratings and not events and len(stays) == 1:
    return _asked_label(stays[0], texts[stays[0]])
  raise _no_label(texts, binary, likely + ratings, nested)


def _rivals(chosen: str, binary: Sequence[str]) -> list[str]:
  return [name for name in binary if name != chosen and names.is_outcome(name)]


def _binary_guess(name: str, values: np.ndarray, why: str, rivals: Sequence[str]) -> LabelGuess:
  distinct = [value for value in np.unique(values) if _truth(value) in ("0", "1")]
  form = " or ".join(sorted(distinct, key=lambda value: (_truth(value), value))[:_NUM_NAMED])
  check = (f" CHECK: {', '.join(rivals)} may be meant instead; --label names the column." if rivals else "")
  return LabelGuess(name, None, f"{form}, with {_share_of_ones(values)} of ones, {why}.{check}")


def _asked_label(name: str, values: np.ndarray, positive: Sequence[str] = (),
                 at_least: float | None = None) -> LabelGuess:
  if positive:
    present = [value for value in np.unique(values) if value != encoding.MISSING_TEXT]
    if lacking := [value for value in positive if value not in present]:
      raise ConfigError("--positive", rule=f"it names values of {name!r}: "
                        f"{', '.join(spread(np.array(present, object), _NUM_NAMED))}.",
                        received=f"{', '.join(lacking)}, which no row of the sample has.", remedy="correct them.")
    return LabelGuess(name, None, f"{_counting(values, positive)}, as named.", tuple(positive))
  if at_least is not None:
    numbers, unreadable = encoding.numbers(values)
    if unreadable.any():
      raise ConfigError("--at-least", rule="the label's column has numbers.", received=f"{name!r} with others.",
                        remedy="name another column with --label, or its values with --positive.")
    return LabelGuess(name, at_least, f"a number; from {at_least:g} on it counts as 1, as named, which "
                      f"{np.mean(numbers >= at_least):.1%} of the rows do.")
  if _is_binary(values):
    return _binary_guess(name, values, "as named", [])
  guess = _of_other_values(name, values)
  if guess is not None:
    return guess
  threshold = _even_threshold(values)
  if threshold is None:
    raise _unusable(name, values)
  share = np.mean(encoding.numbers(values)[0] >= threshold)
  return LabelGuess(name, threshold, f"a number; from {threshold:g} on it counts as 1, which {share:.1%} of the rows "
                    "do. CHECK: set what fits your purpose.")


def _of_other_values(name: str, values: np.ndarray) -> LabelGuess | None:
  """The guess of a column that is by its name a label and not 0 or 1; None where it is a number like a rating.

  Raises:
    ConfigError: it has values of which none says what counts as 1.
  """
  present = [value for value in np.unique(values) if value != encoding.MISSING_TEXT]
  if set(present) == {"-1", "1"}:
    return LabelGuess(name, 1.0, f"1 or -1, with {_share_of_ones(values)} of ones: 1 counts as 1, -1 as 0.")
  numbers, unreadable = encoding.numbers(values)
  if not unreadable.any() and len(np.unique(numbers[np.isfinite(numbers)])) > 1:
    return None
  guess = _event_guess(name, values)
  if guess is None:
    raise _unusable(name, values)
  return guess


def _event_guess(name: str, values: np.ndarray) -> LabelGuess | None:
  """The guess of a column of events; None where it is not known of any that it counts, or of all."""
  present = [value for value in np.unique(values) if value != encoding.MISSING_TEXT]
  if not 2 <= len(present) <= _MAX_EVENTS:
    return None
  acts = [value for value in present if value.lower() in names.EVENT_VALUES - names.SHOWN_EVENTS]
  if len(acts) == len(present):
    lower = {value.lower(): value for value in acts}
    acts = [lower[event] for event in names.STRONGEST_EVENTS if event in lower][:1]
  if not acts:
    return None
  rest = [value for value in present if value not in acts]
  return LabelGuess(name, None, f"events: {_counting(values, acts)}, and {', '.join(rest[:_NUM_NAMED])} as 0. CHECK: "
                    "list what models are to predict, or name it with --label and --positive.", tuple(acts))


def _counting(values: np.ndarray, positive: Sequence[str]) -> str:
  return f"{', '.join(positive)} count as 1, which {np.mean(np.isin(values, positive)):.1%} of the rows have"


def _unusable(name: str, values: np.ndarray) -> ConfigError:
  present = [value for value in np.unique(values) if value != encoding.MISSING_TEXT]
  shown = ", ".join(spread(np.array(present, object), _NUM_NAMED)) or "nothing"
  rule = ("a label is 0 or 1, true or false, a number that counts as 1 from some value on, or of values of which some "
          "count as 1.")
  if len(present) == 1:
    is_one = _truth(present[0]) == "1"
    return ConfigError("label", rule="it has both values, or there is nothing to learn.",
                       received=f"{name!r} is {shown} in every row" +
                       (": positives only." if is_one else " of the sample."),
                       remedy=_POSITIVES_ONLY if is_one else "name another column with --label, or a longer log.")
  return ConfigError("label", rule=rule, received=f"{name!r} with the values {shown}.",
                     remedy=_EVENTS)


_EVENTS = ("say which values count as 1: name the column with --label, and them with --positive, with commas between; "
           "or name another column with --label.")
_POSITIVES_ONLY = ("a log of positives alone says nothing of what was not clicked, and negatives are not sampled yet. "
                   "Add the impressions that were shown and not clicked or, failing that, for each row some (4, say) "
                   "with another item drawn at random, and a column that is 1 for the one kind and 0 for the other.")


def _no_label(texts: Mapping[str, np.ndarray], binary: Sequence[str], likely: Sequence[str],
              nested: Sequence[str]) -> ConfigError:
  events = [name for name, values in texts.items() if _holds_events(name, values)]
  two_valued = [name for name, values in texts.items()
                if len({value for value in np.unique(values) if value != encoding.MISSING_TEXT}) == 2]
  found = f"columns of 0 and 1: {', '.join(binary) or 'none'}."
  if likely:
    remedy = f"name the column with --label: {' or '.join(likely[:_NUM_NAMED])}."
  elif events:
    values = ", ".join(spread(np.unique(texts[events[0]]), _NUM_NAMED))
    found, remedy = f"{found[:-1]}; {events[0]!r} holds events: {values}.", _EVENTS
  elif nested:
    found = f"{found[:-1]}; {', '.join(nested)} hold lists or objects."
    remedy = "write what is in them as columns of their own, and name the one to predict with --label."
  elif binary or two_valued:
    others = [name for name in two_valued if name not in binary]
    found = found if not others else f"{found[:-1]}; of two other values: {', '.join(others[:_NUM_NAMED])}."
    remedy = "name the column with --label and, of two other values, the one that counts as 1 with --positive."
  else:
    remedy = f"name a column of numbers such as a rating with --label. If each row is a positive: {_POSITIVES_ONLY}"
  return ConfigError("label", rule="one column is 0 or 1 and has a telling name (click, label, ...).", received=found,
                     remedy=remedy)


def _holds_events(name: str, values: np.ndarray) -> bool:
  distinct = {value.lower() for value in np.unique(values)}
  return len(distinct) <= _MAX_EVENTS and (names.is_event(name) or bool(distinct & names.EVENT_VALUES))


def _truth(text: str) -> str:
  """A truth value in words as 0 or 1; another text as it is."""
  return TRUTH_VALUES.get(text.lower(), text)


def _is_binary(values: np.ndarray) -> bool:
  """Whether a column is 0 or 1, or such a truth value; a few rows may have neither, which are then set aside."""
  return {_truth(value) for value in np.unique(values) if value != encoding.MISSING_TEXT} == {"0", "1"}


def _share_of_ones(values: np.ndarray) -> str:
  texts, counts = np.unique(values, return_counts=True)
  return f"{sum(count for text, count in zip(texts, counts) if _truth(text) == '1') / len(values):.1%}"


def _even_threshold(values: np.ndarray) -> float | None:
  """The value that parts the rows most evenly; None where they are no numbers, or all the same."""
  numbers, unreadable = encoding.numbers(values)
  if unreadable.any() or not np.isfinite(numbers).any():
    return None
  numbers = numbers[np.isfinite(numbers)]
  distinct = np.unique(numbers)
  if len(distinct) < 2:
    return None
  candidates = distinct[1:][:: max(1, len(distinct) // 100)]
  return float(min(candidates, key=lambda value: abs(np.mean(numbers >= value) - 0.5)))


def label_values(texts: np.ndarray, label: LabelGuess) -> np.ndarray:
  """The labels of rows, `[num_rows]` float64: 0 or 1, and NaN where there is none.

  Args:
    texts: `[num_rows]` object array of the canonical texts of the label's column.
    label: what was guessed of that column.
  """
  read = read_labels(Label(label.column, label.positive_from, label.positive), columns.from_texts(list(texts)), None)
  return np.where(read.known, read.values, np.nan).astype(np.float64)
