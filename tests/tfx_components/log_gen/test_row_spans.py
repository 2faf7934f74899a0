import gzip

import pytest

from diet_tf.errors import ConfigError, DataError
from diet_tf.log.features import FeatureSpec
from diet_tf.log.settings import LogSettings
from tests.tfx_components.log_gen.conftest import SPEC, WRITERS
from tfx_components.log_gen import pieces, plan, sources

TIMELESS = FeatureSpec(SPEC.fields, SPEC.label)
# Two files, of seven rows and of four: spans of three rows are rows 0 to 2, 3 to 5 and 6 to 8, and two are left.
ROWS = [{"user": number, "item": "ab"[number % 2], "price": 1.5, "click": number % 2, "t": 100 - number}
        for number in range(11)]


def users(settings, span):
  """The users of a span's rows, as readers give them."""
  found = []
  for piece in plan.log_pieces(settings, plan.span_paths(settings.pattern, span), span):
    for block in sources.read_blocks(piece, ["user"]):
      found += block.columns["user"].row_texts().tolist() if block.columns else []
  return list(map(int, found))


@pytest.mark.parametrize("kind", [*sorted(WRITERS), "csv.gz", "tfrecord.gz"])
def test_spans_are_so_many_rows_in_the_order_of_files_and_lines(log, kind, monkeypatch):
  monkeypatch.setattr(pieces, "BLOCK_BYTES", 16)
  for name, rows in (("a", ROWS[:7]), ("b", ROWS[7:])):
    log.write(f"{name}.{kind.removesuffix('.gz') if kind == 'csv.gz' else kind}", rows,
              **({"row_group_size": 2} if kind == "parquet" else {}))
    if kind == "csv.gz":
      path = log.folder / f"{name}.csv"
      (log.folder / f"{name}.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
  settings = log.settings(f"*.{kind}", span_rows=3, piece_bytes=20)
  assert plan.available_spans(settings) == [0, 1, 2]
  assert [users(settings, span) for span in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
  assert [plan.rows_left(settings, plan.span_paths(settings.pattern, None), span) for span in range(3)] == [0, 0, 2]
  with pytest.raises(DataError, match="span 3: it has 3 rows.*2 rows of it, of 11 in all"):
    users(settings, 3)


def test_a_span_by_rows_is_the_span_of_a_file_of_these_rows(log):
  log.write("all.csv", ROWS)
  log.write("log-1.csv", ROWS[4:8])
  log.generate(spec=TIMELESS)
  expected = log.contents()
  summary = log.generate(log.settings("all.csv", span_rows=4), TIMELESS, span=1)
  assert log.contents() == expected and summary.num_examples == 4
  assert summary.rows.remarks[-1] == ("3 rows after span 1 are no whole span of 4 rows (log.span_rows), and are left "
                                      "until they are.")
  # Where a time is declared it orders the rows of a span, and not the spans.
  log.generate(log.settings("all.csv", span_rows=4), span=0)
  assert log.examples()[3] == [97, 98, 99, 100]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_blank_lines_are_no_rows_and_any_encoding_is_counted(log, encoding, monkeypatch):
  text = "user,item,click\n\n0,\u00e9,1\n\n1,a,0\r\n\r\n2,b,1\n3,\u00e5,0"
  (log.folder / "log.csv").write_bytes(text.encode(encoding))
  for size in (1, 7, 1000):
    monkeypatch.setattr(pieces, "BLOCK_BYTES", size)
    settings = log.settings("log.csv", span_rows=2, encoding=encoding)
    assert plan.available_spans(settings) == [0, 1]
    assert [users(settings, span) for span in (0, 1)] == [[0, 1], [2, 3]]


def test_a_broken_row_is_a_row_and_is_told_with_its_line(log):
  log.write("log.csv", ROWS)
  lines = (log.folder / "log.csv").read_text().splitlines()
  lines[6] = "5,a,1.5"
  (log.folder / "log.csv").write_text("\n".join(lines) + "\n")
  log.generate(log.settings("log.csv", span_rows=4, max_quarantine_share=0.5), TIMELESS, span=1)
  row, = log.quarantined()
  assert row["row"] == 7 and log.examples(TIMELESS)[1].count(1) == 1


def test_a_log_without_a_whole_span_is_refused(log):
  log.write("log.csv", ROWS)
  with pytest.raises(DataError, match="a span has 12 rows.*11 rows in all.*fewer rows"):
    plan.available_spans(log.settings("log.csv", span_rows=12))


@pytest.mark.parametrize(("keys", "message"), [
    ({"span_rows": 5, "span_column": "t", "span_seconds": 3}, "or from span_rows.*span_rows 5"),
    ({"span_rows": 0}, "at least 1"), ({"span_rows": 5, "span_seconds": 3}, "together with span_column"),
    ({"span_rows": 5, "newlines_in_values": True}, "counted by their lines"), ({}, "or from span_rows")])
def test_spans_have_one_source(keys, message):
  with pytest.raises(ConfigError, match=message):
    LogSettings("log.csv", **keys)
  with pytest.raises(ConfigError, match="or from span_rows"):
    LogSettings("log-{SPAN}.csv", span_rows=5)
