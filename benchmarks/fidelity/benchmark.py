"""What is benchmarked, and where its results lie.

The work is cut into pieces that each leave one result in a folder, so that a broken run goes on: a piece whose result
is there is not done again. Pieces are functions of what was written before them: the encoded log, then the
distillations and the baselines' rows (`benchmarks.fidelity.distillations`), then the trainings of each member of the
panel (`benchmarks.fidelity.member_work`).
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from benchmarks.fidelity.encoded_log import EncodedLog, read_log
from benchmarks.fidelity.trained import PanelMember
from benchmarks.fidelity.variants import Variant, ablations, from_scratch_variant, static_variant
from diet_tf.config.config import Config
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.start import num_slots_within
from diet_tf.io import files


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
    samples: names of the sub-samples of the log that every member is trained on, see `sources.SAMPLES`.
    with_bounds: whether the bounds are distilled too: statically, and from scratch.
    with_ablations: whether the ablations are distilled.
    ablation_names: names of the ablations that are distilled, beside their references; None for all.
    with_course: whether fidelity is measured after each span.
    development: whether the test's spans are left unread, and as many before them are the test.
  """

  config: Config
  folder: str
  members: tuple[PanelMember, ...]
  seeds: tuple[int, ...]
  ablation_members: tuple[str, ...]
  ablation_seeds: tuple[int, ...]
  ablation_steps: int
  selections: tuple[str, ...]
  samples: tuple[str, ...] = ()
  with_bounds: bool = True
  with_ablations: bool = True
  ablation_names: tuple[str, ...] | None = None
  with_course: bool = True
  development: bool = False

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
    effort, refined = self.config.distill.by_effort, [0]
    for count in slots:
      if count - refined[-1] >= effort.refine_growth * refined[-1]:
        refined.append(count)
    return round(effort.outer_steps * sum(refined) / slots[-1])

  def bounds(self, log: EncodedLog) -> tuple[Variant, ...]:
    """What the memory is measured against, beside the log and the baselines."""
    if not self.with_bounds:
      return ()
    last = len(log.rows.of_spans(log.train_spans[-1:]))
    return (static_variant(self.num_slots(log), last), from_scratch_variant(self.equal_cost_steps(log), len(log.train)))

  def ablations(self) -> tuple[Variant, ...]:
    """The ablations with their references."""
    found = ablations(self.ablation_steps) if self.with_ablations else ()
    if self.ablation_names is None:
      return found
    wanted = {*self.ablation_names, *(one.reference for one in found if one.name in self.ablation_names)}
    return tuple(one for one in found if one.name in wanted)

  def path(self, *parts: str) -> str:
    """A path in the folder of results."""
    return files.join(self.folder, *parts)


def slug(name: str) -> str:
  """A name for files: short, and another for each name."""
  plain = "".join(letter if letter.isalnum() else "-" for letter in name).strip("-").lower()
  return plain if plain == name else f"{plain[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
