"""What a column of a log may be for a model, guessed from its name and a sample of its values, with the reason."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from diet_tf import metrics
from diet_tf.errors import ConfigError
from diet_tf.log import encoding

# A column that orders clicks above non-clicks this well by itself is no input: it tells the label.
LEAK_AUC = 0.95
SUSPICIOUS_AUC = 0.85
# A column whose values are distinct in this share of the rows names rows.
ROW_ID_SHARE = 0.98
# More distinct values than this are hashed, fewer get a vocabulary.
MAX_VOCABULARY = 1000
MAX_CATEGORIES_OF_NUMBERS = 32
NUM_BUCKETS = 16
_FREE_TEXT_CHARACTERS = 80
_HASH_FACTOR = 8
_LEAST_HASH_IDS = 1024
_MANY_VALUES = 1000
_IDS_PER_SLOT = 32
_SMOOTHING = 5.0
# Whole numbers whose values tell more than their size does, by this much AUC, are identifiers.
_IDENTIFIERS_TELL_MORE = 0.02
# The epochs of the years 2000 and 2100, in seconds.
_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0

# Names of labels; of several columns the one whose name stands first is taken.
_LABEL_NAMES = ("label", "target", "clicked", "is_click", "is_clicked", "click", "clk", "y", "converted",
                "is_converted", "conversion", "purchased", "is_purchase", "purchase", "long_view", "is_like", "liked",
                "like")
_RATING_NAMES = re.compile(r"rating|stars|score|^r$", re.IGNORECASE)
_TIME_NAMES = re.compile(r"(^|_)(time|timestamp|ts|datetime|date|t|at)(_(s|ms|us|ns|ms_utc|utc))?$", re.IGNORECASE)
_ID_NAMES = re.compile(r"(^|_)(id|uid|pid|iid|key|code|hash|user|item|ad|campaign|author|video|movie|zip)s?$|id$",
                       re.IGNORECASE)
# Names of what is known only after the impression was shown.
_OUTCOME_NAMES = re.compile(
    r"(^|_)(click(ed|s)?|clk|like[ds]?|conver(t|ted|sion)|purchas(e|ed)|bought|follow(ed)?|comment(ed)?|share[ds]?|"
    r"forward(ed)?|hate|dwell|(play|stay)_?time|watch(ed)?|long_view|profile_enter|revenue|label|target)(_|$)",
    re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class FieldGuess:
  """A field as a config writes it, and why.

  Attributes:
    column: name of the log's column.
    reason: a sentence that says why the field is as it is, or why it is left out.
    hash_ids: number of ids of a hashed field; None of another.
    vocabulary_ids: number of ids of a growing vocabulary; None of another field.
    boundaries: ascending boundaries between the buckets of a number; empty of another field.
    ids_per_slot: the most ids that a slot keeps of the field; None sets no limit of its own.
    auc: the AUC in [0.5, 1] with which the column alone tells the label in the sample; 0.5, the default, is chance.
    kept: whether the field is used; what is left out stands in the config as a comment.
  """

  column: str
  reason: str
  hash_ids: int | None = None
  vocabulary_ids: int | None = None
  boundaries: tuple[float, ...] = ()
  ids_per_slot: int | None = None
  auc: float = 0.5
  kept: bool = True


@dataclasses.dataclass(frozen=True)
class LabelGuess:
  """The column that models are to predict.

  Attributes:
    column: name of the log's column.
    positive_from: the least value that counts as 1; None where the column is 0 or 1.
    reason: a sentence that says why it is this column.
  """

  column: str
  positive_from: float | None
  reason: str


@dataclasses.dataclass(frozen=True)
class TimeGuess:
  """The column that orders the rows.

  Attributes:
    column: name of the log's column.
    unit: the unit of its times, a key of `TIME_UNITS` of the log's settings.
    reason: a sentence that says why it is this column.
  """

  column: str
  unit: str
  reason: str


def guess_label(texts: Mapping[str, np.ndarray], asked: str | None = None) -> LabelGuess:
  """The column that models are to predict.

  Args:
    texts: per column's name, `[num_rows]` object array of the canonical texts of the sample.
    asked: name of the column that the user named; None, the default, leaves it to a guess.

  Raises:
    ConfigError: no column looks like a label, several do, or the one that was asked for is none.
  """
  if asked is not None:
    if asked not in texts:
      raise ConfigError("--label", rule=f"it is a column of the log: {', '.join(texts)}.", received=repr(asked),
                        remedy="name one of them.")
    return _asked_label(asked, texts[asked])
  binary = [name for name, values in texts.items() if _is_binary(values)]
  named = sorted((name for name in binary if name.lower() in _LABEL_NAMES),
                 key=lambda name: _LABEL_NAMES.index(name.lower()))
  if named:
    others = f"; others that are 0 or 1: {', '.join(name for name in binary if name != named[0])}" if binary[1:] else ""
    return LabelGuess(named[0], None, f"0 or 1, with {_share_of_ones(texts[named[0]])} of ones, and a telling "
                      f"name{others}.")
  if len(binary) == 1:
    share = _share_of_ones(texts[binary[0]])
    return LabelGuess(binary[0], None, f"the only column that is 0 or 1, with {share} of ones.")
  ratings = [name for name, values in texts.items()
             if _RATING_NAMES.search(name) and _even_threshold(values) is not None]
  if not binary and len(ratings) == 1:
    return _asked_label(ratings[0], texts[ratings[0]])
  raise ConfigError("label", rule="one column is 0 or 1 and has a telling name (click, label, ...).",
                    received=f"columns of 0 and 1: {', '.join(binary) or 'none'}.",
                    remedy="name the column with --label.")


def _asked_label(name: str, values: np.ndarray) -> LabelGuess:
  if _is_binary(values):
    return LabelGuess(name, None, f"0 or 1, with {_share_of_ones(values)} of ones.")
  threshold = _even_threshold(values)
  if threshold is None:
    raise ConfigError("label", rule="a label is 0 or 1, or a number that counts as 1 from some value on.",
                      received=f"{name!r} with values such as {', '.join(sorted(set(values))[:5])}.",
                      remedy="name another column with --label.")
  share = np.mean(encoding.numbers(values)[0] >= threshold)
  return LabelGuess(name, threshold, f"a number; from {threshold:g} on it counts as 1, which {share:.1%} of the rows "
                    "do. Set what fits your purpose.")


def _is_binary(values: np.ndarray) -> bool:
  return set(np.unique(values)) == {"0", "1"}


def _share_of_ones(values: np.ndarray) -> str:
  return f"{np.mean(values == '1'):.1%}"


def _even_threshold(values: np.ndarray) -> float | None:
  """The value that parts the rows most evenly; None where they are no numbers, or all the same."""
  numbers, unreadable = encoding.numbers(values)
  if unreadable.any() or np.isnan(numbers).any():
    return None
  distinct = np.unique(numbers)
  if len(distinct) < 2:
    return None
  candidates = distinct[1:][:: max(1, len(distinct) // 100)]
  return float(min(candidates, key=lambda value: abs(np.mean(numbers >= value) - 0.5)))


def guess_time(texts: Mapping[str, np.ndarray], label: str, asked: str | None = None) -> TimeGuess | None:
  """The column that orders the rows; None if there is none.

  Args:
    texts: per column's name, `[num_rows]` object array of the canonical texts of the sample.
    label: name of the label's column.
    asked: name of the column that the user named; None, the default, leaves it to a guess.

  Raises:
    ConfigError: the column that was asked for is none of the log, or not numeric.
  """
  if asked is not None and asked not in texts:
    raise ConfigError("--time", rule=f"it is a column of the log: {', '.join(texts)}.", received=repr(asked),
                      remedy="name one of them.")
  found = []
  for name in [asked] if asked is not None else [name for name in texts if name != label]:
    numbers, unreadable = encoding.numbers(texts[name])
    if unreadable.any() or np.isnan(numbers).any():
      continue
    unit = _epoch_unit(numbers)
    if unit is not None:
      found.append((not _TIME_NAMES.search(name), TimeGuess(name, unit, f"times since 1970 in {unit}.")))
    elif asked is not None:
      return TimeGuess(name, "s", "orders the rows; it does not look like a time since 1970.")
  if asked is not None and not found:
    raise ConfigError("--time", rule="the time column is a number in every row.", received=repr(asked),
                      remedy="name another column, or write the time as a number.")
  return min(found, key=lambda pair: pair[0])[1] if found else None


def _epoch_unit(numbers: np.ndarray) -> str | None:
  for unit, per_second in (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
    if numbers.min() >= _EARLIEST * per_second and numbers.max() <= _LATEST * per_second:
      return unit
  return None


def label_values(texts: np.ndarray, label: LabelGuess) -> np.ndarray:
  """The labels of rows, `[num_rows]` float64, 0 or 1.

  Args:
    texts: `[num_rows]` object array of the canonical texts of the label's column.
    label: what was guessed of that column.
  """
  numbers, _ = encoding.numbers(texts)
  return (numbers >= (0.5 if label.positive_from is None else label.positive_from)).astype(np.float64)


def guess_field(column: str, values: np.ndarray, labels: np.ndarray) -> FieldGuess:
  """How a column becomes a field, or why it is left out.

  Args:
    column: name of the column.
    values: `[num_rows]` object array of the column's canonical texts.
    labels: `[num_rows]`, 0 or 1.
  """
  distinct, codes = np.unique(values, return_inverse=True)
  guess = _guess_by_values(column, values, distinct)
  if guess.reason and not guess.kept:
    return guess
  auc = column_auc(values, codes, labels)
  if guess.boundaries and _are_identifiers(values, distinct, codes, labels):
    guess = dataclasses.replace(_hashed_field(column, len(distinct)),
                                reason=f"{len(distinct):,} whole numbers in the sample that "
                                "tell more by their value than by their size: names, hashed.")
  guess = dataclasses.replace(guess, auc=auc)
  if auc >= LEAK_AUC:
    return dataclasses.replace(guess, kept=False, reason=f"a leak: by itself it orders the rows with AUC {auc:.3f}, so "
                               "it is known only once the label is.")
  if _OUTCOME_NAMES.search(column) and len(distinct) <= 3:
    return dataclasses.replace(guess, kept=False, reason="by its name another outcome of the impression, not known "
                               f"when it is shown (AUC alone {auc:.3f}).")
  if auc >= SUSPICIOUS_AUC or _OUTCOME_NAMES.search(column):
    return dataclasses.replace(guess, reason=f"{guess.reason} CHECK: is it known before the impression is shown? AUC "
                               f"alone {auc:.3f}.")
  return guess


def _guess_by_values(column: str, values: np.ndarray, distinct: np.ndarray) -> FieldGuess:
  present = distinct[distinct != encoding.MISSING_TEXT]
  num_present = int(np.count_nonzero(values != encoding.MISSING_TEXT))
  if len(distinct) < 2:
    what = "always missing" if not len(present) else f"constant, {present[0]!r}"
    return FieldGuess(column, f"{what} in the sample: it tells models nothing.", vocabulary_ids=8, kept=False)
  numbers, unreadable = encoding.numbers(present)
  is_number = not unreadable.any() and bool(np.isfinite(numbers).all())
  is_whole = is_number and bool((numbers == np.floor(numbers)).all())
  unique = len(present) >= ROW_ID_SHARE * num_present and num_present > MAX_CATEGORIES_OF_NUMBERS
  if unique and (is_whole or not is_number):
    return FieldGuess(column, f"{len(present):,} values in {num_present:,} rows: it names rows, and says nothing of "
                      "new ones.", hash_ids=_LEAST_HASH_IDS, kept=False)
  if is_number and len(present) > MAX_CATEGORIES_OF_NUMBERS and not (is_whole and _ID_NAMES.search(column)):
    boundaries = quantile_boundaries(encoding.numbers(values)[0])
    if boundaries:
      return FieldGuess(column, f"a number from {numbers.min():g} to {numbers.max():g}: buckets by its quantiles.",
                        boundaries=boundaries)
  if not is_number and np.mean([len(text) for text in present[:1000]]) > _FREE_TEXT_CHARACTERS:
    return FieldGuess(column, "free text: models of fields have no use for it as it is.", hash_ids=_LEAST_HASH_IDS,
                      kept=False)
  if len(present) <= MAX_VOCABULARY:
    return FieldGuess(column, f"{len(present):,} values in the sample: a vocabulary that grows.",
                      vocabulary_ids=_power_of_two(2 * len(present) + 2, least=8))
  return _hashed_field(column, len(present))


def _hashed_field(column: str, num_values: int) -> FieldGuess:
  return FieldGuess(column, f"{num_values:,} values in the sample: hashed.",
                    hash_ids=_power_of_two(_HASH_FACTOR * num_values, least=_LEAST_HASH_IDS),
                    ids_per_slot=_IDS_PER_SLOT if num_values >= _MANY_VALUES else None)


def _are_identifiers(values: np.ndarray, distinct: np.ndarray, codes: np.ndarray, labels: np.ndarray) -> bool:
  """Whether whole numbers say who or what, rather than how much."""
  numbers, _ = encoding.numbers(distinct)
  present = numbers[np.isfinite(numbers)]
  if (present != np.floor(present)).any() or labels.min() == labels.max():
    return False
  numbers_of_rows, _ = encoding.numbers(values)
  return _auc_of_values(codes, labels) > _auc_of_size(numbers_of_rows, labels) + _IDENTIFIERS_TELL_MORE


def quantile_boundaries(numbers: np.ndarray) -> tuple[float, ...]:
  """Ascending boundaries of buckets of about equal size, with few digits; empty where all would be one bucket.

  Args:
    numbers: `[num_rows]` float64 values; those that are not finite are left out.
  """
  present = numbers[np.isfinite(numbers)]
  quantiles = np.quantile(present, np.arange(1, NUM_BUCKETS) / NUM_BUCKETS)
  rounded = np.unique([float(f"{value:.4g}") for value in quantiles])
  return tuple(rounded[(rounded > present.min()) & (rounded <= present.max())].tolist())


def column_auc(values: np.ndarray, codes: np.ndarray, labels: np.ndarray) -> float:
  """How well a column alone orders the rows, whichever way round: 0.5 for not at all, 1 for perfectly.

  Values are scored by the mean label that they have in the other half of the sample, so that rare ones do not seem to
  tell what they merely remember; numbers are tried by their size too, and in buckets where they have many values.

  Args:
    values: `[num_rows]` object array of the column's canonical texts.
    codes: `[num_rows]` integers, the place of each row's value among the distinct ones.
    labels: `[num_rows]`, 0 or 1.
  """
  if labels.min() == labels.max():
    return 0.5
  numbers, unreadable = encoding.numbers(values)
  is_number = not unreadable.any() and bool(np.isfinite(numbers).any())
  return max(0.5, _auc_of_values(codes, labels), _auc_of_size(numbers, labels) if is_number else 0.5)


def _auc_of_size(numbers: np.ndarray, labels: np.ndarray) -> float:
  """The AUC of numbers, whichever way round, by themselves or in buckets; missing ones come first."""
  least = numbers[np.isfinite(numbers)].min()
  auc = metrics.auc(labels, np.where(np.isfinite(numbers), numbers, least - 1.0))
  buckets = encoding.bucket_ids(numbers, quantile_boundaries(numbers) or (least,))
  return max(auc, 1.0 - auc, _auc_of_values(buckets, labels))


def _auc_of_values(codes: np.ndarray, labels: np.ndarray) -> float:
  """The AUC of the mean label that a row's value has in the other half of the rows."""
  # At random: rows that follow each other may differ in a regular way.
  halves = np.random.default_rng(0).permutation(len(labels)) % 2
  scores = np.zeros(len(labels))
  for half in (0, 1):
    known = halves != half
    counts = np.bincount(codes[known], minlength=codes.max() + 1)
    clicks = np.bincount(codes[known], labels[known], minlength=codes.max() + 1)
    prior = labels[known].mean() if known.any() else 0.5
    scores[~known] = ((clicks + _SMOOTHING * prior) / (counts + _SMOOTHING))[codes[~known]]
  return metrics.auc(labels, scores)


def guess_fields(texts: Mapping[str, np.ndarray], labels: np.ndarray, *, not_fields: Sequence[str],
                 unusable: Mapping[str, str]) -> list[FieldGuess]:
  """The fields of all columns, in the order of the log.

  Args:
    texts: per column's name, `[num_rows]` object array of the canonical texts of the sample.
    labels: `[num_rows]`, 0 or 1.
    not_fields: names of the columns that are no fields: those of the label and the time.
    unusable: the reason for which a column is left out, by the column's name.
  """
  return [FieldGuess(name, unusable[name], hash_ids=_LEAST_HASH_IDS, kept=False) if name in unusable
          else guess_field(name, values, labels) for name, values in texts.items() if name not in not_fields]


def _power_of_two(number: int, least: int) -> int:
  size = least
  while size < number:
    size *= 2
  return size
