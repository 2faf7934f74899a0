import dataclasses

import pytest

from diet_tf.errors import DataError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import Join
from tfx_components.log_gen import steps

SPEC = FeatureSpec(
    (Field("user", "user", hash_ids=50), Field("age", "u_age", boundaries=(20.0, 40.0)),
     Field("city", "u_city", vocabulary_ids=6), Field("brand", "brand", hash_ids=40)), Label("click"), "t")

USERS = [{"user": 1, "age": 15, "city": "Gent"}, {"user": 2, "age": 40, "city": "Bonn"},
         {"user": 3, "age": None, "city": None}, {"user": 4, "age": 30, "city": "Gent"},
         {"user": 99, "age": 3, "city": "Rome"}]
ITEMS = [{"id": "a", "brand": "x"}, {"id": "b", "brand": "y"}, {"id": "\u00e9", "brand": "x"},
         {"id": "a b", "brand": None}]


def joined(log, users="users.csv", items="items.jsonl", **kwargs):
  joins = (Join(str(log.folder / users), on="user", columns=("age", "city"), prefix="u_"),
           Join(str(log.folder / items), on="item", key="id"))
  return log.settings(joins=joins, **kwargs)


@pytest.fixture
def tables(log, rows):
  log.write("log-1.csv", rows)
  log.write("users.csv", USERS)
  log.write("items.jsonl", ITEMS)
  return log


def test_broadcast_join(tables):
  summary = tables.generate(joined(tables), spec=SPEC)
  ids, _, _, times = tables.examples(SPEC)
  # Users by time: 2, 1, 1, 2, 3, 4, 5; user 3 has no age and no city, user 5 is not listed.
  assert times == [10, 20, 30, 40, 50, 60, 70]
  users = {10: 2, 20: 1, 30: 1, 40: 2, 50: 3, 60: 4, 70: 5}
  age = {1: 1, 2: 3, 3: 0, 4: 2, 5: 0}
  assert [row[1] for row in ids] == [age[users[time]] for time in times]
  # Gent occurs three times and Bonn twice; Rome is listed but does not occur.
  assert tables.vocabularies() == {"city": ["Gent", "Bonn"]}
  city = {1: 2, 2: 3, 3: 0, 4: 2, 5: 0}
  assert [row[2] for row in ids] == [city[users[time]] for time in times]
  assert [join["way"] for join in summary.joins] == ["broadcast", "broadcast"]
  assert [(join["num_keyed"], join["num_matched"]) for join in summary.joins] == [(7, 6), (6, 6)]


@pytest.mark.parametrize(("limit", "ways"), [
    (0, ["keyed", "keyed"]), (65, ["broadcast", "keyed"]), (40, ["keyed", "keyed"])])
def test_keyed_join_equals_broadcast_join(tables, limit, ways):
  # users.csv has 58 bytes, items.jsonl more than 65; the number of partitions follows from the limit.
  tables.write("items.jsonl", ITEMS[:3])
  tables.generate(joined(tables), spec=SPEC)
  expected, quarantined = tables.contents(), tables.quarantined()
  summary = tables.generate(joined(tables, broadcast_limit_bytes=limit, piece_bytes=30), spec=SPEC)
  assert [join["way"] for join in summary.joins] == ways
  assert tables.contents() == expected and tables.quarantined() == quarantined
  assert [(join["num_keyed"], join["num_matched"]) for join in summary.joins] == [(7, 6), (6, 5)]


def test_side_tables_are_joined_by_canonical_value(tables):
  tables.generate(joined(tables), spec=SPEC)
  expected = tables.contents()
  # The same users with float keys, as a table with a null elsewhere gives them, in Parquet.
  tables.write("users.parquet", [dict(user, user=float(user["user"])) for user in USERS])
  tables.generate(joined(tables, users="users.parquet"), spec=SPEC)
  assert tables.contents() == expected


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_a_row_with_a_broken_side_value_is_quarantined(tables, limit):
  tables.write("users.csv", [*USERS[:3], {"user": 4, "age": "old", "city": "Gent"}])
  settings = joined(tables, broadcast_limit_bytes=limit, max_quarantine_share=0.2)
  summary = tables.generate(settings, spec=SPEC)
  assert summary.quarantine_reasons == {"column 'age' of field 'age' is not a number": 1}
  row, = tables.quarantined()
  assert row["row"] == 7 and row["values"]["user"] == "4"
  assert len(tables.examples(SPEC)[0]) == 6


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_of_rows_with_a_broken_side_value_the_first_are_kept_and_all_are_counted(tables, limit):
  tables.write("users.csv", [{"user": 1, "age": "old", "city": "Gent"}, {"user": 2, "age": "old", "city": "Bonn"},
                             *USERS[2:]])
  settings = joined(tables, broadcast_limit_bytes=limit, max_quarantine_share=0.6, max_quarantine_rows=2,
                    piece_bytes=30)
  summary = tables.generate(settings, spec=SPEC)
  # Rows 2 and 4 are of user 1, rows 3 and 6 of user 2; the header is row 1.
  assert [row["row"] for row in tables.quarantined()] == [2, 3]
  assert summary.quarantine_reasons == {"column 'age' of field 'age' is not a number": 4}
  assert summary.num_examples == 3


@pytest.mark.parametrize("limit", [0, 1 << 20])
@pytest.mark.parametrize(("users", "message"), [
    ([*USERS, USERS[0]], "listed once.*1 keys listed several times: 1"),
    ([*USERS, {"user": None, "age": 1, "city": "x"}], "every row has a key.*record 6"),
    ([{"user": 77, "age": 1, "city": "x"}], "none of the 7 keys")])
def test_side_tables_that_cannot_be_joined(tables, limit, users, message, monkeypatch):
  monkeypatch.setattr(steps.SortRange, "run", lambda *_: pytest.fail("a range is sorted"))
  tables.write("users.csv", users)
  with pytest.raises(DataError, match=f"side table .*users.csv.*{message}"):
    tables.generate(joined(tables, broadcast_limit_bytes=limit), spec=SPEC)


def test_a_side_table_with_a_broken_line(tables):
  with open(tables.folder / "users.csv", "a") as file:
    file.write("7,1\n")
  with pytest.raises(DataError, match="side table .*every line.*2 values for 3 columns"):
    tables.generate(joined(tables), spec=SPEC)


@pytest.mark.parametrize(("join", "message"), [
    (Join("users.csv", on="user", key="usr"), "column 'usr' of side table .*the join's key.*'user'"),
    (Join("users.csv", on="user", columns=("agee",)), "column 'agee' of side table .*'age'"),
    (Join("users.csv", on="usr", key="user", prefix="u_"), "column 'usr' of span 1 .*the join with .*'user'"),
    (Join("nothing.csv", on="user"), "nothing.csv.*at least one file")])
def test_joins_that_name_what_is_not_there(tables, join, message):
  spec = FeatureSpec((Field("age", "u_age", hash_ids=9), Field("user", "user", hash_ids=9)), SPEC.label, "t")
  join = dataclasses.replace(join, pattern=str(tables.folder / join.pattern))
  with pytest.raises(DataError, match=message):
    tables.generate(tables.settings(joins=(join,)), spec=spec)


def test_a_column_in_log_and_side_table_is_ambiguous(tables):
  tables.write("prices.csv", [{"item": "a", "price": 1}])
  settings = tables.settings(joins=(Join(str(tables.folder / "prices.csv"), on="item"),))
  spec = FeatureSpec((Field("price", "price", hash_ids=9),), SPEC.label, "t")
  with pytest.raises(DataError, match="field 'price'.*one place.*prefix"):
    tables.generate(settings, spec=spec)


def test_a_side_table_per_span(tables, rows):
  tables.write("users-1.csv", USERS)
  tables.generate(joined(tables, users="users-{SPAN}.csv"), spec=SPEC)
  expected = tables.contents()
  tables.generate(joined(tables), spec=SPEC)
  assert tables.contents() == expected


@pytest.mark.parametrize("table", ["item,name\n7,Caf\u00e9\n8,tea\n", "item;name\n7;Caf\u00e9\n8;tea\n",
                                   "7\tCaf\u00e9\n8\ttea\n"])
def test_a_side_table_has_a_delimiter_an_encoding_and_a_header_of_its_own(log, table):
  spec = FeatureSpec((Field("name", "name", vocabulary_ids=4, vocabulary=("Caf\u00e9", "tea")),), Label("click"))
  (log.folder / "log-1.csv").write_text("item\tclick\n7\t1\n8\t0\n")
  (log.folder / "items.csv").write_bytes(table.encode("latin-1"))
  # The delimiter is the one with which the columns are found.
  header = () if table.startswith("item") else ("item", "name")
  join = Join(str(log.folder / "items.csv"), "item", encoding="latin-1", header=header)
  log.generate(log.settings(delimiter="tab", joins=(join,)), spec=spec)
  assert sorted(zip(*log.examples(spec)[:2])) == [([2], 1), ([3], 0)]
  with pytest.raises(DataError, match="1 of 2 rows .*column 'name' of field 'name' holds bytes that are no UTF-8.*"
                     "name the encoding"):
    log.generate(log.settings(delimiter="\\t", joins=(dataclasses.replace(join, encoding="utf-8"),)), spec=spec)
