"""The work of the benchmark, cut into pieces that each leave one result in a folder, so that a broken run goes on.

A piece whose result is there is not done again. Pieces are functions of what was written before them: the encoded log,
then the distillations and the baselines' rows, then the trainings of each member of the panel.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.fidelity import selections
from benchmarks.fidelity.encoded_log import EncodedLog, read_log
from benchmarks.fidelity.sources import LOG, MEMORY, START
from benchmarks.fidelity.streams import distil
from benchmarks.fidelity.trained import Choosing, PanelMember, Trained
from benchmarks.fidelity.trainings import LOG_BATCH_SIZE, MemberTrainer, RowsTrainer, slots_of_rows
from benchmarks.fidelity.variants import MEMORY as MEMORY_VARIANT
from benchmarks.fidelity.variants import UNREFINED as UNREFINED_VARIANT
from benchmarks.fidelity.variants import Variant, ablations, from_scratch_variant, static_variant
from diet_tf.config.config import Config
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.start import num_slots_within
from diet_tf.fidelity.trainings import Choice, train_on_log
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
SELECTION_SPANS = 3


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """What is benchmarked, and where its results lie.

  Attributes:
    config: config of the log and of every stage.
    folder: folder or URI of the results.
    members: members of the panel.
    seeds: seeds of distillations, draws of rows and initial weights; the i-th of each belong together.
    ablation_members: names of the members that ablations and the course of the stream are judged on.
    ablation_seeds: seeds of the ablations and of the course of the stream.
    ablation_steps: number of outer steps of an ablation's stages.
    selections: names of the baselines, see `selections.SELECTIONS`.
    with_bounds: whether the bounds are distilled too: statically, and from scratch.
    with_ablations: whether the ablations are distilled.
    with_course: whether fidelity is measured after each span.
  """

  config: Config
  folder: str
  members: tuple[PanelMember, ...]
  seeds: tuple[int, ...]
  ablation_members: tuple[str, ...]
  ablation_seeds: tuple[int, ...]
  ablation_steps: int
  selections: tuple[str, ...]
  with_bounds: bool = True
  with_ablations: bool = True
  with_course: bool = True

  @property
  def settings(self) -> StageSettings:
    """The settings of every stage."""
    return self.config.stage_settings()

  def log(self) -> EncodedLog:
    """The encoded log."""
    return read_log(self.config, self.folder)

  def num_slots(self, log: EncodedLog) -> int:
    """Slots of the memory after all spans."""
    return num_slots_within(self.config.budget, len(log.train), self.config.distill.inner)

  def equal_cost_steps(self, log: EncodedLog) -> int:
    """Outer steps of one distillation of all spans that cost as much as those of the stream's stages together."""
    inner, budget = self.config.distill.inner, self.config.budget
    seen = np.cumsum([len(log.rows.of_spans([span])) for span in log.train_spans])
    slots = [num_slots_within(budget, int(count), inner) for count in seen]
    return round(self.config.distill.outer_steps * sum(slots) / slots[-1])

  def bounds(self, log: EncodedLog) -> tuple[Variant, ...]:
    """What the memory is measured against, beside the log and the baselines."""
    if not self.with_bounds:
      return ()
    last = len(log.rows.of_spans(log.train_spans[-1:]))
    return (static_variant(self.num_slots(log), last), from_scratch_variant(self.equal_cost_steps(log), len(log.train)))

  def ablations(self) -> tuple[Variant, ...]:
    """The ablations with their references."""
    return ablations(self.ablation_steps) if self.with_ablations else ()

  def path(self, *parts: str) -> str:
    """A path in the folder of results."""
    return files.join(self.folder, *parts)


def _slug(name: str) -> str:
  """A name for files: short, and another for each name."""
  plain = "".join(letter if letter.isalnum() else "-" for letter in name).strip("-").lower()
  return plain if plain == name else f"{plain[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclasses.dataclass(frozen=True)
class Distillation:
  """One variant with one seed."""

  variant: Variant
  seed: int

  def folder(self, benchmark: Benchmark) -> str:
    """Where its memories and its record lie."""
    return benchmark.path("distillations", f"{_slug(self.variant.name)}-{self.seed}")

  def done(self, benchmark: Benchmark) -> bool:
    """Whether it has been run."""
    return files.exists(files.join(self.folder(benchmark), "record.json"))

  def run(self, benchmark: Benchmark) -> None:
    """Distils, and writes the memory after each stage, the last start, the teacher, and the record last."""
    log, folder = benchmark.log(), self.folder(benchmark)
    files.remove_if_there(folder)
    spec, settings = self.variant.spec(log.spec), self.variant.settings(benchmark.settings)
    groups = self.variant.groups(log.train_spans)
    outcomes, teacher = distil(log.train, groups, spec, settings, seed=self.seed)
    for spans, outcome in zip(groups, outcomes, strict=True):
      save_memory(files.join(folder, f"memory-{max(spans)}"), outcome.memory)
    save_memory(files.join(folder, "start"), outcomes[-1].start)
    if self.variant == MEMORY_VARIANT:
      write_arrays(files.join(folder, "teacher_view.npz"), _teacher_view(teacher, log))
    record = [{"span": max(spans), "num_slots": len(outcome.memory), "actions": dict(outcome.actions),
               "chosen": outcome.chosen, "seconds": dict(outcome.seconds),
               "slots_by_age": _slots_by_age(outcome.memory)}
              for spans, outcome in zip(groups, outcomes, strict=True)]
    files.write_atomically(files.join(folder, "record.json"), json.dumps(record, indent=1).encode())

  def record(self, benchmark: Benchmark) -> list[dict[str, Any]]:
    """What was noted of each stage."""
    return json.loads(files.read_bytes(files.join(self.folder(benchmark), "record.json")))

  def memory(self, benchmark: Benchmark, span: int | None = None) -> Memory:
    """The memory after a span, or after the last."""
    last = self.record(benchmark)[-1]["span"] if span is None else span
    return load_memory(files.join(self.folder(benchmark), f"memory-{last}"))

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
    view = read_arrays(files.join(Distillation(MEMORY_VARIANT, self.seed).folder(benchmark), "teacher_view.npz"))
    free = np.flatnonzero(~_held_back(benchmark, rows))
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


def _held_back(benchmark: Benchmark, rows: EncodedRows) -> np.ndarray:
  return np.asarray(is_held_back(rows.example_ids, benchmark.settings.influence.holdback_fraction))


@dataclasses.dataclass(frozen=True)
class MemberScores:
  """All trainings of a member on one group of sources, see `MemberWork.groups`."""

  member: str
  group: str

  def path(self, benchmark: Benchmark) -> str:
    """The path of the file of its arrays."""
    return benchmark.path("scores", _slug(self.member), f"{_slug(self.group)}.npz")

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
    parts = {"bounds": benchmark.with_bounds, "ablations": judged and benchmark.with_ablations,
             "course": judged and benchmark.with_course}
    return ["log", "memories", "unrefined", *(part for part, wanted in parts.items() if wanted), *benchmark.selections]

  def done(self, benchmark: Benchmark) -> bool:
    """Whether nothing is left."""
    return all(MemberScores(self.member, group).done(benchmark) for group in self.groups(benchmark))

  def run(self, benchmark: Benchmark) -> None:
    """Trains the member on what is missing, group by group."""
    log = benchmark.log()
    train = log.train
    newest = train.of_spans(log.train_spans[-SELECTION_SPANS:])
    selection = newest.take(_held_back(benchmark, newest))
    recipe = Distillation(MEMORY_VARIANT, benchmark.seeds[0]).memory(benchmark).recipe
    trainer = MemberTrainer(self.member, log.spec, recipe, selection, log.test)
    for group in self.groups(benchmark):
      scores = MemberScores(self.member, group)
      if scores.done(benchmark):
        continue
      if group == "log":
        scores.write(benchmark, {LOG: trainer.on_log(train, _held_back(benchmark, train), benchmark.seeds)})
      elif group == "memories":
        scores.write(benchmark, self._memories(benchmark, trainer))
      elif group in ("bounds", "unrefined"):
        scores.write(benchmark, {variant.name: trainer.on_memories(
            [Distillation(variant, seed).memory(benchmark) for seed in benchmark.seeds], benchmark.seeds)
            for variant in (benchmark.bounds(log) if group == "bounds" else (UNREFINED_VARIANT,))})
      elif group == "ablations":
        scores.write(benchmark, {variant.name: trainer.on_memories(
            [Distillation(variant, seed).memory(benchmark) for seed in benchmark.ablation_seeds],
            benchmark.ablation_seeds) for variant in benchmark.ablations()})
      elif group == "course":
        scores.write(benchmark, self._course(benchmark, log, trainer))
    self._baselines(benchmark, log, selection, recipe, trainer.flops_per_row)

  def _memories(self, benchmark: Benchmark, trainer: MemberTrainer) -> dict[str, Trained]:
    ours = [Distillation(MEMORY_VARIANT, seed) for seed in benchmark.seeds]
    sources = {MEMORY: [one.memory(benchmark) for one in ours], START: [one.start(benchmark) for one in ours]}
    return {source: trainer.on_memories(memories, benchmark.seeds) for source, memories in sources.items()}

  def _baselines(self, benchmark: Benchmark, log: EncodedLog, selection: EncodedRows, recipe: Recipe,
                 flops_per_row: float) -> None:
    """Trains the member on the rows of every selection that is missing, and writes each when it is done."""
    missing = [name for name in benchmark.selections if not MemberScores(self.member, name).done(benchmark)]
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
    first = first.take(_held_back(benchmark, first))
    seeds = benchmark.ablation_seeds
    found: dict[str, Trained] = {}
    for index, span in enumerate(log.train_spans):
      memories = [Distillation(MEMORY_VARIANT, seed).memory(benchmark, span) for seed in seeds]
      trained = trainer.course(log.rows.of_spans(spans[:index + 1]), memories, seeds, choice,
                               {"next": log.rows.of_spans([spans[index + 1]]), "first": first})
      found |= {f"{span}/{source}": one for source, one in trained.items()}
    return found


def distillations(benchmark: Benchmark, log: EncodedLog) -> list[Distillation]:
  """All distillations, ours first."""
  ours = [Distillation(variant, seed) for variant in (MEMORY_VARIANT, UNREFINED_VARIANT, *benchmark.bounds(log))
          for seed in benchmark.seeds]
  return ours + [Distillation(variant, seed) for variant in benchmark.ablations() for seed in benchmark.ablation_seeds]


def all_scores(benchmark: Benchmark, groups: Sequence[str]) -> dict[tuple[str, str], Trained]:
  """The trainings of all members on some groups of sources, by source and member."""
  found: dict[tuple[str, str], Trained] = {}
  for member in benchmark.members:
    for group in groups:
      scores = MemberScores(member.name, group)
      if scores.done(benchmark):
        found |= {(source, member.name): trained for source, trained in scores.read(benchmark).items()}
  return found
