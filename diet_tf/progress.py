"""Progress as an interface: long steps report to a callback; the command line draws it and executors log it."""

from __future__ import annotations

from collections.abc import Callable

# Called as `progress(description, done, total)` after each unit of a long step; `total` is None where unknown.
Progress = Callable[[str, int, "int | None"], None]


def silent(description: str, done: int, total: int | None) -> None:
  """A progress callback that shows nothing."""
  del description, done, total
