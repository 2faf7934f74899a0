import pytest

from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.log.settings import LogSettings
from tfx_components.log_gen import plan, sources


def touch(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("a\n1\n")


@pytest.mark.parametrize(("pattern", "names", "spans"), [
    ("date={SPAN}.csv", ["date=20220427.csv", "date=20220425.csv", "date=x.csv", "other=1.csv"], [20220425, 20220427]),
    ("{SPAN}/part-*.csv", ["10/part-0.csv", "10/part-1.csv", "9/part-0.csv", "9/_SUCCESS", "8/other.csv"], [9, 10]),
    ("{SPAN}/log-{SPAN}.csv", ["1/log-1.csv", "2/log-3.csv"], [1]),
    ("h{SPAN}.[ct]sv", ["h007.csv", "h08.tsv", "h9.psv"], [7, 8])])
def test_available_spans_from_paths(log, pattern, names, spans):
  touch(log.folder, *names)
  assert plan.available_spans(log.settings(pattern)) == spans


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "tfrecord"])
def test_available_spans_from_a_time_column(log, rows, kind):
  log.write(f"all.{kind}", rows)
  settings = log.settings(f"all.{kind}", span_column="t", span_seconds=25, span_origin=30, span_time_unit="s")
  # floor((t - 30) / 25) of 10 ... 70.
  assert plan.available_spans(settings) == [-1, 0, 1]


def test_span_time_unit(log):
  log.write("all.csv", [{"t": 1_500}, {"t": 4_000}])
  settings = log.settings("all.csv", span_column="t", span_seconds=1.5, span_time_unit="ms")
  assert plan.available_spans(settings) == [1, 2]


def test_paths_of_a_span_are_sorted_and_zeros_may_lead(log):
  touch(log.folder, "007-b.csv", "7-a.csv", "17-a.csv")
  paths = plan.span_paths(str(log.folder / "{SPAN}-*.csv"), 7)
  assert [path.rpartition("/")[2] for path in paths] == ["007-b.csv", "7-a.csv"]


def test_next_span(log):
  touch(log.folder, "3.csv", "5.csv")
  settings = log.settings("{SPAN}.csv")
  assert [plan.next_span(settings, after) for after in (None, 2, 3, 4)] == [3, 3, 5, 5]
  with pytest.raises(DataError, match="later than 5"):
    plan.next_span(settings, 5)


def test_text_files_are_cut_into_pieces_that_cover_them(log, rows):
  path = log.write("log-1.csv", rows)
  pieces = plan.log_pieces(log.settings(piece_bytes=25), [path, path], 1)
  own = [piece for piece in pieces[:len(pieces) // 2]]
  assert [piece.index for piece in pieces] == list(range(len(pieces)))
  assert own[0].start == len("user,item,price,click,t\n") and own[-1].stop == files.num_bytes(path)
  assert all(a.stop == b.start for a, b in zip(own, own[1:]))
  assert sum(len(block) for piece in own for block in sources.read_blocks(piece)) == len(rows)


def test_parquet_pieces_are_runs_of_row_groups_and_know_their_place(log, rows):
  path = log.write("all.parquet", sorted(rows, key=lambda row: row["t"]), row_group_size=2)
  settings = log.settings("all.parquet", span_column="t", span_seconds=1, span_time_unit="s")
  whole, = plan.log_pieces(settings, [path], None)
  assert whole.row_groups == (0, 1, 2, 3) and whole.before == 0
  settings = log.settings("all.parquet", span_column="t", span_seconds=20, span_time_unit="s", piece_bytes=1)
  # Groups hold the times 10-20, 30-40, 50-60, 70; span 2 is [40, 60).
  assert [(piece.row_groups, piece.before) for piece in plan.log_pieces(settings, [path], 2)] == [((1,), 2), ((2,), 4)]


def test_a_pattern_without_a_folder_finds_files_of_the_working_folder(tmp_path, monkeypatch):
  (tmp_path / "span-7.csv").write_text("click\n1\n")
  monkeypatch.chdir(tmp_path)
  assert plan.available_spans(LogSettings("span-{SPAN}.csv")) == [7]
