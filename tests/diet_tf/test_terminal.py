from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from diet_tf import terminal


class FakeClock:
  def __init__(self) -> None:
    self.now = 100.0

  def __call__(self) -> float:
    return self.now


def _plain() -> tuple[terminal.PlainProgress, FakeClock, io.StringIO]:
  clock, stream = FakeClock(), io.StringIO()
  return terminal.PlainProgress(stream, clock), clock, stream


def test_plain_lines_come_now_and_then_with_rate_and_rest():
  progress, clock, stream = _plain()
  for done in range(0, 41, 2):
    progress("outer steps", done, 40)
    clock.now += 1
  # Two units a second; a line after 15 s at the least, and one at the end.
  assert stream.getvalue().splitlines() == ["outer steps: 30/40, 2/s, 5 s left", "outer steps: 40/40, 2/s, 20 s"]


def test_plain_lines_without_a_total():
  progress, clock, stream = _plain()
  progress("rows", 0, None)
  clock.now += 20
  progress("rows", 50_000, None)
  assert stream.getvalue() == "rows: 50,000, 2,500/s, 20 s\n"


def test_finish_shows_what_was_not_shown():
  progress, clock, stream = _plain()
  progress("rows", 10, 30)
  clock.now += 2
  progress("rows", 20, 30)
  progress.finish()
  progress.finish()
  assert stream.getvalue() == "rows: 20/30, 5/s, 2 s left\n"


def test_a_step_that_runs_again_starts_its_clock_again():
  progress, clock, stream = _plain()
  progress("train", 5, 5)
  clock.now += 100
  progress("train", 1, 5)
  clock.now += 2
  progress("train", 5, 5)
  assert stream.getvalue().splitlines() == ["train: 5/5, 0 s", "train: 5/5, 2/s, 2 s"]


@pytest.mark.parametrize(("rate", "text"), [(12_345.6, "12,346/s"), (12.34, "12.3/s"), (0.5, "2 s each")])
def test_describe_rate(rate: float, text: str):
  assert terminal.describe_rate(rate) == text


def test_progress_is_plain_without_a_terminal():
  stream = io.StringIO()
  with terminal.progress(stream) as progress:
    progress("rows", 3, 3)
  assert stream.getvalue() == "rows: 3/3, 0 s\n"


def test_bars_in_a_terminal():
  class Terminal(io.StringIO):
    def isatty(self) -> bool:
      return True

  stream = Terminal()
  with terminal.progress(stream) as progress:
    for done in range(1, 4):
      progress("rows", done, 3)
  assert "rows" in stream.getvalue()
  assert "3/3" in stream.getvalue()


def test_a_bar_starts_afresh_when_its_step_runs_again():
  bars = Bars(console=Console(file=io.StringIO()))
  progress = terminal.BarProgress(bars)
  for done, total in [(1, 2), (2, 2), (1, 5)]:
    progress("train", done, total)
  assert [(task.description, task.completed, task.total) for task in bars.tasks] == [("train", 1, 5)]


def test_quiet_third_parties_silences_warnings_but_not_errors():
  code = ("import logging, sys, warnings\nfrom diet_tf import terminal\nterminal.quiet_third_parties()\n"
          "warnings.warn('old', FutureWarning)\nlogging.getLogger('apache_beam.io').warning('spam')\n"
          "logging.warning('spam')\nlogging.getLogger('tfx').error('broken')\n"
          "logging.getLogger('diet_tf').handlers.append(logging.StreamHandler())\n"
          "logging.getLogger('diet_tf').setLevel('INFO')\nlogging.getLogger('diet_tf').info('ours')")
  result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
  assert result.stderr.split() == ["ours"]


def test_a_step_without_a_total_is_shown_when_the_next_one_begins():
  progress, clock, stream = _plain()
  for done in (10, 20, 30):
    progress("rows", done, None)
    clock.now += 1
  clock.now += 50
  progress("outer steps", 0, 2)
  assert stream.getvalue() == "rows: 30, 10/s, 2 s\n"


def test_native_log_lines_below_errors_are_dropped_and_everything_else_is_kept():
  code = """
import os, sys
from diet_tf.terminal import quiet_third_parties, without_native_chatter
quiet_third_parties()
with without_native_chatter():
  os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
  os.write(2, b"I0000 00:00:1700000000.000000    8458 service.cc:145] XLA service\\n")
  os.write(2, b"E0000 00:00:1700000000.000000    8458 service.cc:145] broken\\n")
  print("ours", file=sys.stderr)
os.write(2, b"I0000 00:00:1700000000.000000 after\\n")
"""
  lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.splitlines()
  assert sorted(lines[:-1]) == ["E0000 00:00:1700000000.000000    8458 service.cc:145] broken", "ours"]
  assert lines[-1].endswith("after")


def test_descriptions_show_no_control_characters_and_no_markup():
  progress, _, stream = _plain()
  progress("reading \x1b[2Jlog-[0-9].csv", 1, 1)
  assert stream.getvalue().startswith("reading \\x1b[2Jlog-[0-9].csv: 1/1")


def test_a_narrow_table_breaks_no_cell_that_is_to_stay_whole():
  stream = io.StringIO()
  Console(file=stream, width=30).print(terminal.columns_table(
      ["name", "figure"], [["a_long_name(of=a_model)", "0.7051 ± 0.0004"]], whole={"figure"}))
  lines = stream.getvalue().splitlines()
  assert "0.7051 ± 0.0004" in lines[1] and len(lines) > 2 and max(map(len, lines)) <= 30


def test_tables_show_no_control_characters():
  stream = io.StringIO()
  Console(file=stream, width=100).print(terminal.columns_table(["a"], [["\x1b[31mred\u202e [bold]"]]))
  assert "\\x1b[31mred\\u202e [bold]" in stream.getvalue() and "\x1b" not in stream.getvalue()
