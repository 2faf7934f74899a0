import datetime

import numpy as np
import pytest

from diet_tf.log.times import KindCounts, TimeKind, read_times


def array(*texts):
  values = np.empty(len(texts), object)
  values[:] = texts
  return values


def instant(*parts):
  return int(datetime.datetime(*parts, tzinfo=datetime.timezone.utc).timestamp()) * 1_000_000


# 2024-01-30T03:04:05Z is 1706583845 seconds after 1970.
@pytest.mark.parametrize(("text", "kind", "expected"), [
    ("1706583845", TimeKind.SECONDS, 1706583845_000_000),
    ("1706583845123", TimeKind.MILLISECONDS, 1706583845_123_000),
    ("1706583845123456", TimeKind.MICROSECONDS, 1706583845_123_456),
    ("1706583845123456789", TimeKind.NANOSECONDS, 1706583845_123_456),
    ("1706583845.9", TimeKind.SECONDS, 1706583845_000_000),
    ("881250949", TimeKind.SECONDS, instant(1997, 12, 4, 15, 55, 49)),
    ("20240130", TimeKind.DATES, instant(2024, 1, 30)), ("20240130030405", TimeKind.DATES, 1706583845_000_000),
    ("2024-01-30", TimeKind.WITHOUT_ZONE, instant(2024, 1, 30)),
    ("2024/02/29", TimeKind.WITHOUT_ZONE, instant(2024, 2, 29)),
    ("2024-01-30T03:04:05", TimeKind.WITHOUT_ZONE, 1706583845_000_000),
    ("2024-01-30 03:04:05.5", TimeKind.WITHOUT_ZONE, 1706583845_500_000),
    ("2024-01-30 03:04", TimeKind.WITHOUT_ZONE, 1706583840_000_000),
    ("2024-01-30T03", TimeKind.WITHOUT_ZONE, instant(2024, 1, 30, 3)),
    ("2024-01-30T03:04:05Z", TimeKind.WITH_ZONE, 1706583845_000_000),
    ("2024-01-30 03:04:05 UTC", TimeKind.WITH_ZONE, 1706583845_000_000),
    ("2024-01-30T03:04:05.123456789z", TimeKind.WITH_ZONE, 1706583845_123_456),
    ("2024-01-30T05:04:05+02:00", TimeKind.WITH_ZONE, 1706583845_000_000),
    ("2024-01-29 21:34:05,000-0530", TimeKind.WITH_ZONE, 1706583845_000_000),
    ("20240130T030405Z", TimeKind.WITH_ZONE, 1706583845_000_000), ("", TimeKind.MISSING, 0),
    ("NaT", TimeKind.MISSING, 0), ("yesterday", TimeKind.UNREADABLE, 0), ("01/30/2024", TimeKind.UNREADABLE, 0),
    ("12:30", TimeKind.UNREADABLE, 0), ("1_706_583_845", TimeKind.UNREADABLE, 0),
    ("2024-1-30", TimeKind.UNREADABLE, 0), ("-1", TimeKind.BEFORE_1970, 0), ("1969-12-31", TimeKind.BEFORE_1970, 0),
    ("0001-01-01T00:00:00", TimeKind.BEFORE_1970, 0), ("1970-01-01T01:00+02:00", TimeKind.BEFORE_1970, 0),
    ("-9223372036854775808", TimeKind.BEFORE_1970, 0), ("2023-02-29", TimeKind.IMPOSSIBLE, 0),
    ("2024-13-01", TimeKind.IMPOSSIBLE, 0), ("0000-00-00", TimeKind.IMPOSSIBLE, 0),
    ("2024-01-30T24:00", TimeKind.IMPOSSIBLE, 0), ("2024-01-30T03:60", TimeKind.IMPOSSIBLE, 0),
    ("20240-01-01", TimeKind.IMPOSSIBLE, 0), ("2200-01-01", TimeKind.IMPOSSIBLE, 0),
    ("2024-01-30T00:00+25:00", TimeKind.IMPOSSIBLE, 0), ("99999999999999999999", TimeKind.IMPOSSIBLE, 0),
    # Small numbers may count anything from anywhere, and ten digits may be a date with its hour, or seconds of 2034.
    ("0", TimeKind.UNTOLD, 0), ("24010100", TimeKind.UNTOLD, 0), ("20240199", TimeKind.UNTOLD, 0),
    ("2024013003", TimeKind.UNTOLD, 0), ("202401300304", TimeKind.UNTOLD, 0), ("50000000000", TimeKind.UNTOLD, 0)])
def test_a_value_is_read_by_itself(text, kind, expected):
  # Alone, and among values that are written in other ways.
  for texts, place in ((array(text), 0), (array("1706583845", "", text, "2024-01-30T00:00:00Z", "-5.5"), 2)):
    times = read_times(texts)
    assert (TimeKind(times.kinds[place]), times.microseconds[place]) == (kind, expected)


def test_a_declared_unit_is_that_of_every_number():
  times = read_times(array("5", "20240130", "1706583845000", "1706583845000000", "2024-01-30"), unit="ms")
  assert times.kinds.tolist() == [TimeKind.MILLISECONDS] * 3 + [TimeKind.IMPOSSIBLE, TimeKind.WITHOUT_ZONE]
  assert times.microseconds[:3].tolist() == [5_000, 20_240_130_000, 1_706_583_845_000_000]


def test_timestamps_of_a_file_have_their_unit():
  times = read_times(array("5", "1706583845000000", "-3", "7258118400000000", ""), unit="s", stamps=TimeKind.WITH_ZONE)
  assert times.kinds.tolist() == [TimeKind.WITH_ZONE, TimeKind.WITH_ZONE, TimeKind.BEFORE_1970, TimeKind.IMPOSSIBLE,
                                  TimeKind.MISSING]
  assert times.microseconds.tolist() == [5, 1706583845_000_000, 0, 0, 0]


def test_numbers_order_rows_as_they_are_and_texts_by_their_time():
  times = read_times(array("7", "20240130", "1706583845", "2024-01-30", "-1", ""))
  assert times.order.tolist() == [7, 20240130, 1706583845, instant(2024, 1, 30), 0, 0]
  assert times.without_order.tolist() == [False] * 4 + [True] * 2


def counts(*texts):
  values = array(*dict.fromkeys(texts))
  codes = np.array([values.tolist().index(text) for text in texts], np.int64)
  return KindCounts.of(read_times(values), values, codes)


@pytest.mark.parametrize(("texts", "ways", "of_order"), [
    (["1706583845", "1706583846", "-1", ""], [TimeKind.SECONDS], [TimeKind.SECONDS]),
    (["1706583845", "1706583845000"], [TimeKind.SECONDS, TimeKind.MILLISECONDS],
     [TimeKind.SECONDS, TimeKind.MILLISECONDS]),
    (["2024-01-30", "2024-01-30T00:00"], [TimeKind.WITHOUT_ZONE], [TimeKind.WITHOUT_ZONE]),
    (["2024-01-30", "2024-01-30T00:00Z"], [TimeKind.WITHOUT_ZONE, TimeKind.WITH_ZONE],
     [TimeKind.WITHOUT_ZONE, TimeKind.WITH_ZONE]),
    (["20240130", "2024-01-30"], [TimeKind.DATES, TimeKind.WITHOUT_ZONE], [TimeKind.DATES, TimeKind.WITHOUT_ZONE]),
    # A counter passes through all magnitudes, and orders rows all the same.
    (["1", "2", "99999999", "100000000", "20240130"], [TimeKind.SECONDS, TimeKind.DATES], [TimeKind.UNTOLD]),
    (["1", "1706583845", "1706583845000", "1706583846000"], [TimeKind.SECONDS, TimeKind.MILLISECONDS],
     [TimeKind.MILLISECONDS]),
    ([], [], [])])
def test_ways_of_a_column(texts, ways, of_order):
  found = counts(*texts)
  assert sorted(found.ways()) == ways and sorted(found.ways(of_order=True)) == of_order


def test_counts_of_parts_add_up():
  texts = ["1706583846", "1706583845", "1706583845", "2024-01-30", "x"]
  whole = counts(*texts)
  assert counts(*texts[:2]) + counts(*texts[2:]) == whole + KindCounts() == whole
  assert whole.described(whole.ways()) == ("3 seconds since 1970 (1706583845); 1 times without a zone (2024-01-30)")


def test_many_values_of_one_shape_are_read_at_once():
  days = np.arange("1970-01-01", "2199-12-31", dtype="M8[D]")
  texts = array(*(f"{day}T01:02:03.25-01:30" for day in days.astype(str)))
  expected = days.astype("M8[us]").astype(np.int64) + ((2 * 60 + 32) * 60 + 3) * 1_000_000 + 250_000
  assert read_times(texts).microseconds.tolist() == expected.tolist()
