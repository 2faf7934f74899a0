"""Progress as an interface: long steps report to a callback; the command line draws it and executors log it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

# Called as `progress(description, done, total)` after each unit of a long step; `total` is None where unknown.
Progress = Callable[[str, int, "int | None"], None]


def silent(description: str, done: int, total: int | None) -> None:
  """A progress callback that shows nothing."""
  del description, done, total


def track(items: Iterable[Item], description: str, total: int | None, progress: Progress,
          units_per_item: int = 1) -> Iterator[Item]:
  """Yields the items and reports each one as done once the consumer asks for the next."""
  done = 0
  for item in items:
    yield item
    done += units_per_item
    progress(description, done, total)
