import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError, DataError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import Join
from tests.tfx_components.log_gen.parquet_fixtures import fixture
from tfx_components.log_gen import columns, reasons, value_rules

SPEC = FeatureSpec((Field("user", "user", hash_ids=1 << 20), Field("price", "price", boundaries=(2.0,))),
                   Label("click"))
# Five users whose ids a float64 tells apart, and five of whom it makes two.
IDS = [2**53 - 5 + number for number in range(5)]
LARGE_IDS = [2**60 + number for number in range(5)]


def write(folder, kind, ids):
  """A log with the ids in a column of floats."""
  rows = [{"user": float(number), "price": float(10**17 * (place % 2)), "click": place % 2}
          for place, number in enumerate(ids)]
  path = folder / f"log-1.{kind}"
  if kind == "csv":
    lines = ["user,price,click", *(f"{row['user']},{row['price']},{row['click']}" for row in rows)]
    path.write_text("\n".join(lines) + "\n")
  elif kind == "jsonl":
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  else:
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_ids_that_came_through_a_float_are_the_same_ids_or_refused(log, kind):
  write(log.folder, kind, IDS)
  log.generate(log.settings(f"log-{{SPAN}}.{kind}"), spec=SPEC)
  found = {row[0] for row in log.examples(SPEC)[0]}
  path = log.folder / "log-2.csv"
  path.write_text("user,price,click\n" + "".join(f"{number},1,{place % 2}\n" for place, number in enumerate(IDS)))
  log.generate(log.settings("log-{SPAN}.csv"), spec=SPEC, span=2)
  assert {row[0] for row in log.examples(SPEC)[0]} == found and len(found) == len(IDS)
  # Prices of 10^17 are no ids, and are read.
  write(log.folder, kind, LARGE_IDS)
  with pytest.raises(DataError) as raised:
    log.generate(log.settings(f"log-{{SPAN}}.{kind}"), spec=SPEC)
  message = str(raised.value)
  assert "column 'user'" in message and "'price'" not in message and "as whole numbers or texts" in message
  assert (str(float(2**60)) if kind == "csv" else str(2**60)) in message


def test_ids_of_a_float_list_in_tfrecords_are_refused_from_2_to_the_24_on(log):
  for first, refused in ((2**24 - 3, False), (2**24, True)):
    with tf.io.TFRecordWriter(str(log.folder / "log-1.tfrecord")) as writer:
      for number in range(3):
        example = tf.train.Example()
        example.features.feature["user"].float_list.value.append(first + number)
        for name in ("price", "click"):
          example.features.feature[name].int64_list.value.append(number % 2)
        writer.write(example.SerializeToString())
    settings = log.settings("log-{SPAN}.tfrecord")
    if refused:
      with pytest.raises(DataError, match="column 'user' .*2\\^24.*16777216"):
        log.generate(settings, spec=SPEC)
    else:
      assert log.generate(settings, spec=SPEC).num_examples == 3


def test_keys_of_a_join_are_ids_on_both_sides(log):
  (log.folder / "log-1.csv").write_text("item,click\n1.5e+18,0\n7,1\n")
  (log.folder / "items.csv").write_text("item,user,price\n7,1,1\n1500000000000000000,2,2\n")
  settings = log.settings(joins=(Join(str(log.folder / "items.csv"), "item"),))
  with pytest.raises(DataError, match="1 of 2 rows .*column 'item' is a whole number in a float's notation.*"
                     "item = '1.5e\\+18'.*astype"):
    log.generate(settings, spec=SPEC)
  (log.folder / "log-1.csv").write_text("item,click\n8,0\n7,1\n")
  (log.folder / "items.csv").write_text("item,user,price\n7,1,1\n1.5e+18,2,2\n")
  with pytest.raises(DataError, match="side table .*the key '1.5e\\+18', first in record 2, is a whole number in a "
                     "float's notation"):
    log.generate(settings, spec=SPEC)


@pytest.mark.parametrize(("thousands", "text", "expected"), [
    (",", "1,291.50", 1291.5), (",", "-1,291,000", -1291000.0), (" ", "1\u00a0291", 1291.0), ("'", "1'291", 1291.0),
    (",", "13.5", 13.5), (",", "1,29", None), (",", "12,34,567", None), (None, "1,291.50", None), (None, "1,5", None)])
def test_separators_of_thousands_are_read_where_they_are_declared(thousands, text, expected):
  found, wrong = value_rules.read_numbers(columns.from_texts([text]), thousands)
  assert found.tolist() == [expected] if expected is not None else np.isnan(found[0])
  assert [words for broken, words in wrong if broken.any()] == (
      [] if expected is not None else [reasons.NOT_A_NUMBER if text == "12,34,567" else reasons.THOUSANDS])


def test_thousands_in_a_log_are_refused_with_their_remedy_or_read(log):
  (log.folder / "log-1.csv").write_text('user,price,click\n1,"1,291.50",1\n2,1.5,0\n')
  with pytest.raises(DataError, match="'price' is a number with separators of thousands .*set log.thousands"):
    log.generate(spec=SPEC)
  log.generate(log.settings(thousands=","), spec=SPEC)
  assert sorted(row[1] for row in log.examples(SPEC)[0]) == [1, 2]


def test_missing_values_can_be_set_and_what_a_vocabulary_lists_is_none(log):
  spec = FeatureSpec((Field("land", "land", vocabulary_ids=4, vocabulary=("NA", "DE")),
                      Field("price", "price", boundaries=(2.0,))), Label("click"))
  (log.folder / "log-1.csv").write_text("land,price,click\nNA,NA,1\nDE,\\N,0\nnull,3,1\n")
  log.generate(spec=spec)
  # Namibia is a value of the one column, and no price of the other.
  assert sorted(log.examples(spec)[0]) == [[0, 2], [2, 0], [3, 0]]
  with pytest.raises(ConfigError, match="none of the values that field 'land' lists.*'NA'"):
    log.settings(missing_values=("NA",)).check_listed_texts(spec)
  log.generate(log.settings(missing_values=("null", "\\N"), max_quarantine_share=0.5), spec=spec)
  assert sorted(log.examples(spec)[0]) == [[0, 2], [3, 0]]


def test_listed_values_that_never_occur_and_fields_of_one_id_are_told(log):
  spec = FeatureSpec((Field("member", "member", vocabulary_ids=4, vocabulary=("1", "0")),
                      Field("version", "version", vocabulary_ids=5, vocabulary=("1.9", "1.10", "2")),
                      Field("user", "user", hash_ids=9)), Label("click"))
  (log.folder / "log-1.csv").write_text("member,version,user,click\nTrue,1.10,7,1\nFalse,2.0,7,0\n")
  assert log.generate(spec=spec).rows.remarks == (
      "Field 'version': no row has '1.9' of the 3 values that its vocabulary lists.",
      "Field 'user' has the same id in all rows, and says nothing.")
  assert sorted(zip(*log.examples(spec)[:2]))[0][0][:2] == [2, 3]
  assert json.loads((log.output / "log_summary.json").read_text())["rows"]["remarks"][0].startswith("Field 'version'")


@pytest.mark.parametrize("kind", ["float16", "string_view", "byte_stream_split"])
def test_a_type_that_arrow_does_not_know_in_a_column_that_nothing_reads(log, kind):
  for number in (0, 1):
    pq.write_table(pa.table({"user": [number], "click": [number]}), log.folder / f"log-1-{number}.parquet")
  # Its rows lack the label, and are set aside: the file itself is read.
  shutil.copy(fixture(log.folder, kind), log.folder / "log-1-2.parquet")
  spec = FeatureSpec((Field("user", "user", hash_ids=9),), Label("click"))
  with pytest.raises(DataError, match="column 'click' of span 1 .*log-1-2.parquet.*columns 'user', 'x'"):
    log.generate(log.settings("log-{SPAN}-*.parquet"), spec=spec)
  spec = FeatureSpec((Field("user", "user", hash_ids=9),), Label("user"))
  assert log.generate(log.settings("log-{SPAN}-*.parquet"), spec=spec).num_examples == 3
