"""Progress as lines of text."""

from __future__ import annotations

import io

import pytest

from diet_tf.progress import PlainProgress, describe_rate


class FakeClock:
  def __init__(self) -> None:
    self.now = 100.0

  def __call__(self) -> float:
    return self.now


def _plain() -> tuple[PlainProgress, FakeClock, io.StringIO]:
  clock, stream = FakeClock(), io.StringIO()
  return PlainProgress(lambda line: print(line, file=stream), clock), clock, stream


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
  assert describe_rate(rate) == text


def test_a_step_without_a_total_is_shown_when_the_next_one_begins():
  progress, clock, stream = _plain()
  for done in (10, 20, 30):
    progress("rows", done, None)
    clock.now += 1
  clock.now += 50
  progress("outer steps", 0, 2)
  assert stream.getvalue() == "rows: 30, 10/s, 2 s\n"


def test_descriptions_show_no_control_characters_and_no_markup():
  progress, _, stream = _plain()
  progress("reading \x1b[2Jlog-[0-9].csv", 1, 1)
  assert stream.getvalue().startswith("reading \\x1b[2Jlog-[0-9].csv: 1/1")
