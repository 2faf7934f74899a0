"""Pieces of work in processes of their own: one that is killed is the only one that is lost."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.fidelity import workers
from benchmarks.fidelity.benchmark import Benchmark
from benchmarks.fidelity.workers import run_all


def benchmark_in(folder):
  return Benchmark(None, str(folder), (), (), (), (), 1, ())


@dataclasses.dataclass(frozen=True)
class Piece:
  """Says that it has begun, and by which process; then writes its result, unless it is to hang there."""

  name: str
  hangs: bool = False

  def path(self, benchmark, suffix):
    return pathlib.Path(benchmark.folder) / f"{self.name}.{suffix}"

  def done(self, benchmark):
    return self.path(benchmark, "result").exists()

  def run(self, benchmark):
    with self.path(benchmark, "begun").open("a") as file:
      file.write(f"{os.getpid()}\n")
    if self.hangs:
      time.sleep(600)
    self.path(benchmark, "result").write_text(self.name)


def pieces(*, hangs):
  return [Piece("first"), Piece("second", hangs), Piece("third")]


def test_a_process_knows_how_long_its_start_took(monkeypatch):
  # Where a piece runs in the process that asks for it, nothing has to start.
  monkeypatch.delenv(workers._ASKED_FOR, raising=False)
  assert workers.start_seconds() == 0
  monkeypatch.setenv(workers._ASKED_FOR, str(time.time() - 5))
  assert 5 <= workers.start_seconds() < 30


def wait_for(condition, seconds=120):
  until = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < until, "nothing happened"
    time.sleep(0.05)


def has_ended(process):
  try:
    return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
  except FileNotFoundError:
    return True


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_a_killed_command_loses_the_piece_under_way_alone(tmp_path):
  command = ("import sys; from tests.benchmarks.test_workers import *; "
             "run_all(pieces(hangs=True), benchmark_in(sys.argv[1]), 1, 'pieces')")
  running = subprocess.Popen([sys.executable, "-W", "ignore", "-c", command, str(tmp_path)])
  begun = tmp_path / "second.begun"
  try:
    wait_for(lambda: begun.exists() and begun.read_text().endswith("\n"))
  finally:
    running.send_signal(signal.SIGKILL)
    running.wait()
  # Its worker ends as well: the piece that is begun anew does not meet it.
  worker = int(begun.read_text())
  assert worker != running.pid
  wait_for(lambda: has_ended(worker), 20)
  assert [piece.done(benchmark_in(tmp_path)) for piece in pieces(hangs=False)] == [True, False, False]

  told = []
  run_all(pieces(hangs=False), benchmark_in(tmp_path), 0, "pieces", lambda *report: told.append(report))
  assert told == [("pieces", 1, 3), ("pieces", 2, 3), ("pieces", 3, 3)]
  assert [len(piece.path(benchmark_in(tmp_path), "begun").read_text().split())
          for piece in pieces(hangs=False)] == [1, 2, 1]


def test_an_error_in_one_piece_ends_all(tmp_path):
  broken = dataclasses.replace(benchmark_in(tmp_path), folder=str(tmp_path / "none"))
  with pytest.raises(FileNotFoundError):
    run_all(pieces(hangs=False), broken, 0, "pieces")
