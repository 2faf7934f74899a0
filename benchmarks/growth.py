"""How the work of a span grows with the spans before: `python -m benchmarks.growth`, and with `--max-slots 768`.

Spans of equal length of the simulated log are distilled one after another by the parts of `run_stage`, each in a
process of its own, as the nodes of the pipeline are. Printed for each span are the slots, the distinct ids in them, and
of each part the processor time and the largest resident memory, as Linux counts it. Tracing, which costs the same in
every span, is part of the figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

MIB = 1 << 20
PARTS = ("teacher and scores", "addressing and squash", "refinement", "gate")


@dataclasses.dataclass
class Grown:
  """One span.

  Attributes:
    span: number of the span.
    num_slots: slots of the memory after it.
    num_ids: distinct ids in these slots, over all fields.
    seconds: processor time of each part.
    peak_bytes: largest resident memory of the process during each part.
    memory_bytes: bytes of the saved memory.
    teacher_bytes: bytes of the saved teacher.
  """

  span: int
  num_slots: int = 0
  num_ids: int = 0
  seconds: dict[str, float] = dataclasses.field(default_factory=dict)
  peak_bytes: dict[str, int] = dataclasses.field(default_factory=dict)
  memory_bytes: int = 0
  teacher_bytes: int = 0

  def measured(self, part: str, work: Callable[[], Any]) -> Any:
    """What the work returns, noting what it costs under the name of a part."""
    with open("/proc/self/clear_refs", "w") as file:
      file.write("5")  # The peak is counted from here.
    started = time.process_time()
    result = work()
    self.seconds[part] = time.process_time() - started
    with open("/proc/self/status") as file:
      peak = next(line for line in file if line.startswith("VmHWM"))
    self.peak_bytes[part] = int(peak.split()[1]) * 1024
    return result


def run_span(folder: str, number: int, options: argparse.Namespace) -> Grown:
  """Distils a span on top of what the one before left in the folder."""
  import numpy as np

  from diet_tf.distillation.budget import BudgetSettings
  from diet_tf.distillation.refinement import DistillSettings
  from diet_tf.distillation.settings import Stage, StageSettings
  from diet_tf.distillation.span import score_span
  from diet_tf.distillation.stage import gate_rows, judge_stage, refine_start
  from diet_tf.distillation.start import begin
  from diet_tf.distillation.teacher import Teacher
  from diet_tf.log.simulate import SimulatedLogSettings, simulated_feature_spec
  from diet_tf.memory.memory import save_memory
  from diet_tf.store.memories import load_memory

  log_settings = SimulatedLogSettings(rows_per_span=options.rows, num_users=50_000, num_items=20_000)
  spec = simulated_feature_spec(log_settings)
  settings = StageSettings(budget=BudgetSettings(options.fraction, options.max_slots),
                           distill=DistillSettings(proxies=("dnn",), outer_steps=options.outer_steps))
  memory, teacher = None, Teacher(spec, settings.teacher)
  if number > 1:
    memory = load_memory(f"{folder}/memory-{number - 1}")
    teacher = Teacher.load(f"{folder}/teacher-{number - 1}", spec, settings.teacher)
  grown, stage = Grown(number), Stage(spec, settings, 0, number)
  span = _span(log_settings, spec, number)
  slots = None if memory is None else memory.slots
  scored, held_back = grown.measured(PARTS[0], lambda: score_span(span, slots, teacher, settings))
  start = grown.measured(PARTS[1], lambda: begin(stage, memory, scored, teacher))
  refined = grown.measured(PARTS[2], lambda: refine_start(stage, start, memory, scored.rows, teacher))
  grown.measured(PARTS[3], lambda: judge_stage(stage, refined, start, memory, gate_rows(stage, held_back)))
  made = stage.memory(refined.slots, refined.recipe, memory, start.num_examples_seen)
  save_memory(f"{folder}/memory-{number}", made)
  teacher.save(f"{folder}/teacher-{number}")
  grown.num_slots = len(made.slots)
  grown.num_ids = sum(len(np.unique(made.slots.ids[:, field][made.slots.weights[:, field] > 0]))
                      for field in range(len(spec.fields)))
  grown.memory_bytes, grown.teacher_bytes = (_num_bytes(f"{folder}/{name}-{number}") for name in ("memory", "teacher"))
  return grown


def _span(log_settings: Any, spec: Any, number: int) -> Any:
  import numpy as np

  from diet_tf.distillation.span import Span
  from diet_tf.log.encoding import encode
  from diet_tf.log.simulate import SimulatedLog

  columns, _ = SimulatedLog(log_settings).span(number)
  ids = np.stack([encode(field, columns[field.column]) for field in spec.fields], axis=1)
  return Span.of_arrays(number, spec, ids, columns[spec.label.column])


def _num_bytes(folder: str) -> int:
  return sum(os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(folder) for name in names)


def row(grown: Grown) -> str:
  """A line of the table."""
  costs = " ".join(f"{grown.seconds[part]:>9.1f} {grown.peak_bytes[part] / MIB:>9,.0f}" for part in PARTS)
  return (f"{grown.span:>4} {grown.num_slots:>6,} {grown.num_ids:>7,} {costs} {grown.memory_bytes / MIB:>10.2f} "
          f"{grown.teacher_bytes / MIB:>11.1f}")


def main() -> int:
  """Prints the table, line by line."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--spans", type=int, default=8, help="number of spans")
  parser.add_argument("--rows", type=int, default=20_000, help="rows of each")
  parser.add_argument("--fraction", type=float, default=0.02, help="budget.fraction")
  parser.add_argument("--max-slots", type=int, help="budget.max_slots; none sets no cap")
  parser.add_argument("--outer-steps", type=int, default=60, help="distill.outer_steps")
  parser.add_argument("--folder", help=argparse.SUPPRESS)
  parser.add_argument("--span", type=int, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.folder:
    print(json.dumps(dataclasses.asdict(run_span(options.folder, options.span, options))))
    return 0
  heads = " ".join(f"{part:>19}" for part in PARTS)
  print(f"span  slots     ids {heads} memory MiB teacher MiB   (of each part: seconds, peak MiB)", flush=True)
  with tempfile.TemporaryDirectory() as folder:
    for number in range(1, options.spans + 1):
      print(row(in_process(folder, number)), flush=True)
  return 0


def in_process(folder: str, number: int) -> Grown:
  """A span in a process of its own, with the arguments of this one."""
  command = [sys.executable, "-W", "ignore", "-m", "benchmarks.growth", *sys.argv[1:], "--folder", folder, "--span",
             str(number)]
  done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
  if done.returncode:
    raise SystemExit(f"span {number} failed:\n{done.stderr[-4000:]}")
  return Grown(**json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
  raise SystemExit(main())
