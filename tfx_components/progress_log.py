"""Progress as log lines with rate and remaining time, for executors, whose output is a log."""

from __future__ import annotations

import time
from collections.abc import Callable

from absl import logging

# A step that reports more often than this is logged no more often.
SECONDS_BETWEEN_LINES = 10.0


class ProgressLog:
  """A `diet_tf.progress.Progress` that logs the first, the last, and now and then a line of each step.

  Args:
    seconds_between_lines: at least so much time between two lines of a step.
    clock: seconds from some fixed point.
  """

  def __init__(self, seconds_between_lines: float = SECONDS_BETWEEN_LINES,
               clock: Callable[[], float] = time.monotonic) -> None:
    self._pause = seconds_between_lines
    self._clock = clock
    # Per step: when it began, what was done by then, and when its last line was written.
    self._steps: dict[str, tuple[float, int, float]] = {}

  def __call__(self, description: str, done: int, total: int | None) -> None:
    """Reports that `done` of `total` units of a step are done; `total` is None where it is not known."""
    now = self._clock()
    finished = total is not None and done >= total
    if description not in self._steps:
      self._steps[description] = (now, done, now)
    elif not finished and now - self._steps[description][2] < self._pause:
      return
    began, before, _ = self._steps[description]
    logging.info("%s", progress_line(description, done, total, done - before, now - began))
    self._steps[description] = (began, before, now)
    if finished:
      del self._steps[description]


def progress_line(description: str, done: int, total: int | None, counted: int, seconds: float) -> str:
  """A line such as `refinement (outer steps): 40 of 250, 3.2/s, 65 s left`.

  Args:
    description: of the step.
    done: units done.
    total: of all units, or None.
    counted: units done in the last `seconds`.
    seconds: since the step's first report; 0 at that one, where there is no rate yet.
  """
  line = f"{description}: {done:,}" + (f" of {total:,}" if total is not None else "")
  if seconds <= 0 or counted <= 0:
    return line
  rate = counted / seconds
  line += f", {rate:,.1f}/s" if rate < 100 else f", {rate:,.0f}/s"
  if total is None or done >= total:
    return f"{line}, {seconds:,.0f} s"
  return f"{line}, {(total - done) / rate:,.0f} s left"
