"""What the components of one stage hand to each other, as files: memories, the start, the refinement, the verdict."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diet_tf.distillation.carried_rows import CARRIED_PART, CarriedRows
from diet_tf.distillation.gate import Verdict
from diet_tf.distillation.growth import Growth
from diet_tf.distillation.refinement import Refined
from diet_tf.distillation.scoring import scored_stream
from diet_tf.distillation.settings import Stage, StageSettings
from diet_tf.distillation.stage import Trainable
from diet_tf.distillation.start import Start
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import FormatError
from diet_tf.io import files
from diet_tf.io.arrays import read_arrays, write_arrays
from diet_tf.io.documents import DocumentFormat
from diet_tf.io.json_files import without_nan
from diet_tf.io.shapes import Nullable, fields_of
from diet_tf.log.duplicates import DuplicateRule
from diet_tf.log.encoded_rows import RowStream
from diet_tf.log.features import features_from_json
from diet_tf.log.row_counts import RowCounts
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.scored_sample import ScoredSample
from diet_tf.report.stage_record import VERDICT_SHAPE
from diet_tf.store.memories import load_memory
from tfx_components import inputs
from tfx_components.log_gen.summary import LogSummary

MEMORY_FOLDER = "memory"
ACTIONS_NAME = "actions.npz"
START_NAME = "start.json"
REFINEMENT_NAME = "refinement.json"
VERDICT_NAME = "verdict.json"
STAGE_NAME = "stage.json"
REPORT_NAME = "report.html"
_REMEDY = "restore the file, or run the span again."
_START = {"counts": Mapping[str, int], "num_examples": int, "num_examples_seen": int}
# Version 1 refines the memory.
START = DocumentFormat("diet_tf.start", {1: _START, 2: {
    **_START, "light": str | None, "unrefined": Nullable(fields_of(LastRefinement))}}, _REMEDY, indent=1)
REFINEMENT = DocumentFormat("diet_tf.refinement", {1: {
    "losses": list[float], "proxies": list[str], "num_skipped": int}}, _REMEDY, indent=1)
VERDICT = DocumentFormat("diet_tf.verdict", {1: {"span": int, "num_examples": int, **VERDICT_SHAPE}}, _REMEDY, indent=1)


def stage_of(exec_properties: Mapping[str, Any], span: int) -> Stage:
  """The stage that a component's parameters `features`, `settings`, `budget_fraction` and `seed` describe."""
  settings = StageSettings.from_json(exec_properties["settings"])
  fraction = float(exec_properties.get("budget_fraction") or 0)
  if fraction:
    settings = dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, fraction=fraction))
  return Stage(features_from_json(exec_properties["features"]), settings, int(exec_properties["seed"]), span)


def encoded_as(stage: Stage, examples_uri: str) -> Stage:
  """The stage whose feature spec names the secret that its examples were hashed with, if any, by its check value."""
  return dataclasses.replace(stage, spec=stage.spec.bound_to(salt_check_of(examples_uri)))


def stage_settings(stage: Stage) -> dict[str, Any]:
  """What a commit keeps of how it was made."""
  return {**json.loads(stage.settings.to_json()), "feature_spec": stage.spec.to_dict(), "seed": stage.seed}


def save_stage_memory(directory: str, stage: Stage, candidate: Trainable, previous: Memory | None,
                      num_examples_seen: int, scored_sample: ScoredSample | None = None,
                      last_refinement: LastRefinement | None = None) -> Memory:
  """Saves a memory of a stage in the folder `memory` of an artifact.

  Args:
    directory: folder of the artifact.
    stage: the stage.
    candidate: slots and recipe of the memory.
    previous: the memory before the stage; None in the first.
    num_examples_seen: number of examples of all spans so far.
    scored_sample: the scored sample of the stage's start; None without one.
    last_refinement: what is noted of the last refinement; None where this stage refined it.
  """
  memory = stage.memory(candidate.slots, candidate.recipe, previous, num_examples_seen, scored_sample,
                        last_refinement)
  return save_memory(files.join(directory, MEMORY_FOLDER), memory)


def load_stage_memory(directory: str, stage: Stage) -> Memory:
  """The memory that `save_stage_memory` wrote."""
  return load_memory(files.join(directory, MEMORY_FOLDER), spec=stage.spec)


@dataclasses.dataclass(frozen=True)
class StageInputs:
  """What a component of a stage was given; all of them open it alike.

  Attributes:
    stage: the stage; its feature spec names the secret that the examples were hashed with, if any, so that a memory
      whose ids were hashed with another one is refused wherever it is opened.
    parent: what was committed before the span.
    artifacts: the component's input artifacts by key; what not every one of them has is read where it is asked for.
  """

  stage: Stage
  parent: inputs.Parent
  artifacts: inputs.ArtifactDict

  @classmethod
  def of(cls, artifacts: inputs.ArtifactDict, exec_properties: Mapping[str, Any]) -> StageInputs:
    """The inputs of a component that has `examples` and `parent`, and the parameters of `stage_of`.

    Raises:
      ConfigError: the parameter `span`, `settings` or `features` is not usable.
      DataError: the examples are of another span than the one that is run.
      FormatError: `parent` is no output of MemoryLoader.
    """
    examples = inputs.single(artifacts, "examples")
    stage = encoded_as(stage_of(exec_properties, inputs.span_of(exec_properties, examples)), examples.uri)
    return cls(stage, inputs.Parent.of(inputs.single(artifacts, "parent")), artifacts)

  def uri(self, key: str) -> str:
    """Where the one artifact of an input lies."""
    return inputs.single(self.artifacts, key).uri

  @property
  def shards(self) -> list[str]:
    """The TFRecord files of the span's examples, in their order."""
    return inputs.example_shards(inputs.single(self.artifacts, "examples"))

  @property
  def scores_dir(self) -> str | None:
    """The folder of the examples' scores; None where they are not connected."""
    scores = inputs.single_or_none(self.artifacts, "scores")
    return None if scores is None else scores.uri

  @functools.cached_property
  def previous(self) -> Memory | None:
    """The memory before the span; None where nothing was committed."""
    return self.parent.memory(self.stage.spec)

  def teacher(self) -> Teacher:
    """The teacher after its pass over the span."""
    return Teacher.load(self.uri("teacher"), self.stage.spec, self.stage.settings.teacher)

  def rows(self) -> RowStream:
    """Stream of the span's scored rows, without those held back."""
    return scored_stream(self.shards, self.uri("scores"), self.stage.spec,
                         self.stage.settings.influence.holdback_fraction,
                         with_influences=self.stage.settings.reads_example_influences)

  def carried_before(self) -> CarriedRows | None:
    """The rows that the commit before the span carries; None where it carries none."""
    folder = self.parent.part(CARRIED_PART)
    return None if folder is None else CarriedRows.read(folder, self.stage.spec)

  def carried(self) -> CarriedRows:
    """The rows since the memory was last refined, those of the span included."""
    return CarriedRows.read(self.carried_folder, self.stage.spec)

  @property
  def carried_folder(self) -> str:
    """Where the rows since the memory was last refined lie, beside the start."""
    return files.join(self.uri("start"), CARRIED_PART)

  def start(self) -> tuple[Start, int]:
    """What the stage begins with, and the number of examples of its span."""
    directory = self.uri("start")
    return read_start(directory, load_stage_memory(directory, self.stage))


def salt_check_of(examples_uri: str) -> str | None:
  """The check value of the secret that the examples in a folder of LogGen were hashed with; None without one."""
  summary = LogSummary.read(examples_uri)
  return None if summary is None else summary.salt_check


def duplicate_rule_of(examples_uri: str) -> DuplicateRule:
  """Which rows stood for each other when the examples in a folder of LogGen were made."""
  summary = LogSummary.read(examples_uri)
  return DuplicateRule() if summary is None else summary.rule


def missing_values_of(examples_uri: str) -> Sequence[str] | None:
  """The texts that stood for a missing value in the log of the examples in a folder; None for the usual ones."""
  summary = LogSummary.read(examples_uri)
  return None if summary is None else summary.missing_values


def rows_of(examples_uri: str) -> RowCounts | None:
  """What became of the rows of the span whose examples lie in a folder of LogGen; None where that is not known."""
  summary = LogSummary.read(examples_uri)
  return None if summary is None else summary.rows


def write_start(directory: str, start: Start, num_examples: int) -> None:
  """Writes what a start has beside its memory.

  Args:
    directory: folder of the artifact.
    start: what the stage begins with.
    num_examples: number of the span's examples.
  """
  write_arrays(files.join(directory, ACTIONS_NAME), {"slot_ids": start.slots.slot_ids, "actions": start.actions})
  unrefined = start.growth.unrefined
  START.write(files.join(directory, START_NAME), START.document({
      "counts": dict(start.counts), "num_examples": num_examples, "num_examples_seen": start.num_examples_seen,
      "light": start.growth.light, "unrefined": None if unrefined is None else unrefined.to_dict()}))


def read_start(directory: str, memory: Memory) -> tuple[Start, int]:
  """The start that `write_start` and `save_stage_memory` wrote, and the number of examples of its span.

  Args:
    directory: folder of the artifact.
    memory: the start's memory, from that artifact.

  Raises:
    FormatError: a file is damaged, newer, or of another memory.
  """
  content = START.read(files.join(directory, START_NAME))
  arrays = read_arrays(files.join(directory, ACTIONS_NAME))
  if not np.array_equal(arrays.get("slot_ids", ()), memory.slots.slot_ids):
    raise FormatError(files.join(directory, ACTIONS_NAME), rule="it has the slots of the memory beside it, in order.",
                      received=f"{len(arrays.get('slot_ids', ()))} slots for {len(memory)}, or others.",
                      remedy="run MemoryAddresser again.")
  unrefined = content.get("unrefined")
  growth = Growth(None if unrefined is None else LastRefinement(**unrefined), content.get("light"))
  start = Start(memory.slots, arrays["actions"], memory.recipe, content["counts"], content["num_examples_seen"],
                memory.scored_sample, growth)
  return start, content["num_examples"]


def write_refinement(directory: str, refined: Refined) -> None:
  """Writes how a refinement went."""
  REFINEMENT.write(files.join(directory, REFINEMENT_NAME), REFINEMENT.document({
      "losses": [float(loss) for loss in refined.losses], "proxies": list(refined.proxies),
      "num_skipped": int(refined.num_skipped)}))


def read_refinement(directory: str) -> Mapping[str, Any]:
  """`losses`, `proxies` and `num_skipped` of a refinement.

  Raises:
    FormatError: the file is damaged, or newer.
  """
  return REFINEMENT.read(files.join(directory, REFINEMENT_NAME))


def write_verdict(directory: str, verdict: Verdict, span: int, num_examples: int) -> None:
  """Writes what the gate decided.

  Args:
    directory: folder of the artifact.
    verdict: what the gate decided.
    span: number of the span that the candidates were judged on.
    num_examples: number of held-back examples that they were judged on.
  """
  VERDICT.write(files.join(directory, VERDICT_NAME), VERDICT.document({
      "span": span, "num_examples": num_examples, **without_nan(dataclasses.asdict(verdict))}))


def read_verdict(directory: str) -> tuple[Verdict, int]:
  """The verdict that `write_verdict` wrote, and its span.

  Raises:
    FormatError: the file is damaged, or newer.
  """
  content = VERDICT.read(files.join(directory, VERDICT_NAME))
  return Verdict(**{key: content[key] for key in VERDICT_SHAPE}), content["span"]
