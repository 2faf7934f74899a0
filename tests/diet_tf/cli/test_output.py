"""Readers of a command's output that leave early, and outputs that cannot be written; tables in a pipe."""

from __future__ import annotations

import os
import pathlib
import pty
import subprocess
import sys

import pytest

from tests.diet_tf.small_store import SmallStore

DIET = [sys.executable, "-m", "diet_tf.cli"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallStore:
  # Longer than a terminal is wide, and so are the folders below it.
  folder = tmp_path_factory.mktemp("a-folder-with-a-long-name-" + "x" * 80)
  (folder / "memories").mkdir()
  return SmallStore(str(folder / "store [old] #3"), folder / "memories", range(1, 4))


def without_reader(arguments: list[str], *, stderr_too: bool) -> tuple[int, str]:
  """The exit code of a process nobody reads the output of, and what it said on standard error."""
  reading, writing = os.pipe()
  os.close(reading)
  try:
    ended = subprocess.run(arguments, stdout=writing, stderr=writing if stderr_too else subprocess.PIPE, text=True,
                           check=False, timeout=120)
  finally:
    os.close(writing)
  return ended.returncode, ended.stderr or ""


@pytest.mark.parametrize("arguments", [
    ["memory", "show"], ["memory", "show", "--json"], ["store", "log"], ["store", "log", "--json"], ["store", "verify"],
    ["store", "gc", "--keep", "2", "--dry-run"], ["completion", "bash"], ["doctor"], ["--help"], ["store", "--help"],
    ["compare", "--help"]], ids=" ".join)
def test_a_reader_that_leaves_is_no_error(arguments: list[str], small: SmallStore):
  takes_uri = arguments[0] in ("memory", "store") and "--help" not in arguments
  command = [*DIET, *arguments, *([small.store.uri] if takes_uri else [])]
  assert without_reader(command, stderr_too=False) == (0, "")


def test_the_first_line_alone_is_read(small: SmallStore):
  command = '"$@" | head -n 1; exit "${PIPESTATUS[0]}"'
  ended = subprocess.run(["bash", "-c", command, "-", *DIET, "memory", "show", small.store.uri], capture_output=True,
                         text=True, check=False)
  assert (ended.returncode, ended.stdout, ended.stderr) == (0, "memory\n", "")


def test_an_error_stays_an_error_where_nobody_reads_it(tmp_path: pathlib.Path):
  for stderr_too in (False, True):
    code, said = without_reader([*DIET, "store", "log", str(tmp_path)], stderr_too=stderr_too)
    assert code == 5 and ("commit" in said) is not stderr_too


WORK = """
import pathlib, sys
from diet_tf.cli import doctor, main as cli
from diet_tf.cli.terminal import progress, quiet_third_parties, without_native_chatter

def work(arguments):
  quiet_third_parties()
  with without_native_chatter(), progress() as shown:
    for number in range(3000):
      print("a line of the result", number)
      print("a line on the way", number, file=sys.stderr, flush=True)
      shown("rows", number, 3000)
  pathlib.Path(arguments[0]).write_text("done")
  return 0

doctor.doctor = work
sys.argv[1:] = ["doctor", sys.argv[1]]
cli.run_process()
"""


def test_a_command_goes_on_to_its_end_when_its_reader_leaves(tmp_path: pathlib.Path):
  # As in `diet run 2>&1 | head`: what is said may be lost, a span must not be.
  code, _ = without_reader([sys.executable, "-c", WORK, str(tmp_path / "work")], stderr_too=True)
  assert code == 0 and (tmp_path / "work").read_text() == "done"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_an_output_that_cannot_be_written_is_an_error(small: SmallStore):
  with open("/dev/full", "w") as full:
    ended = subprocess.run([*DIET, "memory", "show", small.store.uri], stdout=full, stderr=subprocess.PIPE, text=True,
                           check=False)
  assert ended.returncode == 5
  assert ended.stderr.startswith("diet: the output cannot be written: [Errno 28]") and "Traceback" not in ended.stderr


def printed(*arguments: str) -> list[str]:
  return subprocess.run([*DIET, *arguments], capture_output=True, text=True, check=True,
                        env={**os.environ, "COLUMNS": "40"}).stdout.splitlines()


def test_a_memory_in_a_pipe_has_each_path_whole_on_a_line(small: SmallStore):
  lines = printed("memory", "show", small.store.uri)
  newest = small.store.newest()
  assert newest is not None
  assert lines[:2] == ["memory", f"folder\t{small.store.path(newest, 'memory')}"]
  assert f"digest\t{small.memories[3].digest}" in lines
  [shard] = small.memories[3].manifest.shards
  assert lines[-2:] == ["files (records, SHA-256)", f"{shard.name}\t2  {shard.sha256}"]
  assert "budget\t-" in lines and not [line for line in lines if line != line.strip()]


def test_a_table_in_a_pipe_has_a_line_for_each_row(small: SmallStore):
  lines = printed("store", "log", small.store.uri)
  rows = [line.split("\t") for line in lines]
  assert rows[0] == ["span", "parent", "created", "slots", "refined", "data", "run", "bytes", "pinned"]
  assert [row[0] for row in rows[1:]] == ["3", "2", "1"]
  assert [row[5] for row in rows[1:]] == [small.store.read(span).data for span in (3, 2, 1)]


def test_a_table_in_a_terminal_fits_it(small: SmallStore):
  ours, theirs = pty.openpty()
  with subprocess.Popen([*DIET, "store", "log", small.store.uri], stdout=theirs, stderr=subprocess.PIPE,
                        env={**os.environ, "COLUMNS": "100", "TERM": "dumb"}) as process:
    os.close(theirs)
    shown = b""
    while True:
      try:
        part = os.read(ours, 4096)
      except OSError:  # As Linux tells the end of a pseudo-terminal.
        break
      if not part:
        break
      shown += part
  os.close(ours)
  lines = shown.decode().splitlines()
  assert process.returncode == 0 and lines[0].split()[:6] == ["span", "parent", "created", "slots", "refined", "data"]
  assert "\t" not in shown.decode() and max(map(len, lines)) <= 100
  assert small.store.read(3).data[:12] in lines[1] and small.store.read(3).data not in shown.decode()
