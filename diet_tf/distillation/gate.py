"""The gate: which memory a stage commits, judged on the part of the span that was held back from distillation.

Candidates are the refined memory, its un-refined start, and the memory before the stage. Each trains the same models
from the same initial weights, and what is alike is trained on once; their cross-entropy on the held-back examples is
compared in pairs. The refined memory passes if neither other candidate is better by more than the noise: `z` standard
errors of the paired difference, over examples and initial weights. Otherwise the candidate with the least loss is
committed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from diet_tf.errors import ConfigError, NumericsError
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots
from diet_tf.progress import Progress, silent
from diet_tf.training.slot_trainer import Candidate, SlotTrainer, trainer_constants

REFINED = "refined"
START = "start"
PREVIOUS = "previous"


@dataclasses.dataclass(frozen=True)
class GateSettings:
  """How candidates are compared.

  Attributes:
    members: architectures that are trained on each candidate.
    num_seeds: initial weights per architecture.
    z: standard errors that count as noise.
    max_examples: held-back examples that are scored.
  """

  members: tuple[str, ...] = ("dnn", "fm")
  num_seeds: int = 3
  z: float = 1.645
  max_examples: int = 1 << 16

  def __post_init__(self) -> None:
    if not self.members:
      raise ConfigError("gate.members", rule="names at least one architecture.", received="none.",
                        remedy="use [dnn, fm].")
    if len(set(self.members)) != len(self.members):
      raise ConfigError("gate.members", rule="names architectures, none twice: a second training of one is the first.",
                        received=", ".join(self.members), remedy="name each once, and raise gate.num_seeds.")
    for name in ("num_seeds", "max_examples"):
      if getattr(self, name) < 1:
        raise ConfigError(f"gate.{name}", rule="is at least 1.", received=str(getattr(self, name)), remedy="raise it.")
    if self.z < 0:
      raise ConfigError("gate.z", rule="is not negative.", received=str(self.z), remedy="use 1.645.")


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What the gate decided, and on what grounds.

  Attributes:
    chosen: name of the candidate to commit.
    losses: per candidate, the mean cross-entropy on the held-back examples.
    differences: per other candidate, `loss of refined - its loss`; negative where refined is better.
    standard_errors: per other candidate, the standard error of that difference.
  """

  chosen: str
  losses: Mapping[str, float]
  differences: Mapping[str, float]
  standard_errors: Mapping[str, float]


def judge(candidates: Mapping[str, Candidate], spec: FeatureSpec, ids: np.ndarray, labels: np.ndarray,
          settings: GateSettings, *, seed: int, progress: Progress = silent) -> Verdict:
  """Chooses among candidates, one of which is named `REFINED`.

  Args:
    candidates: the candidates that are compared, by name.
    spec: the feature spec.
    ids: `[num_examples, num_fields]` held-back examples.
    labels: `[num_examples]` their 0/1 labels.
    settings: settings of the comparison: architectures, seeds, and what counts as noise.
    seed: seed of the initial weights of the first training of an architecture; its further trainings count up from it.
    progress: callback that is told when an architecture has been trained on a candidate with all seeds.

  Raises:
    NumericsError: if the refined memory trains to a loss that is not finite.
  """
  seeds = [seed + index for index in range(settings.num_seeds)]
  parts: dict[str, list[np.ndarray]] = {name: [] for name in candidates}
  total, done = len(candidates) * len(settings.members), 0
  for member in settings.members:
    trainers: dict[tuple[float, ...], SlotTrainer] = {}
    for name, candidate in candidates.items():
      constants = trainer_constants(candidate.recipe)
      if constants not in trainers:
        trainers[constants] = SlotTrainer(member, spec, [one.slots for one in candidates.values()], candidate.recipe)
      # Of a start that was not refined, the refined memory is a copy.
      same = next((other for other in candidates if other != name and len(parts[other]) > len(parts[name])
                   and are_equal(candidate, candidates[other])), None)
      parts[name].append(_cross_entropy(labels, trainers[constants].outputs(candidate, seeds, ids)) if same is None
                         else parts[same][-1])
      done += 1
      progress("gate (trainings)", done, total)
    for trainer in trainers.values():
      trainer.give_back()
  # [num_members * num_seeds, num_examples]
  losses = {name: np.concatenate(of_members) for name, of_members in parts.items()}
  if not np.isfinite(losses[REFINED]).all():
    raise NumericsError("refined memory", rule="models trained on it have a finite loss.", received="not finite.",
                        remedy="lower distill.outer_learning_rate.")
  means = {name: float(loss.mean()) for name, loss in losses.items()}
  differences, errors = {}, {}
  for name in candidates:
    if name != REFINED:
      differences[name], errors[name] = _paired(losses[REFINED] - losses[name])
  worse = any(differences[name] > settings.z * errors[name] for name in differences)
  # A candidate whose loss is not finite compares as neither better nor worse, and is not chosen.
  best = min((name for name in means if math.isfinite(means[name])), key=means.__getitem__)
  return Verdict(best if worse else REFINED, means, differences, errors)


def are_equal(one: Candidate, other: Candidate) -> bool:
  """Whether trainings on two candidates are the same."""
  return one.recipe == other.recipe and all(
      np.array_equal(getattr(one.slots, name), getattr(other.slots, name)) for name in Slots.DTYPES)


def _cross_entropy(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore"):  # What is not finite is for `judge` to deal with.
    return np.logaddexp(0, logits.astype(np.float64)) - labels * logits


def _paired(difference: np.ndarray) -> tuple[float, float]:
  """Mean of a `[num_trainings, num_examples]` difference, and its standard error over both axes."""
  over_examples = difference.mean(0).var() / max(difference.shape[1] - 1, 1)
  over_trainings = difference.mean(1).var() / max(difference.shape[0] - 1, 1)
  return float(difference.mean()), math.sqrt(float(over_examples + over_trainings))
