"""Where executors report the progress of their long steps.

An executor that runs in the process of a command reports to whatever that command shows, bars in a terminal for
example; anywhere else (a container, a Beam worker) progress becomes log lines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from absl import logging

from diet_tf.progress import PlainProgress, Progress


def log_line(line: str) -> None:
  """Logs one line of progress as it is, whatever characters are in it."""
  logging.info("%s", line)


_log = PlainProgress(log_line)
# The innermost last. A list, since executors run in threads of the runner, which context variables do not reach.
_shown: list[Progress] = []


def report(description: str, done: int, total: int | None) -> None:
  """A progress callback that shows, or logs, what an executor reports."""
  (_shown[-1] if _shown else _log)(description, done, total)


@contextlib.contextmanager
def shown_by(progress: Progress) -> Iterator[None]:
  """For the block, gives the progress of executors in this process to a callback."""
  _shown.append(progress)
  try:
    yield
  finally:
    _shown.remove(progress)
