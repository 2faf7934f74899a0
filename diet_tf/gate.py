"""The gate: which memory a stage commits, judged on the part of the span that was held back from distillation.

Candidates are the refined memory, its un-refined start, and the memory before the stage. Each trains the same models
from the same initial weights; their cross-entropy on the held-back examples is compared in pairs. The refined memory
passes if neither other candidate is better by more than the noise: `z` standard errors of the paired difference, over
examples and initial weights. Otherwise the candidate with the least loss is committed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from diet_tf.bilevel import GROUPS, InnerSettings
from diet_tf.compact import CompactIds
from diet_tf.errors import ConfigError, NumericsError
from diet_tf.features import FeatureSpec
from diet_tf.manifest import Recipe
from diet_tf.model_inputs import features_in_form
from diet_tf.progress import Progress, silent
from diet_tf.proxies import initial_weights, make_training
from diet_tf.slots import Slots

REFINED = "refined"


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
    for name in ("num_seeds", "max_examples"):
      if getattr(self, name) < 1:
        raise ConfigError(f"gate.{name}", rule="is at least 1.", received=str(getattr(self, name)), remedy="raise it.")
    if self.z < 0:
      raise ConfigError("gate.z", rule="is not negative.", received=str(self.z), remedy="use 1.645.")


@dataclasses.dataclass(frozen=True)
class Candidate:
  """Slots with the recipe to train on them."""

  slots: Slots
  recipe: Recipe


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What the gate decided, and on what grounds.

  Attributes:
    chosen: name of the candidate to commit.
    losses: per candidate, the mean cross-entropy on the held-back examples.
    differences: per other candidate, `loss of refined - its loss`; negative where refined is better.
    standard_errors: of the differences.
  """

  chosen: str
  losses: Mapping[str, float]
  differences: Mapping[str, float]
  standard_errors: Mapping[str, float]


def recipe_inputs(candidate: Candidate) -> dict[str, tf.Tensor]:
  """The fields of `diet_tf.bilevel.TrainingInputs` for a training by the recipe, with the slots' own ids."""
  slots, recipe = candidate.slots, candidate.recipe
  num_steps = recipe.epochs * recipe.steps_per_epoch(len(slots))
  multipliers = np.ones(num_steps, np.float32)
  given = np.asarray(recipe.step_multipliers[:num_steps], np.float32)
  if len(given):
    multipliers[:] = given[-1]
    multipliers[:len(given)] = given
  rates = np.asarray([recipe.learning_rates[group] for group in GROUPS], np.float32)
  values = {"ids": slots.ids, "weights": slots.weights, "labels": slots.labels,
            "sample_weights": slots.sample_weights, "learning_rates": rates, "step_multipliers": multipliers}
  return {name: tf.constant(value) for name, value in values.items()}


def train_by_recipe(member: str, spec: FeatureSpec, candidate: Candidate, seeds: Sequence[int],
                    ids: np.ndarray, batch_size: int = 8192) -> np.ndarray:
  """`[num_seeds, num_examples]` logits of one member trained on a candidate, also of one that returns probabilities.

  Args:
    member: the architecture.
    spec: the feature spec of slots and examples.
    candidate: what it is trained on.
    seeds: of the initial weights.
    ids: `[num_examples, num_fields]` examples to score.
    batch_size: of scoring.
  """
  compact = CompactIds.of(spec, candidate.slots)
  recipe = candidate.recipe
  inner = InnerSettings(recipe.batch_size, recipe.epochs, recipe.beta_1, recipe.beta_2, recipe.epsilon)
  training = make_training(member, compact.spec, inner, candidate.slots, seed=seeds[0])
  inputs = recipe_inputs(Candidate(compact.slots(candidate.slots), recipe))
  renamed = tf.constant(compact.rename(ids))

  @tf.function(reduce_retracing=True, autograph=False)
  def score(rows: tf.Tensor) -> tf.Tensor:
    features = features_in_form(training.form, compact.spec, rows, None)
    outputs = tf.reshape(training.model(features, training=False), [-1])
    if getattr(training.model, "from_logits", True):
      return outputs
    probabilities = tf.clip_by_value(outputs, 1e-6, 1 - 1e-6)
    return tf.math.log(probabilities) - tf.math.log1p(-probabilities)

  outputs = []
  for seed in seeds:
    training.train(initial_weights(member, compact.spec, seed), inputs)
    outputs.append(np.concatenate([score(renamed[start:start + batch_size]).numpy()
                                   for start in range(0, len(ids), batch_size)]))
  return np.stack(outputs)


def judge(candidates: Mapping[str, Candidate], spec: FeatureSpec, ids: np.ndarray, labels: np.ndarray,
          settings: GateSettings, *, seed: int, progress: Progress = silent) -> Verdict:
  """Chooses among candidates, one of which is named `REFINED`.

  Args:
    candidates: by name.
    spec: the feature spec.
    ids: `[num_examples, num_fields]` held-back examples.
    labels: `[num_examples]` their 0/1 labels.
    settings: of the comparison.
    seed: of the initial weights.
    progress: called after each training.

  Raises:
    NumericsError: if the refined memory trains to a loss that is not finite.
  """
  losses: dict[str, np.ndarray] = {}
  total, done = len(candidates) * len(settings.members), 0
  for name, candidate in candidates.items():
    parts = []
    for member in settings.members:
      outputs = train_by_recipe(member, spec, candidate, [seed + index for index in range(settings.num_seeds)], ids)
      parts.append(_cross_entropy(labels, outputs))
      done += 1
      progress("gate (trainings)", done, total)
    losses[name] = np.concatenate(parts)  # [num_members * num_seeds, num_examples]
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


def _cross_entropy(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore"):  # What is not finite is for `judge` to deal with.
    return np.logaddexp(0, logits.astype(np.float64)) - labels * logits


def _paired(difference: np.ndarray) -> tuple[float, float]:
  """Mean of a `[num_trainings, num_examples]` difference, and its standard error over both axes."""
  over_examples = difference.mean(0).var() / max(difference.shape[1] - 1, 1)
  over_trainings = difference.mean(1).var() / max(difference.shape[0] - 1, 1)
  return float(difference.mean()), math.sqrt(float(over_examples + over_trainings))
