"""Progress as an interface: long steps report to a callback; the command line draws it and executors log it.

Where nothing can be drawn it becomes lines of text, in the terminal's place and in an executor's log alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from diet_tf.printable import printable

# A long step writes a line this often.
SECONDS_BETWEEN_LINES = 15.0

# Called as `progress(description, done, total)` after each unit of a long step: the step's name with its unit, how many
# units are done, and how many there are (None where that is not known).
Progress = Callable[[str, int, "int | None"], None]


def silent(description: str, done: int, total: int | None) -> None:
  """A progress callback that shows nothing."""
  del description, done, total


class PlainProgress:
  """A progress callback that writes a line when a step ends, and every `SECONDS_BETWEEN_LINES` until then.

  A line reads `refinement (outer steps): 40/250, 3.2/s, 66 s left`.

  Args:
    write: function that is called with each line; the line has no line feed at its end.
    clock: function that returns seconds, which never run backwards.
  """

  def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
    self._write = write
    self._clock = clock
    self._steps: dict[str, _Step] = {}

  def __call__(self, description: str, done: int, total: int | None) -> None:
    """Takes note of `done` of `total` units of the step that `description` names."""
    now = self._clock()
    step = self._steps.get(description)
    if step is None or done < step.done:
      self.finish()  # Steps come one after the other: of the one before, more will not be heard.
      # The first report comes after the first unit, so that its rate would be infinite: it only starts the clock.
      step = self._steps[description] = _Step(now, done, now)
    step.done, step.total, step.reported = done, total, now
    if done == total or now - step.shown >= SECONDS_BETWEEN_LINES:
      self._show(description, step, now)

  def finish(self) -> None:
    """Writes the last state of the steps that have not shown it."""
    for description, step in self._steps.items():
      if step.shown_done != step.done:
        self._show(description, step, step.reported)

  def _show(self, description: str, step: _Step, now: float) -> None:
    step.shown, step.shown_done = now, step.done
    self._write(f"{printable(description)}: {step.describe(now)}")


class _Step:
  """How far a step has come, and what was last shown of it."""

  def __init__(self, started: float, first_done: int, shown: float) -> None:
    self.started, self.first_done, self.shown = started, first_done, shown
    self.done, self.total = first_done, None  # type: int, int | None
    self.shown_done, self.reported = -1, started

  def describe(self, now: float) -> str:
    elapsed = now - self.started
    parts = [f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"]
    rate = (self.done - self.first_done) / elapsed if elapsed > 0 else 0.0
    if rate > 0:
      parts.append(describe_rate(rate))
    if self.total is not None and self.done < self.total and rate > 0:
      parts.append(f"{(self.total - self.done) / rate:.0f} s left")
    else:
      parts.append(f"{elapsed:.0f} s")
    return ", ".join(parts)


def describe_rate(rate: float) -> str:
  """Units per second with about three digits, or seconds per unit where a unit takes longer than a second.

  Args:
    rate: units per second, positive.
  """
  if rate >= 1000:
    return f"{rate:,.0f}/s"
  return f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each"
