"""What LogGen and the scoring of shards share on Beam: work whose progress is seen while a graph runs, whose errors are
raised as they were, and whose totals come back.

The elements of a graph are names of files and places in them; rows travel through the files. Beam's local runner keeps
every collection, and all values of a key, in memory.
"""

from __future__ import annotations

import dataclasses
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from diet_tf.errors import DietError
from diet_tf.io import files
from diet_tf.progress import Progress

MakePipeline = Callable[[], beam.Pipeline]
# Outputs of every step: what it hands on, and pairs of a name and something to be summed under it.
CLAIMS, TOTALS = "claims", "totals"
_ERROR = "error"
_TOTAL_SUFFIX = ".total"
_POLL_SECONDS = 0.5


class Work(Protocol):
  """What a step does with each of its elements; doing it again writes the same files and gives the same outputs."""

  def run(self, number: int, values: Any, side_input: Any, /) -> Iterable[Any]:
    """The outputs of one element: of a number and all values grouped by it.

    Args:
      number: number that the values are grouped by.
      values: a list or other iterable, or for a `CoGroupByKey` one by name.
      side_input: the value of the step's side input; None where it has none.

    Returns:
      What goes to `CLAIMS`, and `TaggedOutput` for the totals.
    """
    ...


def total(name: str, part: Any) -> TaggedOutput:
  """Something that is added, with `+`, to the total of that name."""
  return TaggedOutput(TOTALS, (name, part))


class Sum(beam.CombineFn):
  """Adds elements with `+`, in any order and grouping."""

  def create_accumulator(self) -> Any:
    """Nothing yet."""
    return None

  def add_input(self, accumulator: Any, element: Any) -> Any:
    """The sum with one element more."""
    return element if accumulator is None else accumulator + element

  def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
    """The sum of sums."""
    total = None
    for accumulator in accumulators:
      total = accumulator if total is None else total if accumulator is None else total + accumulator
    return total

  def extract_output(self, accumulator: Any) -> Any:
    """The sum; None where there was nothing to add."""
    return accumulator


@dataclasses.dataclass(frozen=True)
class FirstError:
  """The error of the first element, by step and number, that has one.

  Attributes:
    step: number of the step in its graph.
    number: number of the element in that step.
    error: the error that was raised.
  """

  step: int
  number: int
  error: DietError

  def __add__(self, other: FirstError) -> FirstError:
    return min(self, other, key=lambda one: (one.step, one.number))


@dataclasses.dataclass(frozen=True)
class _Marks:
  """One empty file per finished element of a step, by which the driver sees progress wherever the workers are.

  Attributes:
    folder: folder that the empty files are in, seen by all workers and the driver.
    description: name of the step that progress shows to people.
    total: elements of the step.
  """

  folder: str
  description: str
  total: int

  def set(self, number: int) -> None:
    with files.open_to_write(files.join(self.folder, f"{number:06d}")):
      pass

  def count(self) -> int:
    """Finished elements."""
    return min(len(files.names_in(self.folder)), self.total)


class _RunWork(beam.DoFn):
  """Does a step's work on an element; an error of ours becomes an output, which Beam would bury in one of its own."""

  def __init__(self, work: Work, step: int, marks: _Marks) -> None:
    self._work, self._step, self._marks = work, step, marks

  def process(self, element: tuple[int, Any], side_input: Any = None) -> Iterator[Any]:
    number, values = element
    try:
      yield from self._work.run(number, values, side_input)
    except DietError as error:
      yield total(_ERROR, FirstError(self._step, number, error))
    self._marks.set(number)


class Graph:
  """One Beam pipeline under construction.

  Args:
    pipeline: the Beam pipeline that transforms are added to.
    folder: folder of the marks of progress and of the totals, seen by all workers.
  """

  def __init__(self, pipeline: beam.Pipeline, folder: str) -> None:
    self._pipeline, self._folder = pipeline, folder
    self.steps: list[_Marks] = []

  def create(self, label: str, values: Sequence[Any]) -> beam.PCollection:
    """The values, each under its number; the grouping spreads them over the workers."""
    return (self._pipeline | f"{label} here" >> beam.Create(list(enumerate(values)), reshuffle=False)
            | label >> beam.GroupByKey())

  def step(self, work: Work, description: str, total: int, *,
           side_input: Any = None) -> beam.PTransform:
    """A transform that does some work on each pair of a number and the values grouped by it.

    Args:
      work: what is done; it is sent to the workers.
      description: name of the step that progress shows to people.
      total: elements that there will be.
      side_input: one (`AsSingleton`, `AsList`), whose value is handed to the work.
    """
    number = len(self.steps)
    marks = _Marks(files.join(self._folder, f"step-{number}"), description, total)
    files.make_folders(marks.folder)
    self.steps.append(marks)
    side_inputs = () if side_input is None else (side_input,)
    return beam.ParDo(_RunWork(work, number, marks), *side_inputs).with_outputs(TOTALS, main=CLAIMS)

  def hand_back(self, totals: Sequence[beam.PCollection]) -> None:
    """Sums the totals of all steps by name, for the driver."""
    _ = (tuple(totals) | "Totals" >> beam.Flatten() | "Sum" >> beam.CombinePerKey(Sum())
         | "Hand back" >> beam.Map(_write, self._folder))

  def totals(self) -> dict[str, Any]:
    """The sums by name, once the graph has run; there is none where nothing was added."""
    names = (name for name in files.names_in(self._folder) if name.endswith(_TOTAL_SUFFIX))
    return dict(pickle.loads(files.read_bytes(files.join(self._folder, name))) for name in names)


def _write(named: tuple[str, Any], folder: str) -> None:
  # As Beam carries it between workers; the file lives no longer than the run.
  files.write_atomically(files.join(folder, named[0] + _TOTAL_SUFFIX), pickle.dumps(named))


@dataclasses.dataclass(frozen=True)
class GraphRunner:
  """Runs graphs one after the other.

  Attributes:
    make_pipeline: function that returns a new Beam pipeline.
    folder: folder of the marks of progress and of the totals, seen by all workers; the caller removes it.
    progress: callback that is told of the finished elements of steps while a graph runs.
  """

  make_pipeline: MakePipeline
  folder: str
  progress: Progress

  def run(self, name: str, build: Callable[[Graph], None]) -> dict[str, Any]:
    """Runs a graph and returns its totals by name.

    Args:
      name: name of the graph, unique within a run; the graph's files are in a folder of that name.
      build: function that adds the transforms to the graph.

    Raises:
      DietError: the first, by step and number of the element, that work raised.
    """
    folder = files.join(self.folder, name)
    files.make_folders(folder)
    pipeline = self.make_pipeline()
    graph = Graph(pipeline, folder)
    build(graph)
    with _Watch(graph.steps, self.progress):
      pipeline.run().wait_until_finish()
    totals = graph.totals()
    if _ERROR in totals:
      raise totals[_ERROR].error
    return totals


class _Watch:
  """Reports progress from the marks of finished elements while a graph runs, wherever its workers are."""

  def __init__(self, steps: Sequence[_Marks], progress: Progress) -> None:
    self._steps, self._progress = steps, progress
    self._stop = threading.Event()
    self._thread = threading.Thread(target=self._poll, daemon=True)
    self._last = [0] * len(steps)

  def __enter__(self) -> None:
    first = self._steps[0]
    self._progress(first.description, first.count(), first.total)
    self._thread.start()

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    self._stop.set()
    self._thread.join()
    if kind is not None:
      return
    for step in self._steps:
      if step.total:
        self._progress(step.description, step.total, step.total)

  def _poll(self) -> None:
    while not self._stop.wait(_POLL_SECONDS):
      for number, step in enumerate(self._steps):
        done = step.count()
        if done > self._last[number]:
          self._progress(step.description, done, step.total)
          self._last[number] = done
