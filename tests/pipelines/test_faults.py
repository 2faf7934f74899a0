"""What can go wrong with a log, a store or a machine, each through the whole pipeline.

After every fault the last good commit still verifies and trains, and the next run completes. The table in
docs/operations.md names these tests; what kills a node is in tests/pipelines/kubeflow/test_killed_nodes.py.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import gzip
import hashlib
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator

import pytest

from diet_tf.errors import DataError, DietError, FormatError, StoreError
from diet_tf.models import build_model
from diet_tf.store import store as store_module
from diet_tf.store.garbage import repair
from diet_tf.store.memories import load_memory
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from pipelines import command_line
from pipelines.evaluation import read_stage_record
from pipelines.run_metadata import RunMetadata
from pipelines.workspace import Workspace
from tfx_components.log_gen.summary import LogSummary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Site:
  """A log and a store that has its first span."""

  def __init__(self, tiny_log, folder: pathlib.Path) -> None:
    self.log = tiny_log.folder
    self.folder = folder
    self.store = Store(str(folder / "store"))
    self._config = tiny_log.config_path

  def arguments(self, span: int | str, *more: str, output: str = "out") -> list[str]:
    return ["--config", self._config, "--data-dir", str(self.log), "--output", str(self.folder / output),
            "--store", self.store.uri, "--span", str(span), *more]

  def run(self, span: int | str, *more: str, output: str = "out") -> int:
    return command_line.run(self.arguments(span, *more, output=output))

  def digests(self) -> dict[str, str]:
    root = pathlib.Path(self.store.uri)
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".lock"}

  def require_good(self, spans: list[int]) -> None:
    """The spans are committed and whole, and a model trains on the newest memory."""
    assert self.store.spans() == spans
    check_store(self.store).require_sound()
    memory = load_memory(self.store.uri)
    model = build_model("lr", memory.spec)
    memory.compile(model)
    history = memory.fit(model, verbose=0).history["loss"]
    assert 0 < history[-1] < 2

  def lines(self, span: int) -> list[str]:
    return (self.log / f"span-{span}.csv").read_text().splitlines()

  def write(self, span: int, content: bytes | list[str]) -> None:
    data = content if isinstance(content, bytes) else ("\n".join(content) + "\n").encode()
    (self.log / f"span-{span}.csv").write_bytes(data)


@pytest.fixture(scope="module")
def first_span(tmp_path_factory) -> pathlib.Path:
  """Made once: a log, and a store with its span 0."""
  from tests.pipelines.conftest import TinyLog

  folder = tmp_path_factory.mktemp("first")
  (folder / "log").mkdir()
  site = Site(TinyLog(folder / "log"), folder)
  assert site.run(0) == 0
  return folder


@pytest.fixture(scope="module")
def two_spans(first_span, tmp_path_factory) -> pathlib.Path:
  """Made once: a log, and a store with its spans 0 and 1."""
  folder = tmp_path_factory.mktemp("two")
  assert site_from(first_span, folder).run(1) == 0
  return folder


def site_from(made: pathlib.Path, folder: pathlib.Path) -> Site:
  """A site of a test's own, with a copy of a store that was made once."""
  from tests.pipelines.conftest import TinyLog

  (folder / "log").mkdir()
  shutil.copytree(made / "store", folder / "store")
  return Site(TinyLog(folder / "log"), folder)


@pytest.fixture
def site(first_span, tmp_path) -> Site:
  return site_from(first_span, tmp_path)


@pytest.fixture
def site_of_two(two_spans, tmp_path) -> Site:
  return site_from(two_spans, tmp_path)


@contextlib.contextmanager
def refused(site: Site, kind: type[DietError], match: str) -> Iterator[None]:
  """For the block: it is refused, and the store stays as it was, byte for byte."""
  before = site.digests()
  with pytest.raises(kind, match=match):
    yield
  assert site.digests() == before


def without_label(lines: list[str]) -> list[str]:
  return [line.rpartition(",")[0] for line in lines]


def test_spans_that_cannot_be_used_are_refused_one_after_the_other(site: Site):
  good = site.lines(1)
  faults: list[tuple[bytes | list[str], str]] = [
      (b"", "the file is empty"),
      ([good[0]], "a span has rows"),
      (without_label(good), "click"),
      ("\n".join(good).encode("utf-16"), "."),
      (b"\x1f\x8b" + "\n".join(good).encode()[:200], "."),
  ]
  for content, match in faults:
    site.write(1, content)
    with refused(site, DataError, match):
      site.run(1)
  site.require_good([0])
  site.write(1, good)
  assert site.run(1) == 0
  site.require_good([0, 1])


def test_a_span_with_reordered_columns_gives_the_same_commit(site_of_two: Site):
  site = site_of_two
  good = site.lines(1)
  expected = site.store.read(1).data
  site.write(1, [",".join(reversed(line.split(","))) for line in good])
  assert site.run(1, "--replace") == 0
  assert site.store.read(1).data == expected
  site.require_good([0, 1])


def test_a_span_that_arrives_twice_changes_nothing(site_of_two: Site, capsys):
  site = site_of_two
  before = site.digests()
  assert site.run(1) == 0
  assert "Span 1 is committed; nothing to do" in capsys.readouterr().err
  assert site.digests() == before


def test_a_file_with_every_row_twice_gives_the_same_memory_where_duplicates_are_dropped(site_of_two: Site):
  site, drops = site_of_two, ("--replace", "--set", "log.drop_duplicates=true")
  lines = site.lines(1)
  assert site.run(1, *drops) == 0
  expected = site.store.read(1).data
  site.write(1, [*lines, *lines[1:]])
  assert site.run(1, *drops) == 0
  assert site.store.read(1).data == expected
  # As impressions they are a span of twice the rows.
  assert site.run(1, "--replace") == 0
  assert load_memory(site.store.uri).manifest.num_examples_seen == 3 * 1500


def test_a_span_with_ten_times_the_rows(site: Site):
  lines = site.lines(1)
  # Other times, so that they are other rows.
  time = lines[0].split(",").index("time_ms")

  def later(line: str, repeat: int) -> str:
    values = line.split(",")
    values[time] = str(int(float(values[time])) + repeat)
    return ",".join(values)

  site.write(1, [lines[0], *(later(line, repeat) for repeat in range(10) for line in lines[1:])])
  assert site.run(1) == 0
  memory = load_memory(site.store.uri)
  assert memory.manifest.num_examples_seen == 11 * 1500
  # At most 2 % of them, in batches of 8; fewer where clusters ran empty, since many rows differ in their time alone.
  assert 24 < len(memory) <= 328
  site.require_good([0, 1])


def test_a_late_span_is_filled_in_from_the_commit_below_it(site: Site, capsys):
  assert site.run(2) == 0
  later = site.store.read(2)
  assert site.run(1) == 0
  assert "Spans 2 grew from what was there before" in capsys.readouterr().err
  assert site.store.read(1).parent == 0 and site.store.read(2) == later
  site.require_good([0, 1, 2])
  # If it is to follow from the late one, it is run again.
  assert site.run(2, "--replace") == 0
  assert (site.store.read(2).parent, site.store.read(2).parent_data) == (1, site.store.read(1).data)
  site.require_good([0, 1, 2])


def flip(path: pathlib.Path) -> None:
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 0x10
  path.write_bytes(bytes(data))


def truncate(path: pathlib.Path) -> None:
  path.write_bytes(path.read_bytes()[:-7])


PARTS = ("memory/*.gz", "memory/manifest.json", "teacher/teacher.npz", "statistics/*")


@pytest.mark.parametrize("damage", [flip, truncate])
def test_damaged_content_of_a_commit_is_named_and_its_span_can_be_run_again(
    site: Site, damage: Callable[[pathlib.Path], None]):
  folder = pathlib.Path(site.store.path(site.store.read(0)))
  paths = [sorted(path for path in folder.glob(part) if path.is_file())[0] for part in PARTS]
  for path in paths:
    whole = path.read_bytes()
    damage(path)
    with refused(site, FormatError, path.name):
      site.run(1)
    with pytest.raises(FormatError, match=path.name):
      check_store(site.store).require_sound()
    path.write_bytes(whole)
  # The remedy that the message gives mends all parts at once.
  for path in paths:
    damage(path)
  assert site.run(0, "--replace") == 0
  site.require_good([0])


def test_a_damaged_shard_of_the_log_is_named(site: Site):
  lines = "\n".join(site.lines(1)).encode()
  (site.log / "span-1.csv").unlink()
  path = site.log / "span-1.csv.gz"
  config = site.arguments(1, "--set", "log.pattern=span-{SPAN}.csv.gz")
  for content in (gzip.compress(lines)[:-20], b"no gzip at all"):
    path.write_bytes(content)
    with refused(site, DataError, "span-1.csv.gz"):
      command_line.run(config)
  path.write_bytes(gzip.compress(lines))
  assert command_line.run(config) == 0
  site.require_good([0, 1])


def command(arguments: list[str], shown: str) -> int:
  """In a process of its own: the exit code of `diet`, whose output goes to a file."""
  from diet_tf.cli import main as cli

  output = os.open(shown, os.O_WRONLY | os.O_CREAT)
  for stream in (1, 2):
    os.dup2(output, stream)
  code = cli.main(arguments)
  sys.stderr.flush()
  return code


@pytest.fixture
def at_once(site: Site, tmp_path) -> Iterator[Callable[..., tuple[list[int], list[str]]]]:
  """Runs two spans at the same time, each in a process of its own; returns exit codes and outputs."""
  # The processes stay: to start one, TFX included, takes about as long as its run of a span.
  pools = [concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) for _ in range(2)]

  def run(*spans: int, meanwhile: Callable[[], None] = lambda: None) -> tuple[list[int], list[str]]:
    names = [f"{index}-of-{'-'.join(map(str, spans))}" for index in range(len(spans))]
    # In one output folder, whose name has what patterns, YAML and URIs are made of.
    running = [pool.submit(command, ["run", *site.arguments(span, output="exp #3")], str(tmp_path / f"{name}.txt"))
               for pool, span, name in zip(pools, spans, names, strict=True)]
    meanwhile()
    codes = [one.result(timeout=500) for one in running]
    return codes, [(tmp_path / f"{name}.txt").read_text() for name in names]

  with contextlib.ExitStack() as stack:
    for pool in pools:
      stack.enter_context(pool)
    yield run


def test_two_runs_at_once_of_one_span_and_of_neighbours(site: Site, at_once):
  # One span: the same content, so that whoever is second finds it done.
  codes, shown = at_once(1, 1)
  assert codes == [0, 0], shown
  site.require_good([0, 1])
  # Neighbours: 3 grows from what it found; if 2 was committed meanwhile, it is refused and can be run again.
  site.write(3, site.lines(1))

  def without_files() -> None:
    # Its own error, and nobody else's.
    with pytest.raises(DataError, match="span 4"):
      site.run(4)

  codes, shown = at_once(2, 3, meanwhile=without_files)
  assert codes[0] == 0 and codes[1] in (0, StoreError.exit_code), shown
  if codes[1]:
    assert "a commit grows from the newest one below it" in shown[1]
  # What each remembers of its span is its own, and not what the other has just written.
  for span in (1, 2, *([3] if codes[1] == 0 else [])):
    record = Workspace(str(site.folder / "exp #3")).read_record(span)
    assert record is not None
    summary, stage = LogSummary.read(record.examples), read_stage_record(record)
    assert summary is not None and stage is not None and (summary.span, stage.summary.span) == (span, span)
  assert site.run(3, "--replace") == 0
  assert site.store.read(3).parent == 2
  site.require_good([0, 1, 2, 3])


@pytest.mark.parametrize("year", [1971, 2099])
def test_a_clock_that_is_wrong_changes_no_content(site_of_two: Site, monkeypatch, year: int):
  site = site_of_two

  class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
      return datetime.datetime(year, 1, 1, tzinfo=tz)

  expected = site.store.read(1)
  (pathlib.Path(site.store.uri) / "commits" / "1.json").unlink()
  monkeypatch.setattr(store_module, "datetime", types.SimpleNamespace(datetime=Clock, timezone=datetime.timezone))
  assert site.run(1, output="again") == 0
  assert site.store.read(1).created.startswith(str(year)) and site.store.read(1).data == expected.data
  assert site.store.newest().span == 1
  repair(site.store)
  site.require_good([0, 1])


def test_what_a_killed_run_left_is_cleared_by_the_next(site: Site):
  output, node = site.folder / "out", "DistillTrainer"
  command = [sys.executable, "-m", "diet_tf.cli", "run", *site.arguments(1)]
  with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    deadline = time.monotonic() + 300
    while not list(output.glob(f"pipeline/{node}/.system/executor_execution/*/.temp")):
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.01)
    process.kill()
  metadata = RunMetadata(str(output / "metadata.sqlite"))
  [execution] = metadata.unfinished()
  left = [path for path in output.glob(f"pipeline/{node}/**/{execution.number}") if path.is_dir()]
  assert left and any((path / ".temp").exists() for path in left)
  assert site.run(1) == 0
  assert not metadata.unfinished() and not list(output.glob("pipeline/**/.temp"))
  assert not any(path.exists() for path in left)
  assert [path.name for path in (output / "runs").iterdir()] == [".lock"]
  site.require_good([0, 1])


@pytest.fixture
def small_disk(tmp_path) -> Iterator[pathlib.Path]:
  """A file system of two megabytes."""
  folder = tmp_path / "small"
  folder.mkdir()
  made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True,
                        text=True, check=False)
  if made.returncode:
    pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
  yield folder
  subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_next_run_completes(site: Site, small_disk: pathlib.Path):
  before = site.digests()
  (small_disk / "filler").write_bytes(os.urandom(1_900_000))
  arguments = site.arguments(1)
  arguments[arguments.index("--output") + 1] = str(small_disk / "out")
  with refused(site, StoreError, "full|space"):
    command_line.run(arguments)
  # The store's own disk.
  full = Store(str(small_disk / "store"))
  shutil.rmtree(small_disk / "out", ignore_errors=True)
  (small_disk / "filler").unlink()
  shutil.copytree(site.store.uri, full.uri)
  free = shutil.disk_usage(small_disk).free
  (small_disk / "filler").write_bytes(os.urandom(max(0, free - 60_000)))
  elsewhere = site.arguments(1, output="elsewhere")
  elsewhere[elsewhere.index("--store") + 1] = full.uri
  with pytest.raises(StoreError, match="full|space"):
    command_line.run(elsewhere)
  assert full.spans() == [0]
  check_store(full).require_sound()
  (small_disk / "filler").unlink()
  assert command_line.run(elsewhere) == 0
  assert full.spans() == [0, 1]
  check_store(full).require_sound()
  assert site.digests() == before
