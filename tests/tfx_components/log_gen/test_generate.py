import gzip
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from diet_tf.errors import DataError, StoreError
from diet_tf.log import encoding
from diet_tf.log.features import FeatureSpec, Field, Label
from tfx_components.log_gen import generate, steps, vocabularies


def many_rows(count, seed=3):
  rng = random.Random(seed)
  return [{"user": rng.randrange(200), "item": rng.choice("abcdefgh"), "price": rng.random() * 8,
           "click": rng.randrange(2), "t": rng.randrange(10_000) if rng.random() < 0.5 else 77} for _ in range(count)]


def test_examples_of_a_span(log, rows, spec):
  log.write("log-1.csv", rows)
  summary = log.generate()
  ids, labels, example_ids, times = log.examples()
  assert times == [10, 20, 30, 40, 50, 60, 70]
  assert labels == [0, 0, 1, 1, 1, 0, 0]
  # "b" occurs three times, the others once; an empty value is missing.
  assert log.vocabularies() == {"item": ["b", "a", "a b", "\u00e9"]}
  assert [row[1] for row in ids] == [2, 2, 3, 2, 5, 4, 0]
  assert [row[2] for row in ids] == [3, 4, 2, 3, 3, 1, 0]
  users = encoding.encode(spec.fields[0], [2, 1, 1, 2, 3, 4, 5])
  assert [row[0] for row in ids] == users.tolist()
  assert len(set(example_ids)) == 7 and min(example_ids) >= 0
  assert (summary.num_rows, summary.num_examples, summary.num_positives, summary.num_quarantined) == (7, 7, 3, 0)
  assert (summary.first_time, summary.last_time) == (10, 70)
  assert summary.shards == ["data_tfrecord-00000-of-00001.gz"]
  assert sorted(path.name for path in log.output.iterdir()) == [
      "Split-train", "log_summary.json", "quarantine.jsonl", "vocabularies.json"]
  written = json.loads((log.output / "log_summary.json").read_text())
  assert written["format_name"] == "diet_tf.log_summary" and written["num_examples"] == 7
  assert written["feature_spec_digest"] == spec.digest()


def test_four_formats_give_the_same_bytes(log, rows):
  contents = []
  for name in ("csv", "parquet", "jsonl", "tfrecord", "tfrecord.gz", "jsonl.gz", "csv.gz"):
    if name in ("jsonl.gz", "csv.gz"):
      (log.folder / f"log-1.{name}").write_bytes(gzip.compress((log.folder / f"log-1.{name[:-3]}").read_bytes()))
    else:
      log.write(f"log-1.{name}", rows)
    log.generate(log.settings(f"log-{{SPAN}}.{name}"))
    contents.append(log.contents())
  assert all(content == contents[0] for content in contents[1:])


def test_row_order_file_split_column_order_and_piece_size_do_not_matter(log):
  rows = many_rows(3000)
  log.write("log-1.csv", rows)
  log.generate(log.settings(rows_per_shard=400))
  expected = log.contents()
  assert len(expected) > 5
  shuffled = list(rows)
  random.Random(5).shuffle(shuffled)
  turned = [dict(reversed(row.items())) for row in shuffled]
  log.write("log-2-a.csv", turned[:1000])
  log.write("log-2-b.csv", turned[1000:])
  log.generate(log.settings(rows_per_shard=400, piece_bytes=3000), span=2)
  assert log.contents() == expected


@pytest.mark.parametrize("arguments", [
    ["--direct_running_mode=multi_threading", "--direct_num_workers=3"],
    pytest.param(["--direct_running_mode=multi_processing", "--direct_num_workers=2"], marks=pytest.mark.slow)])
def test_parallelism_does_not_matter(log, arguments):
  log.write("log-1.csv", many_rows(2000))
  settings = log.settings(rows_per_shard=500, piece_bytes=8000)
  log.generate(settings)
  expected = log.contents()
  log.generate(settings, beam_pipeline_args=["--runner=DirectRunner", *arguments])
  assert log.contents() == expected


def test_examples_are_in_order_over_shards_and_shards_are_even(log):
  log.write("log-1.csv", many_rows(3000))
  summary = log.generate(log.settings(rows_per_shard=300))
  _, _, example_ids, times = log.examples()
  keys = list(zip(times, example_ids))
  assert keys == sorted(keys) and len(set(keys)) == len(keys)
  # Half of the rows share one time: that time is cut by example id.
  assert 8 <= len(summary.shards) <= 16


def test_a_span_of_two_shards_rows_is_one_shard_and_longer_ones_are_cut_evenly(log):
  log.write("log-1.csv", many_rows(100))
  assert len(log.generate(log.settings(rows_per_shard=50)).shards) == 1
  summary = log.generate(log.settings(rows_per_shard=48))
  paths = [log.output / "Split-train" / name for name in summary.shards]
  assert [sum(1 for _ in generate_records(path)) for path in paths] == [33, 33, 34]


def test_without_a_time_column_examples_are_in_hash_order(log, rows, spec):
  log.write("log-1.csv", rows)
  timeless = FeatureSpec(spec.fields, spec.label)
  log.generate(spec=timeless)
  _, _, example_ids, times = log.examples(timeless)
  assert times == [0] * 7 and example_ids == sorted(example_ids)
  expected = log.contents()
  log.write("log-2.csv", rows[::-1])
  log.generate(log.settings(rows_per_shard=2), spec=timeless, span=2)
  assert log.examples(timeless)[2] == example_ids
  log.generate(spec=timeless, span=2)
  assert log.contents() == expected


def test_an_outlying_time_does_not_fill_one_shard(log):
  rows = [{"user": i, "item": "a", "price": 1.0, "click": i % 2, "t": 1_650_000_000_000 + 3 * i} for i in range(2000)]
  log.write("log-1.csv", [*rows, dict(rows[0], user=9, t=0)])
  summary = log.generate(log.settings(rows_per_shard=200))
  assert len(summary.shards) >= 8
  assert len(log.examples()[0]) == 2001


def test_vocabularies_grow_from_span_to_span(log, rows):
  log.write("log-1.csv", rows)
  log.generate()
  log.write("log-2.csv", [dict(row, item=item) for row, item in zip(rows, "zzyxbb\u00e9")])
  log.generate(span=2, vocabularies=log.vocabularies())
  # Four values fit into six ids: the vocabulary was full, so that the new values are out of vocabulary.
  assert log.vocabularies() == {"item": ["b", "a", "a b", "\u00e9"]}
  assert sorted(row[1] for row in log.examples()[0]) == [1, 1, 1, 1, 2, 2, 5]
  log.generate(span=2, vocabularies={"item": ["b", "q"]})
  assert log.vocabularies() == {"item": ["b", "q", "z", "x"]}


def test_vocabulary_counts_are_exact_in_any_number_of_partitions(log, spec, monkeypatch):
  log.write("log-1.csv", many_rows(1000))
  log.generate(log.settings(rows_per_shard=100))
  expected = log.contents()
  monkeypatch.setattr(vocabularies, "_ROWS_PER_PARTITION", 100)
  monkeypatch.setattr(vocabularies, "_MERGED_VALUES", 3)
  log.generate(log.settings(rows_per_shard=100))
  assert log.contents() == expected


def test_no_growing_vocabulary_and_a_threshold_label(log, rows):
  spec = FeatureSpec((Field("item", "item", vocabulary_ids=4, vocabulary=("b", "a")),), Label("price", positive_from=2))
  log.write("log-1.parquet", rows[:-1])
  summary = log.generate(log.settings("log-{SPAN}.parquet"), spec=spec)
  ids, labels, _, _ = log.examples(spec)
  assert sorted(zip([row[0] for row in ids], labels)) == [(1, 0), (1, 0), (2, 1), (2, 1), (2, 1), (3, 0)]
  assert log.vocabularies() == {} and summary.vocabulary_sizes == {}


def test_spans_by_time_take_only_their_rows(log, rows, spec):
  log.write("all.parquet", rows)
  settings = log.settings("all.parquet", span_column="t", span_seconds=25, span_origin=10, span_time_unit="s")
  # floor((t - 10) / 25): 10, 20, 30 are span 0; 40, 50 are span 1; 60, 70 are span 2.
  log.generate(settings, span=0)
  assert log.examples()[3] == [10, 20, 30]
  with pytest.raises(DataError, match="span 1 of .*both labels.*'click' = 1"):
    log.generate(settings, span=1)
  with pytest.raises(DataError, match="span 9 of .*no row"):
    log.generate(settings, span=9)


def test_spans_by_time_skip_row_groups_of_other_spans(log, rows):
  ordered = sorted(rows, key=lambda row: row["t"])
  log.write("all.parquet", ordered, row_group_size=1)
  settings = log.settings("all.parquet", span_column="t", span_seconds=25, span_origin=10, span_time_unit="s")
  log.generate(settings, span=0)
  assert log.examples()[3] == [10, 20, 30]


def test_broken_rows_are_quarantined_with_file_row_and_reason(log, spec):
  (log.folder / "log-1.csv").write_bytes(
      b"user,item,price,click,t\n"
      b"1,a,1.0,1,10\n"
      b"2,b,1.0,0\n"
      b"3,b,1.0,2,30\n"
      b"4,b,cheap,0,40\n"
      b"5,b,1.0,0,\n"
      b"6,b,1.0,,60\n"
      b"7,b,1.0,0,noon\n"
      b"8,\xff,1.0,0,80\n"
      b"\n"
      b"9,b,1.0,0,90\n"
      b"10,\"b,1.0,0,100\n")
  summary = log.generate(log.settings(max_quarantine_share=1, piece_bytes=40))
  assert log.examples()[3] == [10, 90]
  found = [(row["row"], row["reason"]) for row in log.quarantined()]
  assert found == [
      (3, "the line cannot be parsed: 4 values for 5 columns"),
      (4, "label 'click' is not 0 or 1"),
      (5, "column 'price' of field 'price' is not a number"),
      (6, "time 't' is missing"),
      (7, "label 'click' is missing"),
      (8, "time 't' is neither a number nor a time in ISO 8601"),
      (9, "column 'item' holds bytes that are no UTF-8"),
      (12, "the line cannot be parsed: 2 values for 5 columns"),
  ]
  assert log.quarantined()[1]["values"] == {"user": "3", "item": "b", "price": "1", "click": "2", "t": "30"}
  assert log.quarantined()[0]["values"] == {"line": "2,b,1.0,0"}
  assert log.quarantined()[0]["file"].endswith("log-1.csv")
  assert (summary.num_rows, summary.num_quarantined) == (10, 8)
  assert sum(summary.quarantine_reasons.values()) == 8


def test_quarantine_file_is_capped_but_counts_are_not(log, rows):
  log.write("log-1.csv", rows + [dict(row, click=5) for row in rows])
  summary = log.generate(log.settings(max_quarantine_share=0.5, max_quarantine_rows=3, piece_bytes=20))
  assert [row["row"] for row in log.quarantined()] == [9, 10, 11]
  assert summary.num_quarantined == 7


@pytest.mark.parametrize("piece_bytes", [20, 1 << 20])
def test_the_rows_kept_are_the_first_ones_wherever_files_are_cut(log, piece_bytes):
  (log.folder / "log-1.csv").write_bytes(
      b"user,item,price,click,t\n1,a,1.0,1,10\n2,b,1.0,2,20\n3,b\n4,b,1.0,2,40\n5,b\n6,b\n7,b,1.0,0,70\n8,b,1.0,2,80\n")
  summary = log.generate(log.settings(max_quarantine_share=1, max_quarantine_rows=3, piece_bytes=piece_bytes))
  assert [row["row"] for row in log.quarantined()] == [3, 4, 5]
  assert summary.quarantine_reasons == {
      "label 'click' is not 0 or 1": 3, "the line cannot be parsed: 2 values for 5 columns": 3}


def test_too_many_broken_rows_stop_the_run_and_the_file_says_why(log, rows):
  log.write("log-1.csv", rows + [dict(row, click=5) for row in rows[:3]] + [dict(rows[0], price="x")])
  with pytest.raises(DataError) as raised:
    log.generate(log.settings(max_quarantine_share=0.1))
  message = str(raised.value)
  assert "at most 10.00%" in message and "4 of 11 rows (36.36%)" in message
  assert "3 x label 'click' is not 0 or 1; 1 x column 'price' of field 'price' is not a number" in message
  assert "quarantine.jsonl" in message and len(log.quarantined()) == 4


BAD_COLUMN = [{"usr": 1, "item": "a", "price": 1.0, "click": 0, "t": 10}]
BROKEN_LABELS = [{"user": 1, "item": "a", "price": 1.0, "click": 7, "t": 10}]


@pytest.mark.parametrize(("name", "rows", "message"), [
    ("log-1.jsonl", BAD_COLUMN, "column 'user' of span 1"), ("log-1.csv", BROKEN_LABELS, "at most 10.00%")])
def test_what_reading_shows_is_told_before_a_row_is_sorted(log, monkeypatch, name, rows, message):
  monkeypatch.setattr(steps.SortRange, "run", lambda *_: pytest.fail("a range is sorted"))
  log.write(name, rows)
  with pytest.raises(DataError, match=message):
    log.generate(log.settings(name.replace("1", "{SPAN}"), max_quarantine_share=0.1))


def test_a_failure_while_sorting_leaves_the_rows_set_aside(log, rows, monkeypatch):
  log.write("log-1.csv", [*rows, dict(rows[0], click=5)])

  def fail(*_):
    raise DataError("the sort", rule="it ends.", received="a failure.", remedy="none.")

  monkeypatch.setattr(steps.SortRange, "run", fail)
  with pytest.raises(DataError, match="the sort"):
    log.generate(log.settings(max_quarantine_share=0.2))
  assert [row["row"] for row in log.quarantined()] == [9]


def test_missing_span_names_the_spans_that_are_there(log, rows):
  log.write("log-20220426.csv", rows)
  with pytest.raises(DataError, match=r"span 20220427: .*log-\{SPAN\}.*20220426"):
    log.generate(span=20220427)


def test_empty_span(log):
  (log.folder / "log-1.csv").write_text("user,item,price,click,t\n")
  with pytest.raises(DataError, match="span 1 of .*no row"):
    log.generate()
  (log.folder / "log-1.csv").unlink()
  (log.folder / "log-1.jsonl").write_text("\n")
  with pytest.raises(DataError, match="span 1 of .*no row"):
    log.generate(log.settings("log-{SPAN}.jsonl"))
  (log.folder / "log-1.jsonl").write_text("")
  with pytest.raises(DataError, match="log-1.jsonl: .*the file is empty"):
    log.generate(log.settings("log-{SPAN}.jsonl"))


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "tfrecord"])
@pytest.mark.parametrize(("gone", "purpose"), [
    ("price", "field 'price'"), ("click", "the label"), ("t", "time_column")])
def test_a_column_missing_from_one_span(log, rows, kind, gone, purpose):
  for row in rows:
    row[f"{gone}_v2"] = row.pop(gone)
  log.write(f"log-1.{kind}", rows)
  with pytest.raises(DataError) as raised:
    log.generate(log.settings(f"log-{{SPAN}}.{kind}"))
  assert f"column {gone!r} of span 1" in str(raised.value)
  assert purpose in str(raised.value) and f"{gone}_v2" in str(raised.value)


def test_a_jsonl_key_may_be_missing_from_some_rows(log, rows):
  log.write("log-1.csv", rows)
  log.generate()
  expected = log.contents()
  log.write("log-1.jsonl", [{name: value for name, value in row.items() if value is not None} for row in rows])
  log.generate(log.settings("log-{SPAN}.jsonl"))
  assert log.contents() == expected


def test_single_class_span(log, rows):
  log.write("log-1.csv", [dict(row, click=0) for row in rows])
  with pytest.raises(DataError, match="span 1 of .*7 examples, all with 'click' = 0"):
    log.generate()


def test_undeclared_format(log):
  (log.folder / "log-1.txt").write_text("x")
  with pytest.raises(DataError, match="csv, parquet, jsonl, tfrecord"):
    log.generate(log.settings("log-{SPAN}.txt"))


@pytest.mark.parametrize("name", ["log-1.parquet", "log-1.tfrecord", "log-1.jsonl.gz"])
def test_damaged_file(log, name):
  (log.folder / name).write_bytes(b"this is not what the name says, and long enough to have a footer")
  with pytest.raises(DataError, match=f"{name}.*complete"):
    log.generate(log.settings(name.replace("1", "{SPAN}")))


def test_spill_files_are_removed_also_after_a_failure(log, rows):
  log.write("log-1.csv", [dict(row, click=0) for row in rows])
  temp = log.folder / "temp"
  with pytest.raises(DataError):
    log.generate(temp_dir=str(temp))
  assert list(temp.iterdir()) == []
  with pytest.raises(DataError):
    log.generate()
  assert not (log.output / ".spill").exists()


def test_full_disk(log, rows, monkeypatch):
  log.write("log-1.csv", rows)

  def fail(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(generate.encoding, "write_vocabularies", fail)
  with pytest.raises(StoreError, match="No space left"):
    log.generate()


def test_a_fingerprint_covers_the_columns_that_are_read_and_all_where_duplicates_are_dropped(log, rows):
  log.write("log-1.csv", rows)
  log.write("log-2.csv", [dict(row, other=1) for row in rows])
  found = {}
  for drops in (None, False, True):
    for span in (1, 2):
      log.generate(log.settings(drop_duplicates=drops), span=span)
      found[drops, span] = log.examples()[2]
  assert found[None, 1] == found[None, 2] == found[False, 2] == found[True, 1]
  assert not set(found[True, 2]) & set(found[True, 1])


def test_an_integer_column_that_flips_to_float_keeps_its_ids(log, rows):
  table = pa.Table.from_pylist(rows)
  pq.write_table(table, log.folder / "log-1.parquet")
  index = table.schema.get_field_index("user")
  pq.write_table(table.set_column(index, "user", table["user"].cast(pa.float64())), log.folder / "log-2.parquet")
  settings = log.settings("log-{SPAN}.parquet")
  log.generate(settings)
  expected = log.contents()
  log.generate(settings, span=2)
  assert log.contents() == expected


def test_progress_names_each_step_and_reaches_its_total(log, rows):
  log.write("log-1.csv", rows)
  told = []
  log.generate(progress=lambda description, done, total: told.append((description, done, total)))
  assert {description for description, _, _ in told} == {
      "Reading span 1", "Sorting span 1", "Counting values", "Writing span 1"}
  assert all((description, 1, 1) in told for description, _, _ in told)


def test_memory_is_flat_in_the_number_of_shards_rows(log):
  # A shard never holds more than about twice rows_per_shard, whatever the distribution of times.
  rows = many_rows(4000)
  log.write("log-1.csv", rows)
  summary = log.generate(log.settings(rows_per_shard=250))
  paths = [log.output / "Split-train" / name for name in summary.shards]
  sizes = [sum(1 for _ in generate_records(path)) for path in paths]
  assert sum(sizes) == summary.num_examples and max(sizes) <= 2 * 250


def generate_records(path):
  return tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()


def test_ids_are_int32_within_their_fields(log, spec):
  log.write("log-1.csv", many_rows(500))
  log.generate()
  ids = np.array(log.examples()[0])
  assert (ids >= 0).all() and (ids < np.array(spec.num_ids)).all()
