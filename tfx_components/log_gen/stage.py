"""Running tasks on Beam: names and small reports travel through Beam, rows through files."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from diet_tf import errors
from diet_tf.errors import DietError
from diet_tf.io import files
from diet_tf.progress import Progress
from tfx_components.log_gen.tasks import Task

MakePipeline = Callable[[], beam.Pipeline]
_POLL_SECONDS = 0.5


class _RunTask(beam.DoFn):
  """Runs a task and writes its report where the driver looks for it."""

  def process(self, element: tuple[str, Task]) -> Iterator[None]:
    path, task = element
    try:
      report = task.run()
    except DietError as error:
      # Beam would bury it in its own error and try again; the driver raises it as it was.
      report = {"error": [type(error).__name__, error.subject, error.rule, error.received, error.remedy]}
    files.write_atomically(path, json.dumps(report).encode())
    yield from ()


@dataclasses.dataclass(frozen=True)
class Runner:
  """Runs stages of tasks one after the other.

  Attributes:
    make_pipeline: returns a new Beam pipeline.
    folder: for reports.
    progress: told about finished tasks.
  """

  make_pipeline: MakePipeline
  folder: str
  progress: Progress

  def run(self, name: str, description: str, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Runs the tasks and returns their reports in the tasks' order.

    Args:
      name: of the stage, unique within a run.
      description: for people.
      tasks: independent of each other.

    Raises:
      DietError: the first, in the tasks' order, that a task raised.
    """
    folder = files.join(self.folder, name)
    files.make_folders(folder)
    paths = [files.join(folder, f"{index:06d}.json") for index in range(len(tasks))]
    with _Watch(folder, description, len(tasks), self.progress), self.make_pipeline() as pipeline:
      # The reshuffle lets runners spread the tasks over workers.
      _ = pipeline | beam.Create(list(zip(paths, tasks)), reshuffle=True) | beam.ParDo(_RunTask())
    reports = [json.loads(files.read_bytes(path)) for path in paths]
    for report in reports:
      if "error" in report:
        kind, subject, rule, received, remedy = report["error"]
        raise getattr(errors, kind, DietError)(subject, rule=rule, received=received, remedy=remedy)
    return reports


class _Watch:
  """Reports progress from the number of finished tasks while a pipeline runs, wherever its workers are."""

  def __init__(self, folder: str, description: str, total: int, progress: Progress) -> None:
    self._folder, self._description, self._total, self._progress = folder, description, total, progress
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._poll, daemon=True)

  def __enter__(self) -> None:
    self._progress(self._description, 0, self._total)
    self._thread.start()

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    self._stop.set()
    self._thread.join()
    if kind is None:
      self._progress(self._description, self._total, self._total)

  def _poll(self) -> None:
    last = 0
    while not self._stop.wait(_POLL_SECONDS):
      done = min(sum(name.endswith(".json") for name in files.names_in(self._folder)), self._total)
      if done > last:
        self._progress(self._description, done, self._total)
      last = done
