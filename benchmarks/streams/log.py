"""The log of a long stream, and what is made of it: a stream of memories for each seed, and its encoded rows."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
from collections.abc import Callable

from benchmarks.scale.measuring import kept
from benchmarks.scale.simulated import LOG, simulated_config, write_span
from benchmarks.scale.stream import SpanFigures, Stream
from benchmarks.streams.__main__ import EXAMPLES, SIMULATED
from diet_tf.config.config import Config
from diet_tf.errors import DataError
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest
from diet_tf.io.json_files import write_json
from diet_tf.progress import Progress, silent

SIMULATED_SPANS = 60


@dataclasses.dataclass(frozen=True)
class StreamedLog:
  """A log whose spans are distilled one by one, with one seed or several.

  Attributes:
    config: the config, whose paths can be opened from here.
    folder: folder of all that is kept.
    spans: numbers of the spans to distil.
    next_span: number of the span after them, which the last memory is judged on.
    num_seeds: number of streams.
    prepare: function that is called with a span's number before it is read; None where the rows are there.
  """

  config: Config
  folder: str
  spans: tuple[int, ...]
  next_span: int
  num_seeds: int
  prepare: Callable[[int], None] | None = None

  @classmethod
  def of(cls, options: argparse.Namespace) -> StreamedLog:
    """The log that the options of the command name, with a folder that is named by its settings.

    Raises:
      DataError: it has no span more than those that are to be distilled.
    """
    work = os.path.abspath(options.work)
    if options.dataset == SIMULATED:
      log = dataclasses.replace(LOG, rows_per_span=options.rows)
      rows = files.join(work, f"simulated-{options.rows}-rows")
      config = simulated_config(log, rows, options.set)
      spans, prepare = list(range((options.spans or SIMULATED_SPANS) + 1)), functools.partial(write_span, log, rows)
    else:
      from tfx_components.log_gen import available_spans

      config, prepare = _config(options), None
      spans = sorted(available_spans(config.log))
    num_spans = len(spans) - 1 if options.spans is None else options.spans
    if not 0 < num_spans < len(spans):
      raise DataError("log", rule="it has a span after those that are distilled.",
                      received=f"{len(spans)} spans, of which {num_spans} are to be distilled.",
                      remedy="give fewer with --spans.")
    values = config.to_dict()
    for section, key in (("log", "pattern"), ("log", "joins")):
      del values[section][key]  # Where the data lie is nobody's business but the machine's.
    del values["output"]
    folder = files.join(work, f"{options.dataset}-{canonical_digest([values, options.rows])[:12]}")
    files.make_folders(folder)
    write_json(files.join(folder, "settings.json"), values)
    return cls(config, folder, tuple(spans[:num_spans]), spans[num_spans], options.seeds, prepare)

  @property
  def store_uris(self) -> tuple[str, ...]:
    """The root of the store of each seed's stream."""
    return tuple(self._stream(seed).store_uri for seed in range(self.num_seeds))

  def distil(self, seed: int, progress: Progress = silent) -> list[SpanFigures]:
    """Distils all spans with one of the seeds, and returns what each cost."""
    stream, figures = self._stream(seed), []
    for place, span in enumerate(self.spans):
      figures.append(stream.run(span))
      progress(f"spans of stream {seed + 1}", place + 1, len(self.spans))
    return figures

  def encode(self) -> str:
    """Encodes all spans and the one after them, and returns the folder that they are in."""
    folder, spans = files.join(self.folder, f"log-{len(self.spans)}"), (*self.spans, self.next_span)

    def work() -> None:
      from benchmarks.fidelity.encoded_log import encode_log

      if self.prepare is not None:
        for span in spans:
          self.prepare(span)
      encode_log(self.config, folder, spans=spans)

    kept(files.join(folder, "encoded.json"), work)
    return folder

  def _stream(self, seed: int) -> Stream:
    config = dataclasses.replace(self.config, seed=self.config.seed + seed)
    return Stream(config, files.join(self.folder, f"stream-{config.seed}"), prepare=self.prepare)


def _config(options: argparse.Namespace) -> Config:
  from diet_tf.config.config import load_config
  from pipelines.data_folder import with_data_dir

  config = load_config(options.config or EXAMPLES[options.dataset], options.set)
  return with_data_dir(config, os.path.abspath(options.data_dir))
