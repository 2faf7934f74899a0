"""The parts of the benchmark, each in a folder of the work folder that is named by what it depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.scale.refinement import RefinementFigures, refinement_figures
from benchmarks.scale.simulated import LOG, simulated_config, write_span
from benchmarks.scale.stream import SpanFigures, Stream
from diet_tf.config.config import Config
from diet_tf.io import files
from diet_tf.io.documents import canonical_digest
from diet_tf.io.json_files import write_json
from diet_tf.log.simulate import SimulatedLogSettings
from diet_tf.progress import Progress, silent

NO_REFINEMENT = "distill.outer_steps=0"


@dataclasses.dataclass(frozen=True)
class Bench:
  """Measures the parts.

  Attributes:
    work: folder that results are kept in.
    overrides: settings that differ from the defaults, each of the form "section.key=value".
    beam_pipeline_args: options of Beam.
    progress: callback that is told of what is done.
    log: settings of the simulated log, without the number of its rows.
  """

  work: str
  overrides: Sequence[str] = ()
  beam_pipeline_args: Sequence[str] = ()
  progress: Progress = silent
  log: SimulatedLogSettings = LOG

  def span(self, num_rows: int) -> SpanFigures:
    """One span of that length in a new store, with no outer step."""
    return self._spans("span", 1, num_rows, (NO_REFINEMENT,))[0]

  def stream(self, num_spans: int, num_rows: int) -> list[SpanFigures]:
    """So many spans of that length, one after the other."""
    return self._spans("stream", num_spans, num_rows)

  def refinement(self, num_slots: int, steps_per_proxy: int) -> RefinementFigures:
    """What refinement costs on so many slots."""
    config = simulated_config(self.log, self.work, self.overrides)
    figures = refinement_figures(self.log, config, self._folder("refinement", self.log, config), num_slots,
                                 steps_per_proxy)
    self.progress(f"refinement on {num_slots:,} slots", 1, 1)
    return figures

  def _spans(self, part: str, num_spans: int, num_rows: int, overrides: Sequence[str] = ()) -> list[SpanFigures]:
    log = dataclasses.replace(self.log, rows_per_span=num_rows)
    config = simulated_config(log, self.work, [*self.overrides, *overrides])
    folder = self._folder(part, log, config)
    rows = files.join(folder, "log")
    config = simulated_config(log, rows, [*self.overrides, *overrides])
    stream = Stream(config, folder, prepare=lambda span: write_span(log, rows, span),
                    clean=lambda span: files.remove_if_there(files.join(rows, f"span-{span}.parquet")),
                    beam_pipeline_args=self.beam_pipeline_args)
    figures = []
    for span in range(num_spans):
      figures.append(stream.run(span))
      self.progress(f"{part}: spans of {num_rows:,} rows", span + 1, num_spans)
    return figures

  def _folder(self, part: str, log: SimulatedLogSettings, config: Config) -> str:
    """The folder of a part, with the settings that it is named by in it."""
    values = config.to_dict()
    # Where the log lies is what is to be named, and says nothing.
    del values["log"]["pattern"], values["output"]
    settings = {"log": dataclasses.asdict(log), "config": values, "beam": list(self.beam_pipeline_args)}
    folder = files.join(self.work, f"{part}-{canonical_digest(settings)[:12]}")
    files.make_folders(folder)
    write_json(files.join(folder, "settings.json"), settings)
    return folder
