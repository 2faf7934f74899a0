"""From a value of the log to an id: canonical texts, fingerprints, buckets and vocabularies.

Everything here is a function of the value alone (and of the secret salt, where a field has one), so an id never depends
on the rows, files or spans around it. A value is first brought to its canonical text (`diet_tf.log.canonical`); a
missing one has the id 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf.errors import ConfigError, DataError
from diet_tf.io.documents import DocumentFormat
from diet_tf.log.canonical import MISSING_TEXT, canonical_text, other_spellings, untyped_text, value_texts
from diet_tf.log.features import MISSING_ID, NUM_RESERVED_VOCABULARY_IDS, OUT_OF_VOCABULARY_ID, FeatureSpec, Field
from diet_tf.log.hashing import split_mix
from diet_tf.log.row_layout import PADDING_ID
from diet_tf.log.salt import FOR_ROWS, FOR_TEXTS, Salt, keyed_hashes
from diet_tf.log.settings import MISSING_VALUES
from diet_tf.log.value_sets import distinct, packed_sets

VOCABULARIES = DocumentFormat("diet_tf.vocabularies", {1: {"vocabularies": Mapping[str, list[str]]}},
                              remedy="restore the file from the store.", indent=1, ascii_only=False,
                              final_newline=False)


def canonical_texts(values: np.ndarray) -> np.ndarray:
  """The canonical texts of an array of numbers, Booleans, texts or objects.

  Args:
    values: `[n]` array of any of these types.

  Returns:
    `[n]` object array of str.
  """
  kind, items = values.dtype.kind, values.tolist()
  if kind in "iu":
    return _object_array(list(map(str, items)))
  if kind == "f":
    # Single precision keeps its own shortest form: 0.1, not 0.10000000149011612.
    texts = list(map(str, items if values.dtype == np.float64 else values))
    # Whole numbers and missing values are the exception in a column of floats, or the column has few distinct values.
    for index in np.flatnonzero(np.isnan(values) | (values == np.floor(values))):
      texts[index] = canonical_text(values[index])
    return _object_array(texts)
  try:
    if "".join(items).isascii():
      return _object_array(items)
  except TypeError:
    # Not only texts.
    pass
  return _object_array(list(map(canonical_text, items)))


def _object_array(items: list[Any]) -> np.ndarray:
  array = np.empty(len(items), object)
  array[:] = items
  return array


def fingerprints(texts: np.ndarray) -> np.ndarray:
  """FarmHash Fingerprint64 of the UTF-8 bytes of each text: the stable hash behind `tf.strings.to_hash_bucket_fast`.

  Args:
    texts: `[n]` object array of str.

  Returns:
    `[n]` uint64.
  """
  if not len(texts):
    return np.zeros(0, np.uint64)
  with tf.device("CPU"):
    raw = tf.raw_ops.Fingerprint(data=tf.constant(texts, tf.string), method="farmhash64")
  return raw.numpy().view("<u8").ravel()


def keyed_fingerprints(texts: np.ndarray, salt: Salt) -> np.ndarray:
  """BLAKE2b of the UTF-8 bytes of each text, keyed with a secret.

  Args:
    texts: `[n]` object array of str.
    salt: says where the secret is.

  Returns:
    `[n]` uint64.

  Raises:
    ConfigError: the secret is not there, or is another one.
  """
  return np.frombuffer(keyed_hashes((text.encode() for text in texts), salt.key(), FOR_TEXTS), "<u8")


def numbers(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The texts read as numbers.

  Args:
    texts: `[n]` object array of canonical texts.

  Returns:
    `[n]` float64 (NaN where missing or unreadable) and `[n]` bool, true where a text is there but is no number.
  """
  missing = texts == MISSING_TEXT
  filled = np.where(missing, "nan", texts)
  unreadable = np.zeros(len(filled), bool)
  if "_" in "".join(filled):
    # Python takes 1_000 for a number, but no log means it.
    unreadable = np.fromiter(("_" in text for text in filled), bool, len(filled))
    filled[unreadable] = "nan"
  try:
    return filled.astype(np.float64), unreadable
  except ValueError:
    values = np.full(len(filled), np.nan)
    for index, text in enumerate(filled):
      try:
        values[index] = float(text)
      except ValueError:
        unreadable[index] = True
    return values, unreadable


def whole_numbers(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The texts read as 64-bit integers; fractions are rounded down.

  Args:
    texts: `[n]` object array of canonical texts.

  Returns:
    `[n]` int64 (0 where not readable) and `[n]` bool, true where a text is missing, no number or out of range.
  """
  try:
    # Integers are read as such: a float64 in between would round nanoseconds.
    return np.fromiter(map(int, texts), np.int64, len(texts)), np.zeros(len(texts), bool)
  except (ValueError, OverflowError):
    pass
  values, unreadable = numbers(texts)
  unreadable |= ~(np.abs(values) < 2.0**63)
  floors = np.floor(np.where(unreadable, 0, values)).astype(np.int64)
  for index in np.flatnonzero(~unreadable & (np.abs(values) >= 2.0**53)):
    if texts[index].lstrip("-").isdigit():
      floors[index] = int(texts[index])
  return floors, unreadable


def hashed_ids(hashes: np.ndarray, missing: np.ndarray, hash_ids: int) -> np.ndarray:
  """`id = 1 + fingerprint mod (hash_ids - 1)`, 0 where missing.

  Args:
    hashes: `[n]` uint64 fingerprints of the canonical texts.
    missing: `[n]` bool.
    hash_ids: size of the id space.

  Returns:
    `[n]` int32.
  """
  ids = 1 + (hashes % np.uint64(hash_ids - 1)).astype(np.int64)
  return np.where(missing, MISSING_ID, ids).astype(np.int32)


def bucket_ids(values: np.ndarray, boundaries: Sequence[float]) -> np.ndarray:
  """`id = 1 + number of boundaries <= value`, 0 where the value is NaN; `[n]` float64 to `[n]` int32."""
  ids = 1 + np.searchsorted(np.asarray(boundaries, np.float64), values, side="right")
  return np.where(np.isnan(values), MISSING_ID, ids).astype(np.int32)


class Vocabulary:
  """A fixed list of values: value `i` has id `2 + i`, any other value id 1, a missing one id 0.

  Args:
    values: distinct canonical texts.
    closed: whether the values were listed by hand: they are then met in every spelling that is not listed itself, as
      `1.10` is 1.1 in a column of numbers, and `1` is `True` in one of texts.
  """

  def __init__(self, values: Sequence[str], *, closed: bool = False) -> None:
    self._closed = closed
    self._ids = {value: NUM_RESERVED_VOCABULARY_IDS + index for index, value in enumerate(values)}
    if closed:
      for value in values:
        for spelling in other_spellings(value):
          self._ids.setdefault(spelling, self._ids[value])
    self._ids[MISSING_TEXT] = MISSING_ID

  def ids(self, texts: np.ndarray) -> np.ndarray:
    """The id of each canonical text; `[n]` object to `[n]` int32."""
    return np.fromiter(map(self._id, texts), np.int32, len(texts))

  def _id(self, text: str) -> int:
    found = self._ids.get(text)
    if found is None and self._closed:
      found = self._ids.get(untyped_text(text))
    return OUT_OF_VOCABULARY_ID if found is None else found


def encode_texts(field: Field, texts: np.ndarray, vocabulary: Sequence[str] = (),
                 hashes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
  """The field's ids of canonical texts.

  Args:
    field: says how a value becomes an id.
    texts: `[n]` object array of canonical texts.
    vocabulary: the values of a grown vocabulary; a closed one is part of the field.
    hashes: `[n]` uint64 fingerprints of the texts where the caller has them; of no use to a field with a salt.

  Returns:
    `[n]` int32 ids and `[n]` bool, true where the text breaks the field (a bucketed value that is no number).
  """
  sound = np.zeros(len(texts), bool)
  if field.boundaries:
    values, unreadable = numbers(texts)
    return bucket_ids(values, field.boundaries), unreadable
  if field.hash_ids is not None:
    if field.salt is not None:
      hashes = keyed_fingerprints(texts, field.salt)
    return hashed_ids(fingerprints(texts) if hashes is None else hashes, texts == MISSING_TEXT, field.hash_ids), sound
  return Vocabulary(field.vocabulary or vocabulary, closed=bool(field.vocabulary)).ids(texts), sound


def encode(field: Field, values: Sequence[Any] | np.ndarray, vocabulary: Sequence[str] = ()) -> np.ndarray:
  """The field's ids of raw values, as the log generator gives them: the function to serve a model with.

  Args:
    field: says how a value becomes an id.
    values: `[n]` raw values.
    vocabulary: the values of a grown vocabulary, as `read_vocabularies` returns them.

  Returns:
    `[n]` int32 ids, local to the field.

  Raises:
    DataError: if a value of a bucketed field is no number.
    ConfigError: the field has a salt, and its secret is not in the environment, or is another one; or it is
      multi-valued, see `encode_sets`.
  """
  if field.is_multi_valued:
    raise ConfigError(f"field {field.name!r}", rule="a field of one value a row has one id for each.",
                      received="a multi-valued field.", remedy="use diet_tf.log.encoding.encode_sets.")
  array = values if isinstance(values, np.ndarray) else _object_array(list(values))
  texts = canonical_texts(array)
  ids, broken = encode_texts(field, texts, vocabulary)
  if broken.any():
    raise DataError(f"field {field.name!r}", rule="the value of a bucketed field is a number or missing.",
                    received=repr(texts[broken][0]), remedy="mend the value, or hash the field instead.")
  return ids


def encode_sets(field: Field, values: Sequence[Any], vocabulary: Sequence[str] = (),
                weights: Sequence[Any] | None = None,
                missing: Collection[str] = MISSING_VALUES) -> tuple[np.ndarray, np.ndarray]:
  """The ids and weights of rows in a multi-valued field, as the log generator gives them.

  Args:
    field: says how a value becomes an id, and how many are kept of a row.
    values: `[n]` lists of raw values, or texts that the field's separator parts.
    vocabulary: the values of a grown vocabulary, as `read_vocabularies` returns them.
    weights: `[n]` lists of the weights of the values, or texts; where the field has weights.
    missing: texts that stand for a missing value, `log.missing_values`; one that the field's vocabulary lists is none.

  Returns:
    `[n, max_values]` int32 ids, local to the field, and `[n, max_values]` float32 weights, which sum to 1 in each row;
    ids ascend, and behind them stands padding: -1, of weight 0. It is what `RowLayout.packed` takes; a model that takes
    bags by name is given id 0 there.

  Raises:
    DataError: a value of a bucketed field or a weight is no number, a weight is negative, or there are not as many
      weights as values.
    ConfigError: the field has one value a row, has weights and is given none, or the other way round; or it has a salt
      whose secret is not there.
  """
  if not field.is_multi_valued or (weights is None) != (field.weights is None):
    raise ConfigError(f"field {field.name!r}", rule="it is multi-valued, and given weights where it has some.",
                      received=f"max_values {field.max_values}, weights {field.weights!r}, and "
                      f"{'no' if weights is None else 'given'} weights.", remedy="pass what the feature spec says.")
  absent = frozenset(missing) - frozenset(field.vocabulary)
  lists = [value_texts(value, field.separator, absent) for value in values]
  owners = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
  texts = _object_array([text for one in lists for text in one])
  ids, broken = encode_texts(field, texts, vocabulary)
  if broken.any():
    raise DataError(f"field {field.name!r}", rule="the value of a bucketed field is a number or missing.",
                    received=f"{texts[broken][0]!r} in row {owners[broken][0]} (from 0).",
                    remedy="mend the value, or hash the field instead.")
  kept = ids != MISSING_ID
  own = None if weights is None else _weights_of_sets(
      field, [value_texts(value, field.separator, frozenset(missing)) for value in weights], lists, kept)
  entries = distinct(owners[kept], ids[kept], None if own is None else own[kept])
  sets = packed_sets(entries, len(lists), field.max_values or 1)
  if sets.weights is not None:
    return sets.ids, sets.weights
  there = sets.ids != PADDING_ID
  return sets.ids, (there / there.sum(axis=1, keepdims=True)).astype(np.float32)


def _weights_of_sets(field: Field, weights: list[list[str]], values: list[list[str]], kept: np.ndarray) -> np.ndarray:
  """The weights of all values, `[n]` float64; those of values that are `kept`, `[n]` bool, are numbers from 0 on."""
  unequal = [row for row, (own, texts) in enumerate(zip(weights, values, strict=True)) if len(own) != len(texts)]
  found = np.zeros(0)
  if not unequal:
    found, _ = numbers(_object_array([text for own in weights for text in own]))
    wrong = np.flatnonzero(kept & ~(np.isfinite(found) & (found >= 0)))
    owners = np.repeat(np.arange(len(values)), [len(texts) for texts in values])
    unequal = owners[wrong].tolist()
  if unequal:
    row = unequal[0]
    raise DataError(f"field {field.name!r}", rule="each value has a weight that is a number of at least 0.",
                    received=f"weights {weights[row]} of values {values[row]} in row {row} (from 0).",
                    remedy="give one weight for each value.")
  return found


def grows(field: Field) -> bool:
  """Whether the field's vocabulary grows by the values of each span."""
  return field.vocabulary_ids is not None and not field.vocabulary


def closed(spec: FeatureSpec, vocabularies: Mapping[str, Sequence[str]]) -> FeatureSpec:
  """The spec with its growing vocabularies closed as they are: values that are not known get id 1, as any other."""
  fields = (dataclasses.replace(field, vocabulary=tuple(vocabularies.get(field.name, ()))) if grows(field) else field
            for field in spec.fields)
  return dataclasses.replace(spec, fields=tuple(fields))


def vocabulary_capacity(field: Field) -> int:
  """How many values the vocabulary of a vocabulary field can hold."""
  return field.num_ids - NUM_RESERVED_VOCABULARY_IDS


def grow_vocabulary(known: Sequence[str], counts: Mapping[str, int], capacity: int) -> list[str]:
  """The known values in their order, then new ones, most frequent first, ties by value, until `capacity` is reached."""
  listed = set(known)
  new = sorted(((-count, value) for value, count in counts.items() if value not in listed and value != MISSING_TEXT))
  return [*known, *(value for _, value in new[:max(0, capacity - len(known))])]


def column_fingerprints(column: str, hashes: np.ndarray, missing: np.ndarray) -> np.ndarray:
  """What each value of a column adds to the fingerprint of its row.

  Args:
    column: the column's name.
    hashes: `[n]` uint64 fingerprints of the canonical texts.
    missing: `[n]` bool; a missing value adds nothing, so that an absent column and an empty one are the same.

  Returns:
    `[n]` uint64.
  """
  name_hash = fingerprints(_object_array([column]))[0]
  return np.where(missing, np.uint64(0), split_mix(hashes ^ split_mix(name_hash[None])))


def row_ids(sums: np.ndarray, salt: Salt | None = None) -> np.ndarray:
  """Example ids: `[n]` uint64 sums of `column_fingerprints` over the columns of a row to `[n]` int64, 63 bits.

  A sum does not depend on the order of the columns. With a salt the ids are keyed: otherwise a whole row could be
  guessed from them, and with it the values whose own ids are keyed.
  """
  words = split_mix(sums)
  if salt is not None:
    keyed = keyed_hashes((word.tobytes() for word in words.astype("<u8")), salt.key(), FOR_ROWS)
    words = np.frombuffer(keyed, "<u8")
  return (words >> np.uint64(1)).astype(np.int64)


def write_vocabularies(path: str, vocabularies: Mapping[str, Sequence[str]]) -> None:
  """Writes grown vocabularies (field name to values, in id order) as JSON."""
  VOCABULARIES.write(path, VOCABULARIES.document(
      {"vocabularies": {name: list(values) for name, values in vocabularies.items()}}))


def read_vocabularies(path: str) -> dict[str, list[str]]:
  """The grown vocabularies that `write_vocabularies` wrote.

  Raises:
    FormatError: if the file is missing, no such file, or of a newer version.
  """
  return VOCABULARIES.read(path)["vocabularies"]


def check_vocabularies(spec: FeatureSpec, vocabularies: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
  """Per field whose vocabulary grows, the values known so far (none where it is new).

  Raises:
    DataError: if one is longer than its field's id space or repeats a value.
  """
  known = {}
  for field in spec.fields:
    if not grows(field):
      continue
    values = list(vocabularies.get(field.name, ()))
    if len(values) > vocabulary_capacity(field) or len(set(values)) != len(values):
      raise DataError(f"vocabulary of field {field.name!r}",
                      rule=f"it lists at most {vocabulary_capacity(field)} distinct values.",
                      received=f"{len(values)} values, {len(set(values))} distinct.",
                      remedy="pass the vocabularies of a memory of the same feature spec.")
    known[field.name] = values
  return known
