import json
import random

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import DataError, FormatError
from diet_tf.log import encoding
from diet_tf.log.features import FeatureSpec, Field, Label


def objects(*values):
  array = np.empty(len(values), object)
  array[:] = values
  return array


@pytest.mark.parametrize(("value", "text"), [
    (None, ""), (float("nan"), ""), ("", ""), (b"", ""), (7, "7"), (np.int8(-7), "-7"), (2**63, "9223372036854775808"),
    (True, "1"), (np.bool_(False), "0"), (3.0, "3"), (-0.0, "0"), (0.5, "0.5"), (1e22, "10000000000000000000000"),
    (np.float32(0.1), "0.1"), (0.1, "0.1"), (float("-inf"), "-inf"), ("Caf\u00e9", "Caf\u00e9"),
    ("Cafe\u0301", "Caf\u00e9"), (b"x y", "x y"), (" x ", " x "), ("1.0", "1.0"), ("007", "007")])
def test_canonical_text(value, text):
  assert encoding.canonical_text(value) == text


@pytest.mark.parametrize("dtype", [np.int16, np.uint64, np.float32, np.float64, bool, object])
def test_canonical_texts_of_an_array_are_those_of_its_values(dtype):
  values = np.array([0, 1, 1, 0], dtype)
  assert encoding.canonical_texts(values).tolist() == ["0", "1", "1", "0"]


def test_a_list_has_no_canonical_text():
  with pytest.raises(TypeError, match="list"):
    encoding.canonical_text([1])


def test_hash_is_tensorflows_stable_bucket_hash():
  texts = objects("a", "b\u00e9", "hello", "")
  expected = 1 + tf.strings.to_hash_bucket_fast(tf.constant(texts), 999).numpy()
  field = Field("f", "f", hash_ids=1000)
  ids, broken = encoding.encode_texts(field, texts)
  assert ids.tolist() == [*expected[:3], 0]
  assert ids.dtype == np.int32 and not broken.any()


def test_fingerprints_never_change():
  # A change here would break every memory there is. The value for "a" is FarmHash's own.
  assert encoding.fingerprints(objects("a")).tolist() == [12917804110809363939]
  assert len(encoding.fingerprints(objects())) == 0


def test_buckets_count_the_boundaries_that_are_not_above():
  field = Field("f", "f", boundaries=(0.0, 10.0))
  assert encoding.encode(field, [-1, 0, 9.99, "10", None, float("inf")]).tolist() == [1, 2, 2, 3, 0, 3]


def test_a_bucketed_text_that_is_no_number_is_refused():
  with pytest.raises(DataError, match="'price'.*number.*'cheap'"):
    encoding.encode(Field("price", "price", boundaries=(1.0,)), [1.0, "cheap"])


@pytest.mark.parametrize("text", ["1_000", "ten", "1,5", "0x10"])
def test_numbers_marks_what_is_no_number(text):
  values, unreadable = encoding.numbers(objects("1.5", text, ""))
  assert values[0] == 1.5 and np.isnan(values[1:]).all()
  assert unreadable.tolist() == [False, True, False]


def test_whole_numbers_keep_all_64_bits_and_round_fractions_down():
  texts = objects("9007199254740993", "-1.5", "", "x", "1e30", "-9007199254740993", "1_0")
  values, unreadable = encoding.whole_numbers(texts)
  assert values.tolist() == [9007199254740993, -2, 0, 0, 0, -9007199254740993, 0]
  assert unreadable.tolist() == [False, False, True, True, True, False, True]
  assert encoding.whole_numbers(objects("9007199254740993"))[0].tolist() == [9007199254740993]


def test_closed_vocabulary_ids():
  field = Field("f", "f", vocabulary_ids=5, vocabulary=("red", "1"))
  assert encoding.encode(field, ["red", 1, 1.0, True, "blue", None]).tolist() == [2, 3, 3, 3, 1, 0]


def test_grown_vocabulary_appends_by_count_then_value():
  grown = encoding.grow_vocabulary(["z"], {"a": 2, "b": 5, "z": 9, "c": 2, "": 7}, capacity=3)
  assert grown == ["z", "b", "a"]
  assert encoding.grow_vocabulary(grown, {"q": 1}, capacity=3) == grown


def test_encoding_is_a_function_of_the_value_alone():
  rng = random.Random(7)
  alphabet = [
      "", "a", "B", "\u00e9", "e\u0301", "1", "1.0", "-3", "2.50", "\U0001f600", "x y", None, 0, 1, -5, 2.5, 1e300]
  fields = [Field("h", "h", hash_ids=97), Field("v", "v", vocabulary_ids=6, vocabulary=("a", "1", "\u00e9"))]
  for field in fields:
    alone = [int(encoding.encode(field, [value])[0]) for value in alphabet]
    for _ in range(20):
      order = [rng.randrange(len(alphabet)) for _ in range(rng.randrange(1, 40))]
      assert encoding.encode(field, [alphabet[i] for i in order]).tolist() == [alone[i] for i in order]
    assert all(0 <= i < field.num_ids for i in alone)


def test_row_ids_do_not_depend_on_the_order_of_columns_but_on_their_names():
  hashes = {name: encoding.fingerprints(objects("1", "2")) for name in "ab"}
  hashes["b"] = hashes["b"][::-1]
  present = np.zeros(2, bool)
  parts = {name: encoding.column_fingerprints(name, value, present) for name, value in hashes.items()}
  ids = encoding.row_ids(parts["a"] + parts["b"])
  assert ids.dtype == np.int64 and (ids >= 0).all()
  assert ids.tolist() == encoding.row_ids(parts["b"] + parts["a"]).tolist()
  # Row 0 has a=1, b=2 and row 1 has a=2, b=1: the same values, in other columns.
  assert ids[0] != ids[1]


def test_a_missing_value_and_an_absent_column_are_the_same():
  one = encoding.fingerprints(objects("1"))
  missing = encoding.column_fingerprints("b", encoding.fingerprints(objects("")), np.array([True]))
  assert missing.tolist() == [0]
  assert encoding.column_fingerprints("a", one, np.array([False])).tolist() != [0]


def test_vocabularies_round_trip(tmp_path):
  path = str(tmp_path / "vocabularies.json")
  encoding.write_vocabularies(path, {"tag": ["\u00e9", "b"], "tab": []})
  assert encoding.read_vocabularies(path) == {"tag": ["\u00e9", "b"], "tab": []}


@pytest.mark.parametrize("content", [
    "not json", "[]", json.dumps({"format_name": "x", "format_version": 1, "vocabularies": {}}),
    json.dumps({"format_name": "diet_tf.vocabularies", "format_version": 2, "vocabularies": {}})])
def test_other_vocabulary_files_are_refused(tmp_path, content):
  path = tmp_path / "vocabularies.json"
  path.write_text(content)
  with pytest.raises(FormatError, match=r"vocabularies\.json"):
    encoding.read_vocabularies(str(path))


def test_known_vocabularies_must_fit_the_spec():
  spec = FeatureSpec((Field("tag", "tag", vocabulary_ids=4), Field("user", "user", hash_ids=9)), Label("y"))
  assert encoding.check_vocabularies(spec, {}) == {"tag": []}
  assert encoding.check_vocabularies(spec, {"tag": ["a", "b"], "old": ["x"]}) == {"tag": ["a", "b"]}
  for values in (["a", "b", "c"], ["a", "a"]):
    with pytest.raises(DataError, match="at most 2 distinct"):
      encoding.check_vocabularies(spec, {"tag": values})


def test_a_closed_spec_knows_no_further_values():
  spec = FeatureSpec((Field("kind", "kind", vocabulary_ids=9), Field("user", "user", hash_ids=5)), Label("click"))
  closed = encoding.closed(spec, {"kind": ["b", "a"]})
  assert encoding.encode(closed.fields[0], ["a", "b", "c", None]).tolist() == [3, 2, 1, 0]
  assert not encoding.grows(closed.fields[0]) and closed.num_ids == spec.num_ids
  assert closed.fields[1] == spec.fields[1]


@pytest.mark.parametrize(("values", "column", "ids"), [
    # Of CSV, of JSON or Parquet with types, and of texts there.
    (("1", "0"), ["True", "False", "true", "1", "0", "maybe"], [2, 3, 2, 2, 3, 1]),
    (("true", "false"), ["1", "0", "TRUE"], [2, 3, 2]),
    (("1.9", "1.10", "2"), ["1.9", "1.10", "1.1", "2", "2.0", "2.00", "2.1"], [2, 3, 3, 4, 4, 4, 1]),
    (("1.1", "1.10"), ["1.1", "1.10"], [2, 3]),
    (("1e5", "7"), ["1e5", "100000", "7.0", "1e6"], [2, 2, 3, 1])])
def test_a_closed_vocabulary_meets_values_in_every_spelling(values, column, ids):
  field = Field("f", "f", vocabulary_ids=len(values) + 2, vocabulary=values)
  texts = np.array(column, object)
  assert encoding.encode_texts(field, texts)[0].tolist() == ids
  # A vocabulary that grows has what it has seen, and nothing beside.
  assert encoding.Vocabulary(["1"]).ids(np.array(["1", "True", "1.0"], object)).tolist() == [2, 1, 1]


def test_sets_have_no_missing_values_and_nothing_weighs_nothing():
  field = Field("land", "land", vocabulary_ids=5, vocabulary=("NA", "DE"), max_values=2, separator="|", weights="w")
  ids, weights = encoding.encode_sets(field, ["NA|DE|null", "", "null", None],
                                      weights=["1|3|NA", None, "", float("nan")])
  assert ids.tolist() == [[2, 3], [0, -1], [0, -1], [0, -1]]
  assert weights.tolist() == [[0.25, 0.75], [1, 0], [1, 0], [1, 0]]
  years = Field("years", "years", boundaries=(2000.0,), max_values=2)
  assert encoding.encode_sets(years, [["-nan", 1999], ["N/A"]])[0].tolist() == [[1, -1], [0, -1]]
  assert encoding.encode_sets(Field("tags", "tags", hash_ids=9, max_values=2), [["nan"], ["?"]], missing=("?",)
                              )[0][:, 0].astype(bool).tolist() == [True, False]


@pytest.mark.parametrize("weights", [[["1"], ["1"]], [["1"], ["1", "-nan"]], [["1"], ["1", None]], [["1"], ["1", -1]]])
def test_a_row_whose_weights_are_none_is_named(weights):
  field = Field("tags", "tags", hash_ids=9, max_values=2, weights="w")
  with pytest.raises(DataError, match="'tags'.*each value has a weight.*values \\['a', 'b'\\] in row 1"):
    encoding.encode_sets(field, [["c"], ["a", "b"]], weights=weights)
  with pytest.raises(DataError, match="'old' in row 1"):
    encoding.encode_sets(Field("y", "y", boundaries=(1.0,), max_values=2), [[1], [2, "old"]])
