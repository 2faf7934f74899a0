"""Pieces of work before any member is trained: the distillations, and the rows of the baselines."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.fidelity import selections
from benchmarks.fidelity.benchmark import Benchmark, slug
from benchmarks.fidelity.encoded_log import EncodedLog
from benchmarks.fidelity.streams import distil, refine_for_search
from benchmarks.fidelity.trainings import LOG_BATCH_SIZE, slots_of_rows
from benchmarks.fidelity.variants import MEMORY, UNREFINED, Variant
from benchmarks.fidelity.workers import start_seconds
from diet_tf.fidelity.trainings import train_on_log
from diet_tf.io import files
from diet_tf.io.arrays import read_arrays, write_arrays
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import is_held_back, rows_dataset
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.models import RankingModel
from diet_tf.store.memories import load_memory
from diet_tf.training.blocks import in_blocks
from diet_tf.training.learner import Learner

# Models early in their training, for EL2N and GraNd: so many initialisations, over this first share of the log.
NUM_EARLY_MODELS = 5
EARLY_SHARE = 0.2
EARLY_MEMBER, EARLY_RATE = "dnn", 2e-3
# The part of a distillation's wall time that belongs to no part of its stages.
START_UP = "start-up"
# The memory that a search begins with, where the newest stage was light; and what says so in a record.
FOR_SEARCH, ON_DEMAND = "memory-for-search", "on_demand"


@dataclasses.dataclass(frozen=True)
class Distillation:
  """One variant with one seed."""

  variant: Variant
  seed: int

  def folder(self, benchmark: Benchmark) -> str:
    """Where its memories and its record lie."""
    return benchmark.path("distillations", f"{slug(self.variant.name)}-{self.seed}")

  def done(self, benchmark: Benchmark) -> bool:
    """Whether it has been run."""
    return files.exists(files.join(self.folder(benchmark), "record.json"))

  def run(self, benchmark: Benchmark) -> None:
    """Distils, and writes the memory after each stage, the last start, the teacher, and the record last.

    Where the newest stage of a stream was light, the memory is refined on demand, as before a search, and that counts.
    """
    began = start_seconds()
    log, folder = benchmark.log(), self.folder(benchmark)
    files.remove_if_there(folder)
    spec, settings = self.variant.spec(log.spec), self.variant.settings(benchmark.settings)
    groups, rows = self.variant.groups(log.train_spans), log.train
    started, processor = time.perf_counter(), time.process_time()
    outcomes, teacher = distil(rows, groups, spec, settings, seed=self.seed, targets=self.variant.targets)
    refined = None
    if self.variant.stages == "stream":
      refined = refine_for_search(outcomes[-1], teacher, settings, span=max(groups[-1]), seed=self.seed)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    for spans, outcome in zip(groups, outcomes, strict=True):
      save_memory(files.join(folder, f"memory-{max(spans)}"), outcome.memory)
    save_memory(files.join(folder, "start"), outcomes[-1].start)
    if self.variant == MEMORY:
      write_arrays(files.join(folder, "teacher_view.npz"), _teacher_view(teacher, log))
    record: list[dict[str, Any]] = [
        {"span": max(spans), "num_slots": len(outcome.memory), "actions": dict(outcome.actions),
         "chosen": outcome.chosen, "seconds": dict(outcome.seconds), "flops": dict(outcome.flops),
         "outer_steps": 0 if outcome.work is None else len(outcome.work.proxies),
         "slots_by_age": _slots_by_age(outcome.memory)}
        for spans, outcome in zip(groups, outcomes, strict=True)]
    if refined is not None:
      save_memory(files.join(folder, FOR_SEARCH), refined.memory)
      record.append({**record[-1], ON_DEMAND: True, "actions": {}, "chosen": refined.chosen,
                     "seconds": dict(refined.seconds), "flops": dict(refined.flops),
                     "outer_steps": refined.outer_steps})
    # The start of the process, building the teacher, and what else lies between the parts of the stages, which have
    # their own building in them.
    record[0]["seconds"][START_UP] = began + seconds - sum(sum(stage["seconds"].values()) for stage in record)
    record[0]["processor_seconds"] = processor
    files.write_atomically(files.join(folder, "record.json"), json.dumps(record, indent=1).encode())

  def record(self, benchmark: Benchmark) -> list[dict[str, Any]]:
    """What was noted of each stage; of the first one also what the stages have in common, `START_UP`.

    A refinement on demand stands at the end, as a stage of the newest span with the key `ON_DEMAND`.
    """
    return json.loads(files.read_bytes(files.join(self.folder(benchmark), "record.json")))

  def memory(self, benchmark: Benchmark, span: int | None = None) -> Memory:
    """The memory after a span as its stage left it, or what a search begins with after the last."""
    last = self.record(benchmark)[-1]
    if span is None and last.get(ON_DEMAND):
      return load_memory(files.join(self.folder(benchmark), FOR_SEARCH))
    return load_memory(files.join(self.folder(benchmark), f"memory-{last['span'] if span is None else span}"))

  def start(self, benchmark: Benchmark) -> Memory:
    """The last stage's memory before its refinement."""
    return load_memory(files.join(self.folder(benchmark), "start"))


def _slots_by_age(memory: Memory) -> dict[str, int]:
  """Slots by the span that added them."""
  spans, counts = np.unique(memory.slots.born_spans, return_counts=True)
  return {str(span): int(count) for span, count in zip(spans, counts, strict=True)}


def _hidden(model: RankingModel) -> Any:
  """A function from ids to the inputs of a model's last layer that have a trained weight."""

  @tf.function(reduce_retracing=True, autograph=False)
  def hidden(ids: tf.Tensor) -> tf.Tensor:
    return model.hidden(*model.embed({"ids": ids}))[:, :model.head.num_free]

  return hidden


def _teacher_view(teacher: Any, log: EncodedLog) -> dict[str, np.ndarray]:
  """What the teacher and models early in their training say of each row of the log."""
  rows = log.train
  early = rows.take(np.arange(round(EARLY_SHARE * len(rows))))
  learner = Learner(EARLY_MEMBER, log.spec, Recipe())
  batches = rows_dataset(early, LOG_BATCH_SIZE)
  logits, hidden = [], []
  for index in range(NUM_EARLY_MODELS):
    train_on_log(learner, batches, seed=teacher.seed * NUM_EARLY_MODELS + index, learning_rate=EARLY_RATE)
    logits.append(learner.logits(rows.ids))
    hidden.append(in_blocks(_hidden(learner.model), rows.ids))
  return {"logits": in_blocks(teacher.logits, rows.ids), "early_logits": np.stack(logits),
          "early_hidden": np.stack(hidden), "hidden": in_blocks(_hidden(teacher.reference_member), rows.ids)}


@dataclasses.dataclass(frozen=True)
class BaselineRows:
  """The rows of all selections for one seed."""

  seed: int

  def path(self, benchmark: Benchmark) -> str:
    """The path of the file of its arrays."""
    return benchmark.path("selections", f"{self.seed}.npz")

  def done(self, benchmark: Benchmark) -> bool:
    """Whether they have been selected."""
    return files.exists(self.path(benchmark))

  def run(self, benchmark: Benchmark) -> None:
    """Selects rows from those that are not held back, as a stage does."""
    log = benchmark.log()
    rows = log.train
    view = read_arrays(files.join(Distillation(MEMORY, self.seed).folder(benchmark), "teacher_view.npz"))
    free = np.flatnonzero(~held_back(benchmark, rows))
    teacher = selections.TeacherView(view["logits"][free], view["early_logits"][:, free],
                                     view["early_hidden"][:, free], view["hidden"][free])
    arrays: dict[str, np.ndarray] = {}
    for name in benchmark.selections:
      chosen = selections.select(name, rows.take(free), teacher, benchmark.num_slots(log), self.seed)
      positions = free[chosen.rows]
      arrays |= {f"{name}/rows": positions, f"{name}/weights": chosen.weights,
                 f"{name}/soft_labels": 1 / (1 + np.exp(-view["logits"][positions].astype(np.float64)))}
    files.make_folders(benchmark.path("selections"))
    write_arrays(self.path(benchmark), arrays)

  def slots(self, benchmark: Benchmark, log: EncodedLog, name: str, *, soft: bool) -> Slots:
    """The rows of one selection, with clicks or with the teacher's probabilities as labels."""
    arrays = read_arrays(self.path(benchmark))
    rows = log.train.take(arrays[f"{name}/rows"])
    return slots_of_rows(rows, arrays[f"{name}/soft_labels"] if soft else rows.labels, arrays[f"{name}/weights"])


def held_back(benchmark: Benchmark, rows: EncodedRows) -> np.ndarray:
  """`[num_rows]` bool, true for the rows that stages hold back and settings are chosen on."""
  return np.asarray(is_held_back(rows.example_ids, benchmark.settings.influence.holdback_fraction))


def distillations(benchmark: Benchmark, log: EncodedLog) -> list[Distillation]:
  """All distillations, ours first."""
  ours = [Distillation(variant, seed) for variant in (MEMORY, UNREFINED, *benchmark.bounds(log))
          for seed in benchmark.seeds]
  return ours + [Distillation(variant, seed) for variant in benchmark.ablations() for seed in benchmark.ablation_seeds]
