"""What a stage costs, and that its memory does not grow with the span: `python -m benchmarks.scale`.

Simulated spans of growing length are encoded (LogGen), passed through the teacher, scored, and an outer step is taken
on a memory of fixed size. Each step runs in a process of its own, so that its peak memory is its own. The exit status
is 1 if a peak grows by more than the tolerance from the shortest span to the longest.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

STEPS = ("simulate", "encode", "teacher pass", "score", "outer step")
# Steps whose memory must not depend on the length of the span.
STREAMING = ("encode", "teacher pass", "score")
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Measured:
  """One step on one span.

  Attributes:
    step: name of the step, one of `STEPS`.
    num_rows: rows of the span; for an outer step, the real examples that it reads.
    seconds: duration of the work in seconds, without imports and tracing.
    peak_bytes: largest resident memory of its process.
  """

  step: str
  num_rows: int
  seconds: float
  peak_bytes: int

  @property
  def rows_per_second(self) -> float:
    """Rows by seconds."""
    return self.num_rows / max(self.seconds, 1e-9)


def run_simulate(folder: str, num_rows: int) -> tuple[int, float]:
  """Writes a span of the simulated log as Parquet, block by block."""
  import pyarrow as pa
  import pyarrow.parquet as pq

  from diet_tf.log.simulate import SimulatedLog

  started, writer = time.perf_counter(), None
  for block in SimulatedLog(_log_settings(num_rows)).blocks(1):
    table = pa.table(dict(block.columns))
    writer = writer or pq.ParquetWriter(f"{folder}/span-1.parquet", table.schema)
    writer.write_table(table)
  if writer:
    writer.close()
  return num_rows, time.perf_counter() - started


def run_encode(folder: str, num_rows: int) -> tuple[int, float]:
  """LogGen on the span."""
  from diet_tf.log.settings import LogSettings
  from tfx_components.log_gen.generate import generate_examples

  started = time.perf_counter()
  generate_examples(LogSettings(f"{folder}/span-{{SPAN}}.parquet"), _spec(num_rows), 1, f"{folder}/examples")
  return num_rows, time.perf_counter() - started


def run_teacher(folder: str, num_rows: int) -> tuple[int, float]:
  """One pass of the teacher over the span."""
  from diet_tf.distillation.teacher import Teacher, TeacherSettings
  from diet_tf.log.examples import example_dataset, example_shards

  spec, settings = _spec(num_rows), TeacherSettings()
  shards = example_shards(f"{folder}/examples/Split-train")
  teacher = Teacher(spec, settings)
  # The first steps trace the graph; they belong to the pass but not to its rate.
  dataset = example_dataset(shards, spec, settings.batch_size)
  teacher.advance(dataset.take(2), 2 * settings.batch_size)
  started = time.perf_counter()
  teacher.advance(dataset, num_rows)
  elapsed = time.perf_counter() - started
  teacher.save(f"{folder}/teacher")
  return num_rows, elapsed


def run_score(folder: str, num_rows: int) -> tuple[int, float]:
  """Teacher's logits and influence of every example of the span."""
  from diet_tf.distillation.influence import InfluenceSettings
  from diet_tf.distillation.scoring import SpanScorer, score_shards
  from diet_tf.distillation.teacher import Teacher, TeacherSettings
  from diet_tf.log.examples import example_dataset, example_shards

  spec, settings = _spec(num_rows), InfluenceSettings()
  shards = example_shards(f"{folder}/examples/Split-train")
  scorer = SpanScorer(Teacher.load(f"{folder}/teacher", spec, TeacherSettings()), settings)
  started = time.perf_counter()
  scorer.fit_reference(example_dataset(shards, spec, settings.batch_size, holdback="only",
                                       holdback_fraction=settings.holdback_fraction), None)
  score_shards(scorer, shards, spec, f"{folder}/scores")
  return num_rows, time.perf_counter() - started


def run_outer(folder: str, num_rows: int, max_slots: int = 512, num_steps: int = 12) -> tuple[int, float]:
  """Outer steps on a memory of `max_slots` slots, after one of each proxy to trace the graphs."""
  import numpy as np

  from diet_tf.distillation.budget import BudgetSettings
  from diet_tf.distillation.refinement import DistillSettings
  from diet_tf.distillation.scoring import scored_stream
  from diet_tf.distillation.settings import Stage, StageSettings
  from diet_tf.distillation.span import ScoredSpan
  from diet_tf.distillation.stage import refine_start
  from diet_tf.distillation.start import begin
  from diet_tf.distillation.teacher import Teacher
  from diet_tf.log.examples import example_shards

  distill = DistillSettings(outer_steps=num_steps)
  settings = StageSettings(budget=BudgetSettings(max_slots=max_slots), distill=distill)
  stage = Stage(_spec(num_rows), settings, seed=0, span=1)
  shards = example_shards(f"{folder}/examples/Split-train")
  rows = scored_stream(shards, f"{folder}/scores", stage.spec, settings.influence.holdback_fraction)
  teacher = Teacher.load(f"{folder}/teacher", stage.spec, settings.teacher)
  start = begin(stage, None, ScoredSpan(rows, np.zeros(0, np.float32), num_rows), teacher)
  times: list[float] = []
  refine_start(stage, start, None, rows, teacher, progress=lambda *_: times.append(time.perf_counter()))
  traced = len(distill.proxies)
  return distill.outer_batch_size, (times[-1] - times[traced - 1]) / (len(times) - traced)


RUNS: dict[str, Callable[[str, int], tuple[int, float]]] = {
    "simulate": run_simulate, "encode": run_encode, "teacher pass": run_teacher, "score": run_score,
    "outer step": run_outer}


def _log_settings(num_rows: int) -> Any:
  from diet_tf.log.simulate import SimulatedLogSettings
  # The same id spaces for every length: what grows is the span alone.
  return SimulatedLogSettings(rows_per_span=num_rows)


def _spec(num_rows: int) -> Any:
  from diet_tf.log.simulate import simulated_feature_spec
  return simulated_feature_spec(_log_settings(num_rows))


def measure(step: str, folder: str, num_rows: int) -> Measured:
  """Runs one step in a process of its own."""
  command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scale", "--step", step, "--folder", folder, "--rows",
             str(num_rows)]
  done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
  if done.returncode:
    raise SystemExit(f"{step} of {num_rows} rows failed:\n{done.stderr[-4000:]}")
  return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def run_step(step: str, folder: str, num_rows: int) -> Measured:
  """One step in this process."""
  rows, seconds = RUNS[step](folder, num_rows)
  usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
  return Measured(step, rows, seconds, usage * 1024)


def table(measured: list[Measured], outer_steps: int) -> str:
  """The figures by span length; the share is of a stage with `outer_steps` outer steps."""
  lines = [f"{'span rows':>12} {'step':<14} {'rows/s':>12} {'seconds':>9} {'share':>7} {'peak MiB':>9}"]
  by_length: dict[int, list[Measured]] = {}
  length = 0
  for one in measured:
    length = one.num_rows if one.step == "simulate" else length
    by_length.setdefault(length, []).append(one)
  for num_rows, steps in by_length.items():
    costs = {one.step: one.seconds * (outer_steps if one.step == "outer step" else 1) for one in steps
             if one.step != "simulate"}
    for one in steps:
      share = f"{costs[one.step] / sum(costs.values()):7.1%}" if one.step in costs else f"{'':>7}"
      lines.append(f"{num_rows:>12,} {one.step:<14} {one.rows_per_second:>12,.0f} {one.seconds:>9.2f} {share} "
                   f"{one.peak_bytes / MIB:>9,.0f}")
  return "\n".join(lines)


def growth(measured: list[Measured]) -> dict[str, float]:
  """Per streaming step, the peak memory at the longest span over that at the shortest."""
  return {step: peaks[-1] / peaks[0] for step in STREAMING
          if (peaks := [one.peak_bytes for one in measured if one.step == step])}


def main(arguments: list[str] | None = None) -> int:
  """Measures every step at every length; returns the exit status."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
  parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000],
                      help="lengths of the spans, growing")
  parser.add_argument("--outer-steps", type=int, default=250, help="outer steps of the stage that shares refer to")
  # The shortest span does not fill LogGen's buffers yet (a piece of a file, a shard), which is why its peak is lower by
  # a fifth; memory that grew with the span would be some hundred times larger at the longest.
  parser.add_argument("--tolerance", type=float, default=1.5, help="allowed growth of a streaming step's peak memory")
  parser.add_argument("--json", help="also write the figures to this file")
  parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
  parser.add_argument("--folder", help=argparse.SUPPRESS)
  options = parser.parse_args(arguments)
  if options.step:
    print(json.dumps(dataclasses.asdict(run_step(options.step, options.folder, options.rows[0]))))
    return 0
  measured: list[Measured] = []
  for num_rows in options.rows:
    with tempfile.TemporaryDirectory() as folder:
      for step in STEPS:
        measured.append(measure(step, folder, num_rows))
        print(f"{num_rows:,} rows, {step}: {measured[-1].seconds:.1f} s", file=sys.stderr, flush=True)
  grown = growth(measured)
  print(table(measured, options.outer_steps))
  print("peak memory, longest span over shortest: " + ", ".join(f"{step} {ratio:.2f}" for step, ratio in grown.items()))
  if options.json:
    with open(options.json, "w") as stream:
      json.dump({"measured": [dataclasses.asdict(one) for one in measured], "growth": grown}, stream, indent=1)
  return int(any(ratio > options.tolerance for ratio in grown.values()))


if __name__ == "__main__":
  sys.exit(main())
