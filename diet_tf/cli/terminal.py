"""What a person sees: progress bars with rates and remaining time, tables, and no warnings of other packages."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from diet_tf.cli.output import byte_stream, text_stream
from diet_tf.memory.manifest import Manifest
from diet_tf.printable import printable
from diet_tf.progress import PlainProgress, Progress, describe_rate

# Loggers of packages that report, at warning level, what no user of DIET-TF can act on.
NOISY_LOGGERS = ("absl", "apache_beam", "google", "grpc", "h5py", "matplotlib", "root", "tensorflow", "tfx", "urllib3")

# Log lines of native code that tell of nothing wrong: "I0000 00:00:1700000000.000000 ..." and its preamble.
_NATIVE_CHATTER = re.compile(rb"[IW]\d{4} \d\d:\d\d|WARNING: All log messages before absl::InitializeLog")


def quiet_third_parties() -> None:
  """Silences warnings and log lines of other packages; call it before they are imported.

  Errors still show. Subprocesses inherit it, Beam's workers among them.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("GRPC_VERBOSITY", "NONE")
  os.environ.setdefault("PYTHONWARNINGS", "ignore")
  warnings.simplefilter("ignore")
  # `absl` takes over the root logger once it is imported; without a handler there, its lines go to standard error.
  logging.getLogger().addHandler(logging.NullHandler())
  for name in NOISY_LOGGERS:
    logging.getLogger(None if name == "root" else name).setLevel(logging.ERROR)


@contextlib.contextmanager
def without_native_chatter() -> Iterator[None]:
  """For the block, drops from standard error what native code logs below the level of an error.

  Some of it cannot be silenced by a setting. `sys.stderr` writes past the filter; where errors are all that is shown
  anyway (`quiet_third_parties`) nothing else is lost.
  """
  if logging.getLogger("tensorflow").level != logging.ERROR:
    yield  # Other packages' warnings are wanted.
    return
  ours, (reading, writing) = os.dup(2), os.pipe()
  before, sys.stderr = sys.stderr, text_stream(os.dup(2), sys.stderr, closes=True)
  os.dup2(writing, 2)
  os.close(writing)
  filtering = threading.Thread(target=_copy_but_chatter, args=(reading, ours), daemon=True)
  filtering.start()
  try:
    yield
  finally:
    sys.stderr.close()
    sys.stderr = before
    os.dup2(ours, 2)  # Closes the pipe's last writing end, unless a subprocess still has it.
    filtering.join(timeout=1.0)


def _copy_but_chatter(reading: int, target: int) -> None:
  with os.fdopen(reading, "rb") as lines, byte_stream(target) as output:
    for line in lines:
      if not _NATIVE_CHATTER.match(line):
        output.write(line)


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Names and what they stand for, under a title.

  Attributes:
    title: what the pairs say something about.
    rows: a name and its value, in the order in which they are shown.
  """

  title: str
  rows: tuple[tuple[str, str], ...]

  def table(self) -> Table:
    """The pairs for a terminal."""
    table = Table("", "", title=self.title, title_justify="left", title_style="bold", show_header=False, box=None)
    for name, value in self.rows:
      # As Text, since brackets in a path or a name are not markup; digests are folded rather than cut.
      table.add_row(Text(printable(name)), Text(printable(value), overflow="fold"))
    return table


def manifest_pairs(directory: str, manifest: Manifest) -> list[Pairs]:
  """What the manifest of a memory says: of the memory, its recipe, its lineage and its files.

  Args:
    directory: folder or URI of the memory, as it is shown.
    manifest: the memory's manifest.
  """
  claim = manifest.claim()
  memory = Pairs("memory", (
      ("folder", directory), ("digest", manifest.digest), ("span", str(manifest.span)),
      ("slots", f"{manifest.num_slots:,}"), ("examples seen", f"{manifest.num_examples_seen:,}"),
      ("examples per slot", f"{manifest.num_examples_seen / max(1, manifest.num_slots):,.1f}"),
      ("bytes", f"{manifest.num_bytes:,} ({manifest.num_raw_bytes:,} uncompressed)"),
      ("ids per slot (K)", ", ".join(f"{name} {count}" for name, count in manifest.max_ids.items())),
      ("scored sample", _sample_text(manifest)),
      ("budget", ", ".join(f"{name} {value}" for name, value in manifest.budget.items())),
      ("privacy", claim.users_text()), ("ids", claim.hashing_text()),
      ("feature spec", manifest.feature_spec_digest), ("settings", manifest.settings_digest),
      ("made with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items()))))
  recipe = manifest.recipe
  multipliers = recipe.step_multipliers
  learned = f"{len(multipliers)}, from {min(multipliers):.3g} to {max(multipliers):.3g}" if multipliers else "none"
  how = Pairs("recipe", (
      ("batch size", str(recipe.batch_size)), ("epochs", str(recipe.epochs)), ("order", recipe.order),
      ("Adam", f"beta_1 {recipe.beta_1}, beta_2 {recipe.beta_2}, epsilon {recipe.epsilon}"),
      ("learning rates", ", ".join(f"{group} {rate:.3g}" for group, rate in recipe.learning_rates.items())),
      ("step multipliers", learned)))
  lineage = Pairs("lineage (span, digest)",
                  tuple((str(entry["span"]), str(entry["digest"])) for entry in manifest.lineage))
  shards = Pairs("files (records, SHA-256)", tuple((shard.name, f"{shard.num_records:,}  {shard.sha256}")
                                                   for shard in manifest.all_files))
  return [memory, how, lineage, shards]


def _sample_text(manifest: Manifest) -> str:
  sample = manifest.scored_sample
  return "none" if sample is None else (f"{sample.shard.num_records:,} of {sample.num_examples:,} rows of the log, "
                                        f"{sample.shard.num_bytes:,} bytes")


def print_pairs(sections: Sequence[Pairs]) -> None:
  """Prints pairs on standard output: as tables in a terminal, and otherwise each on a line, with a tab in between."""
  if is_terminal():
    Console().print(*(section.table() for section in sections), sep="\n")
    return
  for number, section in enumerate(sections):
    print(*([""] if number else []), section.title, *map(_tab_separated, section.rows), sep="\n")


def print_columns(names: Sequence[str], rows: Sequence[Sequence[str]], whole: Collection[str] = ()) -> None:
  """Prints rows on standard output: as a table in a terminal, and otherwise each on a line, with tabs between cells.

  Args:
    names: the names of the columns.
    rows: the texts of the cells, row by row, in the order of `names`.
    whole: names of the columns whose cells are never broken into lines; in a narrow terminal the others are.
  """
  if is_terminal():
    Console().print(columns_table(names, rows, whole))
  else:
    print(*map(_tab_separated, [names, *rows]), sep="\n")


def is_terminal() -> bool:
  """Whether a person looks at standard output; a program that reads it wants whole cells, and no blanks around them."""
  return sys.stdout is not None and sys.stdout.isatty()


def _tab_separated(cells: Sequence[str]) -> str:
  """A line with a tab between its cells, and a dash for one that is empty."""
  return "\t".join(printable(cell).replace("\t", "\\t").replace("\n", "\\n") or "-" for cell in cells)


def columns_table(names: Sequence[str], rows: Sequence[Sequence[str]], whole: Collection[str] = ()) -> Table:
  """A table with a line for each row under the names of its columns.

  Args:
    names: the names of the columns.
    rows: the texts of the cells, row by row, in the order of `names`.
    whole: names of the columns whose cells are never broken into lines; in a narrow terminal the others are.
  """
  table = Table(box=None, header_style="bold")
  for name in names:
    table.add_column(name, no_wrap=name in whole)
  for row in rows:
    table.add_row(*(Text(printable(value), overflow="fold") for value in row))
  return table


@contextlib.contextmanager
def progress(stream: TextIO | None = None) -> Iterator[Progress]:
  """A progress callback for the block: bars in a terminal, plain lines now and then otherwise.

  Args:
    stream: the stream that shows it; None, the default, takes standard error.
  """
  stream = sys.stderr if stream is None else stream
  if not stream.isatty():
    lines = PlainProgress(lambda line: print(line, file=stream, flush=True))
    yield lines
    lines.finish()
    return
  # A description may name a path with brackets, which are no markup.
  with Bars(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), RateColumn(),
            TimeRemainingColumn(), console=Console(file=stream)) as bars:
    yield BarProgress(bars)


class BarProgress:
  """A progress callback that draws one bar per step.

  Args:
    bars: the live display of rich that holds the bars; it has been started.
  """

  def __init__(self, bars: Bars) -> None:
    self._bars = bars
    self._tasks: dict[str, TaskID] = {}
    self._done: dict[str, int] = {}

  def __call__(self, description: str, done: int, total: int | None) -> None:
    """Moves the bar of the step that `description` names to `done` of `total`."""
    if description not in self._tasks:
      self._tasks[description] = self._bars.add_task(printable(description), total=total)
    elif done < self._done[description]:
      # The step runs again (another model, another span): its bar starts afresh.
      self._bars.reset(self._tasks[description], total=total)
    self._done[description] = done
    self._bars.update(self._tasks[description], completed=done, total=total)


class RateColumn(ProgressColumn):
  """The column of a bar that shows its units per second."""

  def render(self, task: Task) -> Text:
    """The rate as text; empty until it is known."""
    rate = task.finished_speed or task.speed
    return Text("" if rate is None else describe_rate(rate))
