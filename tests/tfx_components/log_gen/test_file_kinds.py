import bz2
import gzip
import lzma
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diet_tf.errors import DataError
from tests.tfx_components.log_gen.conftest import write_csv, write_jsonl
from tfx_components.log_gen import file_kinds, plan, sources
from tfx_components.log_gen.sources import Piece

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
        ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
        ".lz4": lambda content: pa.compress(content, "lz4", asbytes=True)}


def texts(log, name, **kwargs):
  """Per row of a file its texts, as LogGen reads it."""
  path = str(log.folder / name)
  blocks = [block for piece in plan.log_pieces(log.settings(**kwargs), [path], None)
            for block in sources.read_blocks(piece)]
  return [{name: column.row_texts()[row] for name, column in block.columns.items()}
          for block in blocks for row in range(len(block))]


def packed(codec, content):
  if codec == ".zst" or codec == ".lz4":
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, file_kinds.CODECS[codec]) as stream:
      stream.write(content)
    return sink.getvalue().to_pybytes()
  return PACK[codec](content)


@pytest.mark.parametrize("codec", sorted(PACK))
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_compressed_text_is_read(log, rows, kind, codec):
  plain = f"log-1.{kind}"
  log.write(plain, rows)
  content = (log.folder / plain).read_bytes()
  # A file may be several that were compressed one by one, and its name in capitals.
  cut = content.index(b"\n") + 1
  path = log.folder / f"packed.{kind}{codec}".upper()
  path.write_bytes(packed(codec, content[:cut]) + packed(codec, content[cut:]))
  assert texts(log, path.name) == texts(log, plain) and len(texts(log, plain)) == len(rows)


@pytest.mark.parametrize("codec", sorted(PACK))
def test_compressed_text_that_is_cut_or_none_is_named(log, codec):
  path = log.folder / f"log-1.csv{codec}"
  path.write_bytes(packed(codec, b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919) for i in range(50_000)))[:-9])
  with pytest.raises(DataError, match=rf"log-1.csv{codec}: it is a complete {file_kinds.CODECS[codec]} file"):
    texts(log, path.name)
  path.write_bytes(b"a,b\n1,2\n")
  with pytest.raises(DataError, match=rf"log-1.csv{codec}: it is a complete {file_kinds.CODECS[codec]} file"):
    texts(log, path.name)


def test_a_tab_parts_the_values_of_tsv(log):
  (log.folder / "a.tsv").write_text("a\tb\n1,5\t2\n")
  (log.folder / "a.CSV").write_text("a,b\n1,2\n")
  (log.folder / "comma.tsv").write_text("a,b\n1,2\n")
  assert texts(log, "a.tsv") == [{"a": "1,5", "b": "2"}] and texts(log, "a.CSV") == [{"a": "1", "b": "2"}]
  assert texts(log, "comma.tsv", delimiter=",") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(("name", "received", "remedy"), [
    ("x.orc", "ORC", "Parquet"), ("x.AVRO", "Avro", "Parquet"), ("x.zip", "zip archive", "unpack"),
    ("x.csv.snappy", "snappy", "gzip or zstd"), ("x.xlsx", "Excel", "CSV"), ("x.parquet.gz", "gzip", "decompress it"),
    ("x.tfrecord.zst", "zstd", "gzip"), ("x.txt", "no format", "log.format"), ("x", "no format", "log.format")])
def test_what_is_not_read_is_named_with_its_remedy(name, received, remedy):
  with pytest.raises(DataError, match=f"Received: .*{received}.*Remedy: .*{remedy}"):
    file_kinds.format_of(f"folder/{name}", None)


@pytest.mark.parametrize(("content", "received"), [
    (b"", "no byte"), ("\ufeffa,b\n1,2\n".encode("utf-16-le"), "UTF-16"), ("a\n".encode("utf-32"), "UTF-32"),
    (gzip.compress(b"a\n", mtime=0), "gzip"), (b"PAR1....PAR1", "Parquet"), (b"PK\x03\x04zip", "zip archive")])
def test_first_bytes_that_say_otherwise_than_the_name_are_told(log, content, received):
  (log.folder / "log-1.csv").write_bytes(content)
  with pytest.raises(DataError, match=f"log-1.csv.*Received: .*{received}"):
    texts(log, "log-1.csv")


def test_json_that_is_one_list_is_told(log):
  (log.folder / "a.json").write_text('\ufeff[\n  {"a": 1}\n]\n')
  with pytest.raises(DataError, match="a list, as one JSON value.*one object a line"):
    texts(log, "a.json")


def spark_folder(folder, rows):
  """What Spark leaves: parts, an empty one, and its notes."""
  folder.mkdir(parents=True)
  for number, part in enumerate((rows[:3], rows[3:])):
    pq.write_table(pa.Table.from_pylist(part), folder / f"part-0000{number}-x.snappy.parquet")
    (folder / f".part-0000{number}-x.snappy.parquet.crc").write_bytes(b"crc")
  for name in ("_SUCCESS", "_metadata", "_committed_1", "part-0.crc"):
    (folder / name).write_bytes(b"")
  (folder / "_temporary" / "0").mkdir(parents=True)
  (folder / "_temporary" / "0" / "part-9.parquet").write_bytes(b"half")


def test_a_folder_named_like_a_file_stands_for_its_parts(log, rows):
  spark_folder(log.folder / "day-1.parquet", rows)
  spark_folder(log.folder / "day-2.parquet", rows)
  (log.folder / "day-2.parquet" / "000001_0").write_bytes(
      (log.folder / "day-2.parquet" / "part-00000-x.snappy.parquet").read_bytes())
  settings = log.settings("day-{SPAN}.parquet")
  assert plan.available_spans(settings) == [1, 2]
  summary = log.generate(settings, span=1)
  assert summary.num_rows == len(rows) and [path.rpartition("/")[2] for path in summary.files] == [
      "part-00000-x.snappy.parquet", "part-00001-x.snappy.parquet"]
  # A name without a suffix, as Hive gives, is of the folder's format.
  assert log.generate(settings, span=2).num_rows == len(rows) + 3


def test_parts_of_text_without_a_row_are_left_out(log, rows):
  folder = log.folder / "day-1.csv"
  folder.mkdir()
  write_csv(folder / "part-0.csv", rows)
  (folder / "part-1.csv").write_bytes(b"")
  assert [path.rpartition("/")[2] for path in plan.span_paths(f"{log.folder}/day-{{SPAN}}.csv", 1)] == ["part-0.csv"]


@pytest.mark.parametrize(("names", "received"), [
    (["_SUCCESS"], "_SUCCESS"), ([], "an empty folder"),
    (["_delta_log/0.json", "part-0.parquet"], "a table of Delta Lake"), ([".hoodie/x", "a.parquet"], "Apache Hudi")])
def test_a_folder_without_rows_or_of_a_table_with_a_log_is_refused(tmp_path, names, received):
  folder = tmp_path / "day-1.parquet"
  folder.mkdir()
  for name in names:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
  with pytest.raises(DataError, match=f"day-1.parquet.*Received: .*{received}"):
    plan.span_paths(f"{tmp_path}/day-{{SPAN}}.parquet", 1)


def test_files_within_a_table_with_a_log_are_refused(tmp_path):
  (tmp_path / "table" / "_delta_log").mkdir(parents=True)
  (tmp_path / "table" / "date=2024-01-01").mkdir()
  (tmp_path / "table" / "date=2024-01-01" / "a.parquet").write_bytes(b"x")
  with pytest.raises(DataError, match="table: .*Delta Lake.*export"):
    plan.span_paths(f"{tmp_path}/table/date={{SPAN}}/*.parquet", 20240101)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "tfrecord", "csv.gz"])
@pytest.mark.parametrize(("error", "received"), [
    (FileNotFoundError(2, "No such file"), "it is gone.*run the span again"),
    (PermissionError(13, "Permission denied"), "Permission denied.*the right to read")])
def test_a_file_that_is_gone_or_closed_by_the_time_it_is_read_is_named(log, rows, monkeypatch, kind, error, received):
  path = log.folder / f"log-1.{kind}"
  if kind == "csv.gz":
    path.write_bytes(gzip.compress(b"a\n1\n"))
  else:
    log.write(path.name, rows)
  piece, = plan.log_pieces(log.settings(), [str(path)], None)
  os.remove(path)

  def refuse(path, *_):
    raise error

  monkeypatch.setattr("diet_tf.io.files.open_to_read", refuse)
  with pytest.raises(DataError, match=f"{path}.*{received}"):
    list(sources.read_blocks(piece))


def test_a_file_that_vanishes_while_a_span_is_read_is_named(log, rows, monkeypatch):
  path = log.write("log-1.csv", rows)
  planned = plan.log_pieces

  def planned_and_removed(*arguments):
    pieces = planned(*arguments)
    os.remove(path)
    return pieces

  monkeypatch.setattr(plan, "log_pieces", planned_and_removed)
  with pytest.raises(DataError, match="log-1.csv.*it is gone"):
    log.generate()


def test_a_piece_of_compressed_lines_starts_behind_the_header(tmp_path):
  path = tmp_path / "a.csv.bz2"
  path.write_bytes(bz2.compress(b"a\n1\n2\n"))
  blocks = list(sources.read_blocks(Piece(0, str(path), "csv", names=("a",), start=2)))
  assert [text for block in blocks for text in block.columns["a"].row_texts()] == ["1", "2"]


def test_json_lines_of_dates_are_read_from_a_partitioned_tree(log, rows):
  for day in ("2024-01-30", "2024-01-31"):
    folder = log.folder / f"dt={day}" / "hour=03"
    folder.mkdir(parents=True)
    write_jsonl(folder / "part-0.jsonl", rows)
  settings = log.settings("dt={SPAN}/hour=*/part-*.jsonl")
  assert plan.available_spans(settings) == [20240130, 20240131]
  assert log.generate(settings, span=20240131).num_rows == len(rows)
