import dataclasses
import decimal
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from diet_tf.errors import DataError
from diet_tf.log.settings import FORMATS
from tests.tfx_components.log_gen.parquet_fixtures import fixture
from tfx_components.log_gen import columns, pieces, sources
from tfx_components.log_gen.sources import Piece


def read(piece, only=None):
  """Rows as dictionaries of canonical texts with their record numbers, and the rejected records."""
  rows, records, rejected, num_records = [], [], [], 0
  for block in sources.read_blocks(piece, only):
    texts = {name: column.row_texts() for name, column in block.columns.items()}
    rows += [{name: values[i] for name, values in texts.items()} for i in range(len(block))]
    records += block.records.tolist()
    rejected += block.rejected
    num_records = block.num_records
  return rows, records, rejected, num_records


def csv_piece(path, content, **kwargs):
  path.write_bytes(content)
  names, start = sources.csv_header(str(path), ",")
  return Piece(0, str(path), "csv", names=names, start=start, stop=len(content), **kwargs)


def test_csv_values_are_texts_but_whole_floats_and_nan(tmp_path):
  piece = csv_piece(tmp_path / "a.csv", b"a,b\n007,1.0\n1.50,nan\n2022-04-25,\n\"x,\"\"y\",-0.0\n 1 ,2.10\n")
  assert read(piece)[0] == [
      {"a": "007", "b": "1"}, {"a": "1.50", "b": ""}, {"a": "2022-04-25", "b": ""}, {"a": 'x,"y', "b": "0"},
      {"a": " 1 ", "b": "2.10"}]


def test_csv_bom_carriage_returns_and_no_last_line_feed(tmp_path):
  piece = csv_piece(tmp_path / "a.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4")
  assert read(piece) == ([{"a": "1", "b": "2"}, {"a": "3", "b": "4"}], [0, 2], [], 3)


@pytest.mark.parametrize("block_bytes", [1, 7, 20, 1000])
def test_a_quote_that_is_never_closed_costs_only_its_own_line(tmp_path, monkeypatch, block_bytes):
  monkeypatch.setattr(pieces, "BLOCK_BYTES", block_bytes)
  piece = csv_piece(tmp_path / "a.csv", b'a,b\n1,2\n3,"4\n5,6\n"7,8\n9,"x\ny",1\n')
  rows, records, rejected, num_records = read(piece)
  # A line is a row: the second half of the value that was meant to span two lines is judged on its own.
  assert rows == [{"a": "1", "b": "2"}, {"a": "5", "b": "6"}, {"a": 'y"', "b": "1"}]
  assert records == [0, 2, 5]
  assert [number for number, _, _ in rejected] == [1, 3, 4]
  assert num_records == 6


@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_a_lone_carriage_return_does_not_start_a_row(tmp_path, monkeypatch, block_bytes):
  monkeypatch.setattr(pieces, "BLOCK_BYTES", block_bytes)
  piece = csv_piece(tmp_path / "a.csv", b'a,b\n1,2\r3,4\n5,"6\n7,8\n')
  rows, _, rejected, _ = read(piece)
  assert rows == [{"a": "7", "b": "8"}] and [number for number, _, _ in rejected] == [0, 1]


def test_csv_quoted_line_breaks_where_they_are_declared(tmp_path):
  content = b'a,b\n1,"x\ny"\n3\n5,6\n'
  piece = dataclasses.replace(csv_piece(tmp_path / "a.csv", content), newlines_in_values=True)
  rows, _, rejected, num_records = read(piece)
  assert rows == [{"a": "1", "b": "x\ny"}, {"a": "5", "b": "6"}]
  assert len(rejected) == 1 and num_records == 3


def test_csv_without_a_header(tmp_path):
  (tmp_path / "a.csv").write_bytes(b"")
  with pytest.raises(DataError, match="empty first line"):
    sources.csv_header(str(tmp_path / "a.csv"), ",")


def test_a_repeated_name_is_refused_where_it_is_read(tmp_path):
  piece = csv_piece(tmp_path / "a.csv", b"a,b,a,\xff,\n1,2,3,4,5\n")
  assert read(piece, only=["b"])[0] == [{"b": "2"}]
  pq.write_table(pa.table([[1], [2], [3]], names=["a", "b", "a"]), tmp_path / "a.parquet")
  parquet = Piece(0, str(tmp_path / "a.parquet"), "parquet", row_groups=(0,))
  assert read(parquet, only=["b"])[0] == [{"b": "2"}]
  for one in (piece, parquet):
    for only in (["a", "b"], None):
      with pytest.raises(DataError, match=r"repeated: \['a'\]"):
        read(one, only)


def test_a_key_that_is_given_twice_breaks_its_row_where_it_is_read(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"a":1,"b":2,"b":3}\n{"a":4,"a":5,"b":6}\n{"a":7,"b":{"c":1,"c":2}}\n')
  rows, records, rejected, _ = read(Piece(0, str(path), "jsonl"), only=["a"])
  assert rows == [{"a": "1"}, {"a": "7"}] and records == [0, 2]
  assert [(number, reason) for number, reason, _ in rejected] == [(1, "key 'a' is given twice")]


def test_a_feature_that_is_given_twice_breaks_its_row_where_it_is_read(tmp_path):
  path = str(tmp_path / "a.tfrecord")
  one, other = (tf.train.Example.FromString(serialized(a=[number], b=[number])).features for number in (1, 2))
  del other.feature["a"]
  # Messages of protobuf are merged where their bytes are put together: the map has "b" twice.
  merged = one.SerializeToString() + other.SerializeToString()
  with tf.io.TFRecordWriter(path) as writer:
    writer.write(serialized(a=[3], b=[4], c=[b"b \n\x01b"]))
    writer.write(b"\n" + bytes([len(merged)]) + merged)
  assert read(Piece(0, path, "tfrecord"), only=["a"])[0] == [{"a": "3"}, {"a": "1"}]
  rows, records, rejected, _ = read(Piece(0, path, "tfrecord"), only=["b"])
  assert rows == [{"b": "4"}] and records == [0]
  assert [(number, reason) for number, reason, _ in rejected] == [(1, "feature 'b' is given twice")]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_every_cut_of_a_text_file_gives_the_same_rows(tmp_path, kind):
  lines = [b"1,aa", b"", b"22,b", b"333,", b"4,dddd"] if kind == "csv" else [
      b'{"a":1}', b"", b'{"a":"22"}', b'{"b":3.0}', b'{"a":null}']
  header = b"a,b\n" if kind == "csv" else b""
  content = header + b"\n".join(lines)
  path = tmp_path / f"log.{kind}"
  path.write_bytes(content)
  whole = Piece(0, str(path), kind, names=("a", "b") if kind == "csv" else (), start=len(header), stop=len(content))
  expected, _, rejected, num_records = read(whole)
  assert len(expected) == 4 and not rejected and num_records == 5
  for cut in range(len(header) + 1, len(content)):
    first, second = dataclasses.replace(whole, stop=cut), dataclasses.replace(whole, start=cut)
    rows_1, _, _, records_1 = read(first)
    rows_2, _, _, records_2 = read(second)
    got = [{name: text for name, text in row.items() if text} for row in rows_1 + rows_2]
    assert got == [{name: text for name, text in row.items() if text} for row in expected]
    assert records_1 + records_2 == num_records


JSON_LINES = [
    ({"a": 1, "b": "x"}, {"a": "1", "b": "x"}), ({"a": 1.0}, {"a": "1"}), ({"a": True}, {"a": "1"}),
    ({"a": "1.0"}, {"a": "1.0"}), ({"a": None, "b": ""}, {}), ({"a": 9007199254740993}, {"a": "9007199254740993"}),
    ({"a": 0.1}, {"a": "0.1"}), ({"b": "2022-04-25"}, {"b": "2022-04-25"}), ({"b": "Cafe\u0301"}, {"b": "Caf\u00e9"}),
    ({"a": {"x": 1}}, {"a": '{"x": 1}'}), ({"a": [1]}, {"a": "[1]"}), ({"a": 2**70}, {"a": str(2**70)})]


def test_json_values_do_not_depend_on_their_neighbours(tmp_path):
  path = tmp_path / "a.jsonl"
  texts = {}
  for number, (value, expected) in enumerate(JSON_LINES):
    for other, (neighbour, _) in enumerate(JSON_LINES):
      path.write_text(json.dumps(value) + "\n" + json.dumps(neighbour) + "\n")
      rows = read(Piece(0, str(path), "jsonl"))[0]
      texts[number, other] = {name: text for name, text in rows[0].items() if text}
      assert texts[number, other] == expected, (value, neighbour)


def test_json_lines_that_are_no_object_are_rejected(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes(b'{"a":1}\n[1]\n{"a":2\n{"a":1}{"a":2}\n{"a":1,"a":2}\n{"a":"\xff"}\n{"a":3}\n')
  for only in (None, ["a"]):
    rows, records, rejected, _ = read(Piece(0, str(path), "jsonl"), only)
    assert rows == [{"a": "1"}, {"a": "'\\udcff'"}, {"a": "3"}] and records == [0, 5, 6]
    assert [number for number, _, _ in rejected] == [1, 2, 3, 4]


JUNK = [b'"\xff"', b'"\\x"', b'"\t"', b"[" * 5000 + b"]" * 5000, b'{"k":1,"k":2}', b"9" * 5000, b"nul", b'"}{,"',
        b'"\\""']


@pytest.mark.parametrize("junk", JUNK, ids=[str(number) for number in range(len(JUNK))])
def test_json_in_keys_that_nothing_reads_cannot_break_a_row(tmp_path, junk):
  path = tmp_path / "a.jsonl"
  path.write_bytes(b'{"a":1,"b":' + junk + b'}\n{"b":' + junk + b',"a":"x"}\n')
  assert read(Piece(0, str(path), "jsonl"), only=["a"])[0] == [{"a": "1"}, {"a": "x"}]


def test_a_lone_surrogate_is_marked(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text('{"a":"\\ud800"}\n')
  block = next(sources.read_blocks(Piece(0, str(path), "jsonl")))
  assert block.columns["a"].flaws.tolist() == [1]


def test_parquet_types(tmp_path):
  table = pa.table({
      "int": pa.array([1, None], pa.int64()), "float": pa.array([1.0, 0.1], pa.float32()),
      "bool": pa.array([True, False]), "text": ["x", ""], "date": pa.array([19107, None], pa.date32()),
      "time": pa.array([1_500, None], pa.timestamp("ms")), "list": [[1, 2], None],
      "dict": pa.array(["u", "v"]).dictionary_encode(), "none": pa.nulls(2),
      "binary": pa.array([b"x", b"\xff"]), "decimal": pa.array([decimal.Decimal("1.00"), decimal.Decimal("2.50")])})
  pq.write_table(table, tmp_path / "a.parquet")
  piece = Piece(0, str(tmp_path / "a.parquet"), "parquet", row_groups=(0,))
  rows = read(piece)[0]
  assert rows[0] == {"int": "1", "float": "1", "bool": "1", "text": "x", "date": "2022-04-25", "time": "1500000",
                     "list": "[1, 2]", "dict": "u", "none": "", "binary": "x", "decimal": "1"}
  assert {name: rows[1][name] for name in ("int", "float", "bool", "text", "time", "list", "dict")} == {
      "int": "", "float": "0.1", "bool": "0", "text": "", "time": "", "list": "", "dict": "v"}
  found = next(sources.read_blocks(piece)).columns
  assert found["binary"].flaws[found["binary"].codes].tolist() == [columns.SOUND, columns.UNDECODABLE]
  assert found["list"].flaws[found["list"].codes].tolist() == [columns.LIST, columns.SOUND]


def test_a_uuid_is_its_text(tmp_path):
  # As DuckDB writes it; Arrow itself reads 16 bytes.
  rows = read(Piece(0, fixture(tmp_path, "uuid"), "parquet", row_groups=(0,)))[0]
  assert rows == [{"user": "1", "x": "30303030-3030-3030-3030-303030303030"}]


@pytest.mark.parametrize("kind", ["float16", "int128", "variant", "byte_stream_split"])
def test_a_parquet_type_that_arrow_does_not_know_is_refused_where_it_is_read(tmp_path, kind):
  piece = Piece(0, fixture(tmp_path, kind), "parquet", row_groups=(0,))
  assert read(piece, only=["user"])[0] == [{"user": "1"}]
  if kind == "variant":
    assert next(sources.read_blocks(piece, ["x"])).columns["x"].flaws.tolist() == [columns.OBJECT]
    return
  with pytest.raises(DataError, match="column 'x' of .*the file is sound.*write the column as"):
    read(piece, only=["x"])
  # Where all columns are read, as for a first look at a log, this one is left out.
  assert read(piece)[0] == [{"user": "1"}]


def test_a_parquet_type_that_only_the_arrow_schema_has_is_read_as_parquet_has_it(tmp_path):
  piece = Piece(0, fixture(tmp_path, "string_view"), "parquet", row_groups=(0,))
  assert read(piece)[0] == [{"user": "1", "x": "a"}]


def test_parquet_row_groups_and_columns(tmp_path):
  pq.write_table(pa.table({"a": range(6), "b": range(6)}), tmp_path / "a.parquet", row_group_size=2)
  rows, records, _, _ = read(Piece(0, str(tmp_path / "a.parquet"), "parquet", row_groups=(1, 2)), only=["b", "zz"])
  assert rows == [{"b": str(i)} for i in range(2, 6)] and records == [0, 1, 2, 3]


def serialized(**values):
  example = tf.train.Example()
  for name, value in values.items():
    kind = {int: "int64_list", float: "float_list", bytes: "bytes_list"}[type(value[0])]
    getattr(example.features.feature[name], kind).value.extend(value)
  return example.SerializeToString()


@pytest.mark.parametrize("mixed", [False, True])
def test_tfrecord_examples(tmp_path, mixed):
  path = str(tmp_path / "a.tfrecord")
  with tf.io.TFRecordWriter(path) as writer:
    writer.write(serialized(a=[1], b=[b"x"]))
    writer.write(serialized(a=[2], c=[0.1], d=[1, 2]))
    if mixed:
      # Another type for the same feature, and a record that is no Example: read one by one.
      writer.write(serialized(a=[3.0]))
      writer.write(b"garbage")
  rows, records, rejected, _ = read(Piece(0, path, "tfrecord"))
  assert rows[0] == {"a": "1", "b": "x", "c": "", "d": ""}
  assert rows[1] == {"a": "2", "b": "", "c": "0.1", "d": "[1, 2]"}
  if mixed:
    assert rows[2]["a"] == "3" and records == [0, 1, 2]
    assert [number for number, _, _ in rejected] == [3]


def test_every_format_has_a_suffix_and_a_reader():
  assert set(FORMATS) == set(sources.SUFFIXES.values()) == set(sources._READERS)


@pytest.mark.parametrize(("name", "kind"), [
    ("x.csv", "csv"), ("x.CSV.gz", "csv"), ("part-0.snappy.parquet", "parquet"), ("x.ndjson", "jsonl"),
    ("x.tfrecord.gz", "tfrecord")])
def test_format_by_suffix(name, kind):
  assert sources.format_of(f"folder/{name}", None) == kind
  assert sources.format_of(f"folder/{name}", "tfrecord") == "tfrecord"


def test_truncated_gzip(tmp_path):
  path = tmp_path / "a.jsonl.gz"
  path.write_bytes(gzip.compress(b'{"a":1}\n' * 1000)[:-20])
  with pytest.raises(DataError, match="complete gzip"):
    read(Piece(0, str(path), "jsonl"))


def test_blocks_are_bounded(tmp_path, monkeypatch):
  monkeypatch.setattr(pieces, "BLOCK_BYTES", 64)
  piece = csv_piece(tmp_path / "a.csv", b"a\n" + b"12345\n" * 100)
  blocks = list(sources.read_blocks(piece))
  sizes = [len(block) for block in blocks]
  assert sum(sizes) == 100 and max(sizes) <= 12
  assert np.all(np.diff(np.concatenate([block.records for block in blocks])) == 1)
