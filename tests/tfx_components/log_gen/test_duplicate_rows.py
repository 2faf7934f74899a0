"""Rows that look alike: kept and counted, or dropped where that is asked, in any order and however the work is cut."""

import gzip
import json
import random

import numpy as np
import pyarrow as pa
import pytest

from diet_tf.errors import DataError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.row_counts import CONFLICTING_KEYS, EQUAL_KEYS, EQUAL_ROWS, RowTally
from tfx_components.log_gen import spill
from tfx_components.log_gen.rows import UNIQUE_KEY
from tfx_components.log_gen.unique_rows import first_of_each_key

# Neither a time nor an id: 4 x 2 x 2 rows that differ.
TIMELESS = FeatureSpec((Field("user", "user", hash_ids=50), Field("device", "device", vocabulary_ids=6)),
                       Label("click"))


def alike_rows(count, seed=0):
  rng = random.Random(seed)
  return [{"request": f"r{number}", "user": rng.randrange(4), "device": rng.choice("ab"),
           "click": int(rng.random() < 0.3)} for number in range(count)]


def positives(rows):
  return sum(row["click"] for row in rows)


def test_rows_that_look_alike_are_as_many_impressions_and_counted(log):
  rows = alike_rows(400)
  log.write("log-1.csv", rows)
  summary = log.generate(spec=TIMELESS)
  ids, labels, example_ids, _ = log.examples(TIMELESS)
  assert len(ids) == 400 and sum(labels) == positives(rows) and len(set(example_ids)) == 400
  distinct = {(row["user"], row["device"], row["click"]) for row in rows}
  counts = summary.rows
  assert counts.read == counts.kept == RowTally(400, 400, positives(rows))
  assert counts.duplicates == RowTally(384, 384, positives(rows) - sum(click for _, _, click in distinct))
  assert not counts.dropped and not counts.quarantined
  # All rows count for the vocabulary, not the distinct ones: "a" and "b" have eight of these each.
  devices = [row["device"] for row in rows]
  assert log.vocabularies() == {"device": sorted("ab", key=devices.count, reverse=True)}
  written = json.loads((log.output / "log_summary.json").read_text())
  assert written["rows"]["duplicates"]["num_rows"] == 384
  assert written["rule"] == {"unique": [], "drop_duplicates": False}


@pytest.mark.parametrize("rule", [{}, {"drop_duplicates": True}, {"unique": "request"}, {"unique": ["user", "device"]}])
def test_order_files_pieces_shards_and_ranges_do_not_matter(log, rule, monkeypatch):
  rows = alike_rows(600)
  rows += [dict(row, click=1 - row["click"]) for row in rows[:50]] + rows[50:80]
  log.write("log-1.csv", rows)
  settings = {"rows_per_shard": 90, "max_dropped_fraction": 1.0, **rule}
  expected = log.generate(log.settings(**settings), spec=TIMELESS).rows, log.contents()
  monkeypatch.setattr(spill, "BATCH_ROWS", 16)
  for seed in range(3):
    random.Random(seed).shuffle(rows)
    for old in log.folder.glob("log-2-*.csv"):
      old.unlink()
    for number, part in enumerate(np.array_split(np.arange(len(rows)), 1 + 2 * seed)):
      log.write(f"log-2-{number}.csv", [rows[row] for row in part])
    found = log.generate(log.settings(piece_bytes=700, **settings), spec=TIMELESS, span=2).rows
    assert (found, log.contents()) == expected


def test_an_occurrence_is_added_to_the_example_id_of_equal_rows(log, rows):
  log.write("log-1.csv", rows)
  log.generate()
  base = log.examples()[2]
  # Of the seven rows in the order of time, the second is there three times more and the last once more.
  log.write("log-2.csv", [*rows, rows[6], rows[2], rows[2], rows[2]])
  log.generate(span=2)
  assert log.examples()[2] == [base[0], *(base[1] + k for k in range(4)), *base[2:6], base[6], base[6] + 1]


def test_exact_duplicates_are_dropped_where_asked_and_others_kept(log, rows):
  log.write("log-1-a.csv", [dict(row, note="x") for row in rows])
  # The same rows again, delivered in another file, one at another time and one that differs in what nothing reads.
  log.write("log-1-b.csv", [dict(row, note="x") for row in rows[:3]])
  log.write("log-1-c.csv", [dict(rows[0], t=31, note="x"), dict(rows[0], note="y")])
  summary = log.generate(log.settings(drop_duplicates=True))
  assert (summary.num_rows, summary.num_examples) == (12, 9)
  assert summary.rows.dropped == {EQUAL_ROWS: RowTally(3, 3, 1)} and summary.rows.duplicates == RowTally()
  assert log.examples()[3] == [10, 20, 30, 30, 31, 40, 50, 60, 70]


@pytest.mark.parametrize("rows_per_shard", [100_000, 500, 1])
@pytest.mark.parametrize("timeless", [False, True])
def test_very_many_duplicates_at_one_time_are_dropped(log, rows, spec, rows_per_shard, timeless):
  distinct = [dict(row, t=77) for row in rows[:4]]
  log.write("log-1.csv", distinct * 5000)
  spec = FeatureSpec(spec.fields, spec.label) if timeless else spec
  settings = {"drop_duplicates": True, "max_dropped_fraction": 1.0}
  summary = log.generate(log.settings(rows_per_shard=rows_per_shard, piece_bytes=100_000, **settings), spec=spec)
  assert (summary.num_rows, summary.num_duplicates, summary.num_examples) == (20_000, 19_996, 4)
  assert len(summary.shards) == (1 if rows_per_shard > 1 else 4)
  examples = log.examples(spec)
  log.write("log-2.csv", distinct)
  log.generate(log.settings(drop_duplicates=True), spec=spec, span=2)
  assert log.examples(spec) == examples


def test_of_rows_with_one_key_the_first_stays_and_others_are_told_by_kind(log, rows):
  keyed = [dict(row, id=number) for number, row in enumerate(rows)]
  # Key 0 again as it was, and with a click taken back later; key 1 earlier than its row above, with another price.
  log.write("log-1-a.csv", [*keyed, keyed[0], dict(keyed[0], click=0, t=99), dict(keyed[1], price=2.5, t=5)])
  summary = log.generate(log.settings(unique="id"))
  assert summary.rows.dropped == {EQUAL_KEYS: RowTally(1, 1, 1), CONFLICTING_KEYS: RowTally(2, 2, 0)}
  assert log.examples()[3] == [5, 20, 30, 40, 50, 60, 70] and summary.rows.kept == RowTally(7, 7, 3)
  # A key may be several columns, here one of an item and a time.
  keyed = log.generate(log.settings(unique=("id", "t")))
  assert keyed.rows.dropped == {EQUAL_KEYS: RowTally(1, 1, 1)} and keyed.num_examples == 9


def test_a_row_without_its_key_is_set_aside(log, rows):
  log.write("log-1.csv", [dict(row, id=None if row["t"] < 30 else row["t"]) for row in rows])
  summary = log.generate(log.settings(unique="id", max_quarantine_share=0.5))
  assert summary.quarantine_reasons == {"key 'id' (log.unique) is missing": 2} and summary.num_examples == 5
  # Of two columns one is enough.
  assert log.generate(log.settings(unique=("id", "t"))).num_examples == 7
  with pytest.raises(DataError, match="column 'uid' of span 1.*log.unique"):
    log.generate(log.settings(unique="uid"))


def test_a_key_is_looked_for_after_a_keyed_join(log, rows):
  log.write("log-1.csv", [*rows, *rows[:2]])
  log.write("users.csv", [{"user": number, "age": 20 + number} for number in range(6)])
  spec = FeatureSpec((*TIMELESS.fields[:1], Field("age", "age", hash_ids=9)), Label("click"), "t")
  joined = {"joins": [{"pattern": str(log.folder / "users.csv"), "on": "user"}], "unique": "t"}
  contents = []
  for limit in (0, 1 << 20):
    settings = log.settings(broadcast_limit_bytes=limit)
    summary = log.generate(settings.from_json(json.dumps({**settings.to_dict(), **joined})), spec=spec)
    assert summary.rows.dropped == {EQUAL_KEYS: RowTally(2, 2, 1)}
    contents.append(log.contents())
  assert contents[0] == contents[1]


@pytest.mark.parametrize("collected_bytes", [1, 1 << 20])
def test_counts_of_a_key_are_those_of_all_its_rows_however_they_come(collected_bytes):
  rng = np.random.default_rng(0)
  keys, times, labels = rng.integers(0, 20, 500), rng.integers(0, 3, 500), rng.integers(0, 2, 500)
  example_ids = keys * 10 + labels
  tables = [pa.table({UNIQUE_KEY: keys[part], "time": times[part], "example_id": example_ids[part],
                      "label": labels[part].astype(np.float32)}) for part in np.array_split(np.arange(500), 7)]
  firsts, counts = first_of_each_key(iter(tables), collected_bytes)
  same = other = same_positives = other_positives = 0
  kept = []
  for key in range(20):
    rows = sorted(zip(times[keys == key], example_ids[keys == key], labels[keys == key]))
    kept.append(rows[0])
    alike = [row for row in rows[1:] if row == rows[0]]
    same, other = same + len(alike), other + len(rows) - 1 - len(alike)
    same_positives += sum(row[2] for row in alike)
    other_positives += sum(row[2] for row in rows[1:] if row != rows[0])
  assert list(zip(*firsts.to_pydict().values())) == kept
  assert counts.dropped == {EQUAL_KEYS: RowTally(same, same, same_positives),
                            CONFLICTING_KEYS: RowTally(other, other, other_positives)}


@pytest.mark.parametrize(("settings", "message"), [
    ({"max_duplicate_fraction": 0.9}, r"look like another one \(log.max_duplicate_fraction\).*384 of 400 rows \(96"),
    ({"drop_duplicates": True, "max_dropped_fraction": 0.2}, r"\(log.max_dropped_fraction\).*100 of 500 rows \(20.00%"),
    ({"unique": "user"}, r"\(log.max_dropped_fraction\).*496 of 500 rows \(99.20%\): \d+ x the same key")])
def test_too_many_rows_that_look_alike_or_are_dropped_stop_the_run(log, settings, message):
  rows = alike_rows(400)
  if "max_duplicate_fraction" not in settings:
    rows += rows[:100]
  log.write("log-1.csv", rows)
  if settings.get("max_dropped_fraction"):
    log.generate(log.settings(**settings), spec=TIMELESS)
    settings = {**settings, "max_dropped_fraction": 0.19}
  with pytest.raises(DataError, match=message):
    log.generate(log.settings(**settings), spec=TIMELESS)


@pytest.mark.parametrize("kind", ["compressed", "in another order", "another format"])
def test_a_file_that_arrives_twice_is_refused_by_name_unless_duplicates_are_dropped(log, rows, kind):
  path = log.write("log-1.csv", rows)
  if kind == "compressed":
    (log.folder / "log-1-again.csv.gz").write_bytes(gzip.compress((log.folder / "log-1.csv").read_bytes()))
  else:
    log.write("log-1-again.csv" if kind == "in another order" else "log-1-again.jsonl", rows[::-1])
  log.write("log-1-more.csv", [dict(row, t=row["t"] + 1) for row in rows])
  pattern = "log-{SPAN}*"
  with pytest.raises(DataError, match=r"log-1-again\.\S+ and \S*log-1\.csv: the same 7 rows.*log.drop_duplicates"):
    log.generate(log.settings(pattern))
  assert log.generate(log.settings(pattern, drop_duplicates=True)).num_examples == 14
  assert log.generate(log.settings(pattern, unique=("user", "t"))).num_examples == 14
  assert path.endswith("log-1.csv")


def test_files_of_a_few_rows_may_be_alike(log, rows):
  for number in range(3):
    log.write(f"log-1-{number}.csv", rows[:4])
  assert log.generate().num_examples == 12
