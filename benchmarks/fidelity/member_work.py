"""Pieces of work that train the members of the panel, and what they leave."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.benchmark import Benchmark, slug
from benchmarks.fidelity.distillations import BaselineRows, Distillation, held_back
from benchmarks.fidelity.encoded_log import EncodedLog
from benchmarks.fidelity.samples import rows_of_sample, user_column
from benchmarks.fidelity.sources import LOG, MEMORY, ONE_RECIPE, START
from benchmarks.fidelity.trained import Choosing, Trained
from benchmarks.fidelity.trainings import MemberTrainer, RowsTrainer
from benchmarks.fidelity.variants import MEMORY as MEMORY_VARIANT
from benchmarks.fidelity.variants import UNREFINED as UNREFINED_VARIANT
from diet_tf.fidelity.trainings import Choice
from diet_tf.io import files
from diet_tf.io.arrays import read_arrays, write_arrays
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.memory.recipe import Recipe

# Settings are chosen on the held-back rows of so many of the newest training spans.
SELECTION_SPANS = 3


def selection_rows(benchmark: Benchmark, log: EncodedLog) -> EncodedRows:
  """The rows that the settings of trainings on the log and on real rows are chosen on."""
  newest = log.train.of_spans(log.train_spans[-SELECTION_SPANS:])
  return newest.take(held_back(benchmark, newest))


@dataclasses.dataclass(frozen=True)
class MemberScores:
  """All trainings of a member on one group of sources, see `MemberWork.groups`."""

  member: str
  group: str

  def path(self, benchmark: Benchmark) -> str:
    """The path of the file of its arrays."""
    return benchmark.path("scores", slug(self.member), f"{slug(self.group)}.npz")

  def done(self, benchmark: Benchmark) -> bool:
    """Whether they have been trained."""
    return files.exists(self.path(benchmark))

  def write(self, benchmark: Benchmark, scores: Mapping[str, Trained]) -> None:
    """Writes trainings by source."""
    files.make_folders(files.parent(self.path(benchmark)))
    facts = {source: {"learning_rate": trained.learning_rate, "epochs": trained.epochs, "examples": trained.examples,
                      "flops": trained.flops, "seconds": trained.seconds, "start_seconds": trained.start_seconds,
                      "choosing": dataclasses.asdict(trained.choosing)} for source, trained in scores.items()}
    write_arrays(self.path(benchmark), {"facts": np.array(json.dumps(facts)),
                                        **{f"logits/{source}": one.logits for source, one in scores.items()}})

  def read(self, benchmark: Benchmark) -> dict[str, Trained]:
    """The trainings that `write` wrote."""
    arrays = read_arrays(self.path(benchmark))
    return {source: _trained(arrays[f"logits/{source}"], facts)
            for source, facts in json.loads(str(arrays["facts"])).items()}


def _trained(logits: np.ndarray, facts: Any) -> Trained:
  if isinstance(facts, list):  # Of a folder that was begun before the cost of choosing was noted.
    return Trained(logits, *facts)
  return Trained(logits, **{**facts, "choosing": Choosing(**facts["choosing"])})


@dataclasses.dataclass(frozen=True)
class MemberWork:
  """All trainings of one member that are not done yet."""

  member: str

  def groups(self, benchmark: Benchmark) -> list[str]:
    """The groups of sources that the member is trained on."""
    judged = self.member in benchmark.ablation_members
    parts = {"bounds": benchmark.with_bounds and not self._large(benchmark), "course": judged and benchmark.with_course}
    return ["log", "memories", "unrefined", *(part for part, wanted in parts.items() if wanted),
            *(variant.name for variant in benchmark.ablations() if judged), *benchmark.samples,
            *self._selections(benchmark)]

  def _large(self, benchmark: Benchmark) -> bool:
    return next(member for member in benchmark.members if member.name == self.member).large

  def _selections(self, benchmark: Benchmark) -> tuple[str, ...]:
    """The baselines that the member is trained on; large ones are there for the bill, and for its rivals alone."""
    return () if self._large(benchmark) else benchmark.selections

  def done(self, benchmark: Benchmark) -> bool:
    """Whether nothing is left."""
    return all(MemberScores(self.member, group).done(benchmark) for group in self.groups(benchmark))

  def run(self, benchmark: Benchmark) -> None:
    """Trains the member on what is missing, group by group."""
    log = benchmark.log()
    train = log.train
    selection = selection_rows(benchmark, log)
    recipe = Distillation(MEMORY_VARIANT, benchmark.seeds[0]).memory(benchmark).recipe
    trainer = MemberTrainer(self.member, log.spec, recipe, selection, log.test)
    ablations = {variant.name: variant for variant in benchmark.ablations()}
    for group in self.groups(benchmark):
      scores = MemberScores(self.member, group)
      if scores.done(benchmark):
        continue
      if group == "log":
        scores.write(benchmark, {LOG: trainer.on_log(train, held_back(benchmark, train), benchmark.seeds)})
      elif group == "memories":
        scores.write(benchmark, self._memories(benchmark, trainer))
      elif group in ("bounds", "unrefined"):
        scores.write(benchmark, {variant.name: trainer.on_memories(
            [Distillation(variant, seed).memory(benchmark) for seed in benchmark.seeds], benchmark.seeds)
            for variant in (benchmark.bounds(log) if group == "bounds" else (UNREFINED_VARIANT,))})
      elif group in ablations:
        scores.write(benchmark, {group: trainer.on_memories(
            [Distillation(ablations[group], seed).memory(benchmark) for seed in benchmark.ablation_seeds],
            benchmark.ablation_seeds)})
      elif group == "course":
        scores.write(benchmark, self._course(benchmark, log, trainer))
      elif group in benchmark.samples:
        scores.write(benchmark, {group: trainer.on_sample(_draws(benchmark, log, group), benchmark.seeds)})
    self._baselines(benchmark, log, selection, recipe, trainer.flops_per_row)

  def _memories(self, benchmark: Benchmark, trainer: MemberTrainer) -> dict[str, Trained]:
    ours = [Distillation(MEMORY_VARIANT, seed) for seed in benchmark.seeds]
    sources = {MEMORY: [one.memory(benchmark) for one in ours], START: [one.start(benchmark) for one in ours]}
    return {**{source: trainer.on_memories(memories, benchmark.seeds) for source, memories in sources.items()},
            ONE_RECIPE: trainer.on_memories(sources[MEMORY], benchmark.seeds, tuning=None)}

  def _baselines(self, benchmark: Benchmark, log: EncodedLog, selection: EncodedRows, recipe: Recipe,
                 flops_per_row: float) -> None:
    """Trains the member on the rows of every selection that is missing, and writes each when it is done."""
    missing = [name for name in self._selections(benchmark) if not MemberScores(self.member, name).done(benchmark)]
    if not missing:
      return
    draws = {(name, soft): [BaselineRows(seed).slots(benchmark, log, name, soft=soft) for seed in benchmark.seeds]
             for name in missing for soft in (False, True)}
    # All selections' rows, also those that are done: which ids are known must not depend on where work broke off.
    parts = [BaselineRows(seed).slots(benchmark, log, name, soft=False) for name in benchmark.selections
             for seed in benchmark.seeds]
    trainer = RowsTrainer(self.member, log.spec, parts, recipe.batch_size, selection, log.test)
    for name in missing:
      found: dict[str, Trained] = {}
      for soft, labels in ((False, "hard"), (True, "soft")):
        trained = trainer.on_rows(draws[name, soft], benchmark.seeds, equal_cost_epochs=recipe.epochs,
                                  flops_per_example=flops_per_row)
        found |= {f"{name}/{labels}": trained[False], f"{name}/{labels}/equal_cost": trained[True]}
      MemberScores(self.member, name).write(benchmark, found)

  def _course(self, benchmark: Benchmark, log: EncodedLog, trainer: MemberTrainer) -> dict[str, Trained]:
    """Per span, trainings on the memory and on the log up to it, judged on the next span and on the first one.

    The first span is judged on the rows that its stage held back. Neither side is new to them: the log is trained on
    them, the teacher too, though no memory is made of them. What counts is whether recovery falls as spans go by.
    """
    on_log = MemberScores(self.member, "log").read(benchmark)[LOG]
    assert on_log.learning_rate is not None
    choice = Choice(on_log.learning_rate, on_log.epochs)
    spans = [*log.train_spans, log.test_spans[0]]
    first = log.rows.of_spans(spans[:1])
    first = first.take(held_back(benchmark, first))
    seeds = benchmark.ablation_seeds
    found: dict[str, Trained] = {}
    for index, span in enumerate(log.train_spans):
      memories = [Distillation(MEMORY_VARIANT, seed).memory(benchmark, span) for seed in seeds]
      trained = trainer.course(log.rows.of_spans(spans[:index + 1]), memories, seeds, choice,
                               {"next": log.rows.of_spans([spans[index + 1]]), "first": first})
      found |= {f"{span}/{source}": one for source, one in trained.items()}
    return found


def _draws(benchmark: Benchmark, log: EncodedLog, source: str) -> list[EncodedRows]:
  """The rows of a sub-sample for each seed; of those that are not held back, as the memory is made of no others."""
  train = log.train
  free, users = train.take(~held_back(benchmark, train)), user_column(benchmark.config)
  return [rows_of_sample(source, free, len(train), users, seed) for seed in benchmark.seeds]


def all_scores(benchmark: Benchmark, groups: Sequence[str]) -> dict[tuple[str, str], Trained]:
  """The trainings of all members on some groups of sources, by source and member."""
  found: dict[tuple[str, str], Trained] = {}
  for member in benchmark.members:
    for group in groups:
      scores = MemberScores(member.name, group)
      if scores.done(benchmark):
        found |= {(source, member.name): trained for source, trained in scores.read(benchmark).items()}
  return found
