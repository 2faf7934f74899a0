"""What a column of a log may be for a model, guessed from its name and a sample of its values, with the reason."""

from __future__ import annotations

import dataclasses

import numpy as np

from diet_tf import metrics
from diet_tf.log import encoding
from pipelines.init import names, set_guess, text_kinds
from pipelines.init.set_guess import Sets
from pipelines.init.text_kinds import spread

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
# Tables of more ids are for the user to decide on.
_MOST_HASH_IDS = 1 << 22
_MANY_VALUES = 1000
_IDS_PER_SLOT = 32
_SMOOTHING = 5.0
# Whole numbers whose values tell more than their size does, by this much AUC, are identifiers.
_IDENTIFIERS_TELL_MORE = 0.02
# Whole numbers from 0 or 1 that fill this share of what as many draws would fill are what an encoder of labels makes.
_DENSE_SHARE = 0.8
# Few numbers of so many digits, each of them in several rows, are names.
_LONG_DIGITS = 8
_REPEATS = 3
_OTHER_TEXTS_SHARE = 0.2
_MAX_OTHER_TEXTS = 3


@dataclasses.dataclass(frozen=True)
class FieldGuess:
  """A field as a config writes it, and why.

  Attributes:
    column: name of the log's column.
    reason: a sentence that says why the field is as it is, or why it is left out; with the word CHECK where that is not
      sure.
    hash_ids: number of ids of a hashed field; None of another.
    vocabulary_ids: number of ids of a growing vocabulary; None of another field.
    boundaries: ascending boundaries between the buckets of a number; empty of another field.
    ids_per_slot: the most ids that a slot keeps of the field; None sets no limit of its own.
    auc: the AUC in [0.5, 1] with which the column alone tells the label in the sample; 0.5, the default, is chance.
    kept: whether the field is used; what is left out stands in the config as a comment.
    separator: text between the values of a field of several values; None of one whose values are lists, or are single.
    max_values: how many values are kept of a row; None of a field of one value a row.
  """

  column: str
  reason: str
  hash_ids: int | None = None
  vocabulary_ids: int | None = None
  boundaries: tuple[float, ...] = ()
  ids_per_slot: int | None = None
  auc: float = 0.5
  kept: bool = True
  separator: str | None = None
  max_values: int | None = None


@dataclasses.dataclass(frozen=True)
class Values:
  """The values of a column in a sample.

  Attributes:
    column: name of the column.
    texts: `[num_rows]` object array of canonical texts, a missing value an empty one.
    distinct: the sorted distinct texts.
    codes: `[num_rows]` integers, the place of each row's text in `distinct`.
    whole: whether the sample is the whole log.
  """

  column: str
  texts: np.ndarray
  distinct: np.ndarray
  codes: np.ndarray
  whole: bool

  @classmethod
  def of(cls, column: str, texts: np.ndarray, *, whole: bool) -> Values:
    """The values of a column."""
    distinct, codes = np.unique(texts, return_inverse=True)
    return cls(column, texts, distinct, codes, whole)

  @property
  def present(self) -> np.ndarray:
    """The distinct texts that are not missing."""
    return self.distinct[self.distinct != encoding.MISSING_TEXT]

  @property
  def num_present(self) -> int:
    """The rows that have a value."""
    return int(np.count_nonzero(self.texts != encoding.MISSING_TEXT))

  def num_in_log(self) -> int:
    """About how many distinct values the log has: Chao's estimate, from those that the sample has once or twice."""
    if self.whole:
      return len(self.present)
    counts = np.bincount(self.codes)[self.distinct != encoding.MISSING_TEXT]
    once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    return len(self.present) + int(once * max(0, once - 1) / (2 * (twice + 1)))


def left_out(column: str, reason: str) -> FieldGuess:
  """A column that is no field, for a reason that its values need not be looked at for."""
  return FieldGuess(column, reason, hash_ids=_LEAST_HASH_IDS, kept=False)


def guess_field(column: str, texts: np.ndarray, labels: np.ndarray, *, whole: bool = True) -> FieldGuess:
  """How a column becomes a field, or why it is left out.

  Args:
    column: name of the column.
    texts: `[num_rows]` object array of the column's canonical texts.
    labels: `[num_rows]`, 0 or 1.
    whole: whether the rows are the whole log.
  """
  values = Values.of(column, texts, whole=whole)
  return _with_warnings(_guess_by_values(values), values, texts, labels)


def guess_list(column: str, texts: np.ndarray, labels: np.ndarray, *, whole: bool = True) -> FieldGuess:
  """How a column of lists becomes a field of several values.

  Args:
    column: name of the column.
    texts: `[num_rows]` object array of the lists as JSON.
    labels: `[num_rows]`, 0 or 1.
    whole: whether the rows are the whole log.
  """
  values = Values.of(column, texts, whole=whole)
  if len(values.distinct) < 2:
    return FieldGuess(column, "the same list in all rows of the sample: it tells models nothing.", vocabulary_ids=8,
                      kept=False)
  guess = _field_of_sets(column, set_guess.sets_of_lists(texts), None, whole)
  return _with_warnings(guess, values, texts, labels)


def _with_warnings(guess: FieldGuess, values: Values, texts: np.ndarray, labels: np.ndarray) -> FieldGuess:
  """The guess, which is left out or asked about where name or values tell the label."""
  column = guess.column
  if not guess.kept and "CHECK" not in guess.reason:
    return guess
  if names.is_weight(column):
    return dataclasses.replace(guess, kept=False, reason="by its name the weight of a row, or how likely it was to be "
                               "shown: each row counts once, and no weights are read. CHECK: is it an input?")
  if guess.boundaries and not names.is_quantity(column) and tells_by_value(values, labels):
    guess = dataclasses.replace(_hashed_field(values), reason=f"{len(values.distinct):,} whole numbers in the sample "
                                "that tell more by their value than by their size: names, hashed.")
  guess = dataclasses.replace(guess, auc=column_auc(texts, values.codes, labels))
  alone = f"AUC alone {guess.auc:.3f}"
  if guess.auc >= LEAK_AUC:
    return dataclasses.replace(guess, kept=False, reason=f"a leak: by itself it orders the rows with AUC "
                               f"{guess.auc:.3f}, so it is known only once the label is. CHECK.")
  if names.is_outcome(column) and not names.is_history(column):
    return dataclasses.replace(guess, kept=False, reason="by its name another outcome of the impression, not known "
                               f"when it is shown ({alone}). CHECK: is it known before?")
  if guess.kept and (guess.auc >= SUSPICIOUS_AUC or names.is_outcome(column)):
    return dataclasses.replace(guess, reason=f"{guess.reason} CHECK: is it known before the impression is shown? "
                               f"{alone}.")
  return guess


def _guess_by_values(values: Values) -> FieldGuess:
  column, present = values.column, values.present
  if len(values.distinct) < 2:
    what = "always missing" if not len(present) else f"constant, {present[0]!r}"
    return FieldGuess(column, f"{what} in the sample: it tells models nothing.", vocabulary_ids=8, kept=False)
  numbers, unreadable = encoding.numbers(present)
  is_number = not unreadable.any() and bool(np.isfinite(numbers).all())
  is_whole = is_number and bool((numbers == np.floor(numbers)).all())
  if not is_number and (flaw := _unread_texts(values, unreadable)) is not None:
    return left_out(column, flaw)
  if not is_number and (separator := text_kinds.list_separator(spread(present))) is not None:
    return _field_of_sets(column, set_guess.sets_of_texts(values.texts, separator), separator, values.whole)
  unique = len(present) >= ROW_ID_SHARE * values.num_present and values.num_present > MAX_CATEGORIES_OF_NUMBERS
  if unique and (not is_number or is_whole and not names.is_quantity(column)):
    if not values.whole and names.is_lasting_id(column):
      return dataclasses.replace(_hashed_field(values), reason=f"{len(present):,} values in {values.num_present:,} "
                                 "rows of the sample: hashed. CHECK: does it come again in other rows?")
    return FieldGuess(column, f"{len(present):,} values in {values.num_present:,} rows: it names rows, and says "
                      "nothing of new ones.", hash_ids=_LEAST_HASH_IDS, kept=False)
  if is_number and len(present) > MAX_CATEGORIES_OF_NUMBERS:
    return _field_of_numbers(values, numbers, is_whole)
  if not is_number and np.mean([len(text) for text in spread(present)]) > _FREE_TEXT_CHARACTERS:
    return FieldGuess(column, "free text: models of fields have no use for it as it is.", hash_ids=_LEAST_HASH_IDS,
                      kept=False)
  return _field_of_names(values)


def _unread_texts(values: Values, unreadable: np.ndarray) -> str | None:
  """Why texts are no values of a field as they are: lists, or numbers and times in other forms; None where they are."""
  present = values.present
  few = spread(present)
  if (how := text_kinds.other_time(few)) is not None:
    return f"holds {how}. CHECK: to order rows and make spans by it, write it so."
  if (how := text_kinds.number_like(few)) is not None:
    return f"holds {how}, such as {few[0]!r}. CHECK: write plain numbers to use it as one."
  if (how := text_kinds.list_like(few)) is not None:
    return (f"holds {how}, in a text. CHECK: to read the values of lists, write them with a character between, or as "
            "lists of JSON Lines or Parquet.")
  others = present[unreadable]
  if len(present) - len(others) > MAX_CATEGORIES_OF_NUMBERS and len(others) <= _MAX_OTHER_TEXTS:
    share = np.isin(values.texts, others).mean()
    if share <= _OTHER_TEXTS_SHARE:
      listed = ",".join(others)
      return (f"holds numbers but for {listed!r} in {share:.1%} of the rows. CHECK: --missing-values '{listed}' takes "
              "that for a missing value.")
  return None


def _field_of_sets(column: str, sets: Sets, separator: str | None, whole: bool) -> FieldGuess:
  """A field of several values a row."""
  values = Values.of(column, sets.values, whole=whole)
  if len(values.present) < 2:
    return FieldGuess(column, "lists of one value, or none: it tells models nothing.", vocabulary_ids=8, kept=False)
  guess = _field_of_names(values)
  how = "lists" if separator is None else f"texts parted by {separator!r}"
  reason = f"{how} of up to {sets.longest:,} values, of which the order does not count. {guess.reason}"
  if separator in (",", ";", " "):
    reason += f" CHECK: is {separator!r} between values, and not within one?"
  if sets.longest > sets.max_values:
    reason += f" CHECK: {sets.max_values} values are kept of a row."
  return dataclasses.replace(guess, reason=reason, separator=separator, max_values=sets.max_values)


def _field_of_numbers(values: Values, numbers: np.ndarray, is_whole: bool) -> FieldGuess:
  """Numbers of more values than categories have: buckets, or ids where they say who or what and not how much."""
  column = values.column
  bucketed = _bucketed_field(values, numbers)
  if not is_whole or names.is_quantity(column):
    return bucketed or _field_of_names(values)
  if names.is_id(column) or bucketed is None:
    return _field_of_names(values)
  if _is_dense(numbers, values.num_present):
    guess = _field_of_names(values)
    gapless = f"whole numbers from {numbers.min():g} to {numbers.max():g} almost without a gap"
    return dataclasses.replace(guess, reason=f"{guess.reason} CHECK: {gapless} are taken for ids; of a quantity set "
                               "boundaries instead.")
  if _are_long(numbers, values.num_present):
    guess = _field_of_names(values)
    return dataclasses.replace(guess, reason=f"{guess.reason} CHECK: few numbers of many digits are taken for ids.")
  return dataclasses.replace(bucketed, reason=f"{bucketed.reason} CHECK: whole numbers that may be ids; to take them "
                             "for such, set hash in the place of boundaries.")


def _bucketed_field(values: Values, numbers: np.ndarray) -> FieldGuess | None:
  boundaries = quantile_boundaries(encoding.numbers(values.texts)[0])
  if not boundaries:
    return None
  return FieldGuess(values.column, f"a number from {numbers.min():g} to {numbers.max():g}: buckets by its quantiles.",
                    boundaries=boundaries)


def _is_dense(numbers: np.ndarray, num_rows: int) -> bool:
  """Whether distinct whole numbers begin at 0 or 1 and fill what is between as random draws of it would."""
  size = numbers.max() - numbers.min() + 1
  return bool(numbers.min() in (0, 1) and len(numbers) >= _DENSE_SHARE * size * -np.expm1(-num_rows / size))


def _are_long(numbers: np.ndarray, num_rows: int) -> bool:
  return bool(np.median(numbers) >= 10 ** (_LONG_DIGITS - 1) and num_rows >= _REPEATS * len(numbers))


def _field_of_names(values: Values) -> FieldGuess:
  number = len(values.present)
  if number > MAX_VOCABULARY:
    return _hashed_field(values)
  return FieldGuess(values.column, f"{number:,} values in the sample: a vocabulary that grows.",
                    vocabulary_ids=_power_of_two(2 * min(values.num_in_log(), 2 * MAX_VOCABULARY) + 2, least=8))


def _hashed_field(values: Values) -> FieldGuess:
  number, in_log = len(values.present), values.num_in_log()
  wanted = _power_of_two(max(_HASH_FACTOR * number, 2 * in_log), least=_LEAST_HASH_IDS)
  more = "" if in_log < 1.5 * number else f", and about {in_log:,} in the log"
  capped = "" if wanted <= _MOST_HASH_IDS else " CHECK: several share an id; more ids take more memory."
  return FieldGuess(values.column, f"{number:,} values in the sample{more}: hashed.{capped}",
                    hash_ids=min(wanted, _MOST_HASH_IDS),
                    ids_per_slot=_IDS_PER_SLOT if number >= _MANY_VALUES else None)


def tells_by_value(values: Values, labels: np.ndarray) -> bool:
  """Whether whole numbers tell the label by which they are, and not by how large they are."""
  numbers, _ = encoding.numbers(values.texts)
  present = numbers[np.isfinite(numbers)]
  if labels.min() == labels.max() or (present != np.floor(present)).any():
    return False
  return _auc_of_values(values.codes, labels) > _auc_of_size(numbers, labels) + _IDENTIFIERS_TELL_MORE


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


def _power_of_two(number: int, least: int) -> int:
  size = least
  while size < number:
    size *= 2
  return size
