import numpy as np
import pyarrow as pa
import pytest

from tfx_components.log_gen import columns
from tfx_components.log_gen.columns import ROUNDED, ROUNDED_TEXT, SOUND


def csv_column(*texts, **kwargs):
  return columns.from_arrow(pa.array(texts), untyped=True, **kwargs)


def values(column):
  return [(str(column.texts[code]), int(column.flaws[code])) for code in column.codes]


# How pandas, R and Java write the same whole numbers of a column of floats.
@pytest.mark.parametrize(("text", "expected"), [
    ("1234.0", "1234"), ("-7.00", "-7"), ("1e+05", "100000"), ("1.2345678E7", "12345678"), ("1.234000000e+03", "1234"),
    ("9007199254740991.0", "9007199254740991")])
def test_a_whole_number_in_a_floats_notation_is_that_number(text, expected):
  assert values(csv_column(text)) == [(expected, SOUND)]


@pytest.mark.parametrize("text", ["1.50", "007.0", "1e5", "5e20", "12345e78", "1.10", "1.5e-05", "1e+400", "+1.0",
                                  "1.0.0"])
def test_other_texts_stay(text):
  # Digits, an e and digits may be hexadecimal: an id, not a number.
  assert values(csv_column(text)) == [(text, SOUND)]


@pytest.mark.parametrize("text", ["1.5822181956250368e+18", "1.7e18", "12345678901234567000.0", "9007199254740992.0",
                                  "1E+18", "-1.5e+16"])
def test_whole_numbers_that_a_float_has_rounded_are_marked_in_csv(text):
  assert values(csv_column(text)) == [(text, ROUNDED_TEXT)]


@pytest.mark.parametrize(("kind", "first"), [(pa.float64(), 2**53), (pa.float32(), 2**24)])
def test_whole_numbers_that_a_float_has_rounded_are_marked_by_its_bits(kind, first):
  numbers = pa.array([first - 1, first, -first, None, 0.5], pa.float64()).cast(kind)
  expected = [(str(first - 1), SOUND), (str(first), ROUNDED), (str(-first), ROUNDED), ("", SOUND), ("0.5", SOUND)]
  assert values(columns.from_arrow(numbers)) == expected
  objects = [None if number is None else (np.float32(number) if kind == pa.float32() else number)
             for number in numbers.to_pylist()]
  assert values(columns.from_objects(objects)) == expected


def test_whole_numbers_of_any_size_are_exact_where_they_are_no_floats():
  assert values(columns.from_objects([2**63, 10**30])) == [(str(2**63), SOUND), (str(10**30), SOUND)]
  assert values(columns.from_arrow(pa.array([2**64 - 1], pa.uint64()))) == [(str(2**64 - 1), SOUND)]


def test_missing_values_are_texts_and_no_numbers():
  missing = frozenset(["NA", "1"])
  assert csv_column("NA", "1", "2", "", missing=missing).row_texts().tolist() == ["", "", "2", ""]
  assert values(columns.from_objects(["NA", 1, b"NA"], missing)) == [("", SOUND), ("1", SOUND), ("", SOUND)]
  assert values(columns.from_arrow(pa.array([1, 2]), missing=missing)) == [("1", SOUND), ("2", SOUND)]
  assert values(columns.from_arrow(pa.array(["1", "x"]), missing=missing)) == [("", SOUND), ("x", SOUND)]


def test_bytes_are_in_the_encoding_that_is_named():
  cafe = pa.array([b"caf\xe9"], pa.binary())
  assert values(columns.from_arrow(cafe, encoding="latin-1")) == [("caf\u00e9", SOUND)]
  assert columns.from_arrow(cafe).flaws.tolist() == [columns.UNDECODABLE, SOUND]
  assert values(columns.from_objects([b"caf\xe9"], encoding="latin-1")) == [("caf\u00e9", SOUND)]


@pytest.mark.parametrize(("array", "flaw"), [
    (pa.array([[1]]), columns.LIST), (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), columns.LIST),
    (pa.array([{"a": 1}]), columns.OBJECT)])
def test_lists_and_objects_are_told_apart(array, flaw):
  assert columns.from_arrow(array).flaws.tolist() == [flaw]
