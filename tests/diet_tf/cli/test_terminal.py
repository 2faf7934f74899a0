from __future__ import annotations

import io
import subprocess
import sys

from rich.console import Console
from rich.progress import Progress as Bars

from diet_tf.cli import terminal


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
  code = ("import logging, sys, warnings\nfrom diet_tf.cli import terminal\nterminal.quiet_third_parties()\n"
          "warnings.warn('old', FutureWarning)\nlogging.getLogger('apache_beam.io').warning('spam')\n"
          "logging.warning('spam')\nlogging.getLogger('tfx').error('broken')\n"
          "logging.getLogger('diet_tf').handlers.append(logging.StreamHandler())\n"
          "logging.getLogger('diet_tf').setLevel('INFO')\nlogging.getLogger('diet_tf').info('ours')")
  result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
  assert result.stderr.split() == ["ours"]


def test_native_log_lines_below_errors_are_dropped_and_everything_else_is_kept():
  code = """
import os, sys
from diet_tf.cli.terminal import quiet_third_parties, without_native_chatter
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
