import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diet_tf.errors import DataError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.settings import Join
from tests.tfx_components.log_gen.conftest import ROWS
from tfx_components.log_gen import nested, plan, sources

# The rows of `ROWS` with objects: user.id, item.id, item.price, event.info.click and event.t.
OBJECTS = [{"user": {"id": row["user"]}, "item": {"id": row["item"], "price": row["price"]},
            "event": {"info": {"click": row["click"]}, "t": row["t"]}} for row in ROWS]
NESTED = FeatureSpec(
    (Field("user", "user.id", hash_ids=50), Field("item", "item.id", vocabulary_ids=6),
     Field("price", "item.price", boundaries=(0.0, 1.0, 5.0))), Label("event.info.click"), "event.t")
FLAT = [{"user.id": row["user"], "item.id": row["item"], "item.price": row["price"], "event.info.click": row["click"],
         "event.t": row["t"]} for row in ROWS]


def test_names_lead_through_objects_and_a_column_of_the_name_comes_first():
  value = {"a": {"b": 1, "c.d": 2, "e": {"f": None}}, "a.b": 3, "g": [{"h": 1}], "i": 4}
  names = ("a.b", "a.c.d", "a.e.f", "a.e", "g.h", "i.j", "i", "x.y")
  found = [nested.value_of(value, name) for name in names]
  assert found == [3, 2, None, {"f": None}, nested.ABSENT, nested.ABSENT, 4, nested.ABSENT]
  schema = pa.table({name: [inner] for name, inner in value.items()}).schema
  assert [nested.place_of(schema, name) for name in names] == [
      (1,), (0, 1), (0, 2, 0), (0, 2), None, None, (3,), None]
  assert nested.leaf_names(schema) == ["a.b", "a.c.d", "a.e.f", "a.b", "g", "i"]
  assert nested.flattened(value) == {"a.b": 3, "a.c.d": 2, "a.e.f": None, "g": [{"h": 1}], "i": 4}
  assert [nested.num_places(schema, name) for name in names] == [2, 1, 1, 1, 0, 0, 1, 0]
  assert list(nested.splits(".a.b.")) == [(".a", "b.")]
  assert nested.keys_of(["a.b.c", "d"]) == {"a.b.c", "a", "a.b", "d"}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "tfrecord", "csv"])
def test_nested_values_give_the_bytes_of_columns_of_their_names(log, kind):
  log.write("flat-1.csv", FLAT)
  log.generate(log.settings("flat-{SPAN}.csv"), NESTED)
  expected = log.contents()
  # TFRecords and CSV hold no objects, but columns of such names.
  log.write(f"log-1.{kind}", OBJECTS if kind in ("jsonl", "parquet") else FLAT)
  log.generate(log.settings(f"log-{{SPAN}}.{kind}"), NESTED)
  assert log.contents() == expected


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_spans_come_from_nested_times(log, kind):
  log.write(f"log.{kind}", [{**row, "event": {**row["event"], "t": 1_700_000_000 + row["event"]["t"]}}
                            for row in OBJECTS])
  settings = log.settings(f"log.{kind}", span_column="event.t", span_seconds=30, span_origin=1_700_000_010)
  assert plan.available_spans(settings) == [0, 1, 2]
  log.generate(settings, NESTED, span=0)
  assert log.examples(NESTED)[3] == [1_700_000_010, 1_700_000_020, 1_700_000_030]


def read(path, *names):
  """Per row the texts of the columns, of a file that is cut as it is for no span."""
  piece = sources.Piece(0, str(path), sources.format_of(str(path), None))
  return [tuple(str(block.columns[name].row_texts()[row]) if name in block.columns else None for name in names)
          for block in sources.read_blocks(piece, names) for row in range(len(block))]


def test_json_values_do_not_depend_on_their_neighbours(tmp_path):
  lines = ['{"u": {"id": 1, "at": "2024-01-01 00:00:00"}}', '{"u": {"id": "x", "at": null}}', '{"u": {}}',
           '{"u": 3}', '{"u": [{"id": 1}]}', "{}", '{"u": null}', '{"u.id": 7}', '{"u": {"id": [1]}}',
           '{"u": {"id": 12345678901234567890}}']
  alone = []
  for line in lines:
    (tmp_path / "one.jsonl").write_text(line + "\n")
    alone += read(tmp_path / "one.jsonl", "u.id", "u.at")
  (tmp_path / "all.jsonl").write_text("\n".join(lines) + "\n")
  together = [tuple(text or None for text in row) for row in read(tmp_path / "all.jsonl", "u.id", "u.at")]
  assert together == [tuple(text or None for text in row) for row in alone]
  assert together[:3] == [("1", "2024-01-01 00:00:00"), ("x", None), (None, None)] and together[-3:] == [
      ("7", None), ("[1]", None), ("12345678901234567890", None)]


@pytest.mark.parametrize("lines", [('{"u.id": 5}', '{"u": {"id": 6}}'), ('{"a": {"b.c": 5}}', '{"a.b": {"c": 6}}'),
                                   ('{"u.id": 5, "u": {"id": 7}}', '{"u": {"id": 6}}')])
def test_a_name_that_leads_to_two_places_is_read_row_by_row(tmp_path, lines):
  (tmp_path / "all.jsonl").write_text("\n".join(lines) + "\n")
  name = "a.b.c" if "a.b" in lines[1] else "u.id"
  assert read(tmp_path / "all.jsonl", name) == [("5",), ("6",)]
  piece = sources.Piece(0, str(tmp_path / "all.jsonl"), "jsonl")
  found = [block.columns[name].row_texts().tolist() for block in sources.read_blocks(piece, None, also=[name])]
  assert found == [["5", "6"]]


def test_a_key_on_the_way_that_is_given_twice_breaks_its_row(log):
  lines = [json.dumps(row) for row in OBJECTS]
  lines[0] = '{"user": {"id": 1, "id": 2}, "item": {"x": 1, "x": 2}, "event": {"info": {"click": 1}, "t": 5}}'
  lines[1] = '{"user": {"id": 1}, "user": {"id": 1}, "event": {"info": {"click": 1}, "t": 5}}'
  lines[2] = lines[2].replace('"price"', '"other": 1, "other": 2, "price"')
  (log.folder / "log-1.jsonl").write_text("\n".join(lines) + "\n")
  summary = log.generate(log.settings("log-{SPAN}.jsonl", max_quarantine_share=0.5), NESTED)
  assert summary.quarantine_reasons == {"key 'user' is given twice": 1, "key 'user.id' is given twice": 1}


def test_objects_of_a_side_table_are_joined(log):
  log.write("log-1.csv", [{"user": row["user"], "click": row["click"], "t": row["t"]} for row in ROWS])
  users = [{"key": {"id": number}, "at": {"city": f"c{number}"}} for number in range(1, 6)]
  spec = FeatureSpec((Field("city", "user_at.city", hash_ids=50),), Label("click"), "t")
  contents = []
  for kind in ("jsonl", "parquet"):
    path = log.write(f"users.{kind}", users)
    summary = log.generate(log.settings(joins=(Join(path, on="user", key="key.id", prefix="user_"),)), spec)
    assert summary.joins[0]["num_matched"] == 7
    contents.append(log.contents())
  assert contents[0] == contents[1] and len({row[0] for row in log.examples(spec)[0]}) == 5


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_value_that_no_object_holds_is_told(log, kind):
  log.write(f"log-1.{kind}", OBJECTS)
  spec = FeatureSpec((Field("user", "user.name", hash_ids=50),), Label("event.info.click"))
  with pytest.raises(DataError, match="column 'user.name'.*it is there, for field 'user'.*keys that lead to a value"):
    log.generate(log.settings(f"log-{{SPAN}}.{kind}"), spec)
  spec = FeatureSpec((Field("user", "user", hash_ids=50),), Label("event.info.click"))
  with pytest.raises(DataError, match="is an object with values inside.*name a value within it, as column: user.id"):
    log.generate(log.settings(f"log-{{SPAN}}.{kind}"), spec)


def test_with_dropped_duplicates_nested_values_are_read_beside_all_columns(log):
  log.write("log-1.jsonl", [*OBJECTS, OBJECTS[0]])
  summary = log.generate(log.settings("log-{SPAN}.jsonl", drop_duplicates=True), NESTED)
  assert (summary.num_duplicates, summary.num_examples) == (1, 7)
  assert log.examples(NESTED)[1] == [0, 0, 1, 1, 1, 0, 0]


def test_only_the_values_that_are_read_are_taken_from_a_parquet_file(tmp_path):
  pq.write_table(pa.table({"u": [{"id": 1, "h": {"x": 2}}], "v": [3]}), tmp_path / "a.parquet")
  piece, = plan.log_pieces(plan.LogSettings(str(tmp_path / "a.parquet"), span_column="v", span_seconds=1),
                           [str(tmp_path / "a.parquet")], None)
  block, = sources.read_blocks(piece, ["u.h.x", "v"])
  assert set(block.columns) == {"u.h.x", "v"} and {"u", "u.h.x"} <= block.names
  assert sources.file_columns(piece) == ("u", "v", "u.h.x", "u.id")
  block, = sources.read_blocks(piece, flat=True)
  assert set(block.columns) == block.names == {"u.id", "u.h.x", "v"}
