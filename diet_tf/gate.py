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
from diet_tf.model_inputs import as_logits, features_in_form
from diet_tf.progress import Progress, silent
from diet_tf.proxies import initial_weights, make_training
from diet_tf.slots import Slots

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


class SlotTrainer:
  """Trains one member again and again on slots, on the ids of these slots alone; its graph is traced once.

  Args:
    member: the architecture; also one that returns probabilities.
    spec: the feature spec of slots and examples.
    parts: all slots that it will be trained on.
    recipe: gives the batch size and Adam's constants, which all recipes that it is trained by have in common.
  """

  _BATCH_ROWS = 8192

  def __init__(self, member: str, spec: FeatureSpec, parts: Sequence[Slots], recipe: Recipe) -> None:
    self._member = member
    self._constants = _constants(recipe)
    self._compact = CompactIds.of(spec, *parts)
    inner = InnerSettings(recipe.batch_size, recipe.epochs, recipe.beta_1, recipe.beta_2, recipe.epsilon)
    # Shaped by all parts together: one may fill a field further, or be wider, than the others.
    self._shape = Slots.concatenate(list(parts))
    self._training = make_training(member, self._compact.spec, inner, self._shape, seed=0)
    self._initial: dict[int, list[tf.Tensor]] = {}
    # What a model counts while it trains (the masks of a dropout, say) begins anew with each training.
    self._counters = [(variable, variable.numpy()) for variable in self._training.model.non_trainable_variables]
    self._predict = tf.function(self._batch_logits, reduce_retracing=True, autograph=False)

  def train(self, candidate: Candidate, seed: int) -> None:
    """Trains on slots by their recipe, from the initial weights of a seed.

    Raises:
      ConfigError: the recipe's batch size or Adam's constants are not those that the trainer was made with.
    """
    if _constants(candidate.recipe) != self._constants:
      raise ConfigError("recipe", rule="all recipes of one trainer have the same batch size and Adam's constants.",
                        received=f"{_constants(candidate.recipe)} after {self._constants}.",
                        remedy="make a trainer for each.")
    for variable, value in self._counters:
      variable.assign(value)
    if seed not in self._initial:
      self._initial[seed] = initial_weights(self._member, self._compact.spec, seed, self._training.form)
    self._training.train(self._initial[seed], recipe_inputs(self._compact.slots(self._padded(candidate.slots)),
                                                            candidate.recipe))

  def _padded(self, slots: Slots) -> Slots:
    """The slots, as wide as the widest part."""
    missing = ((0, 0), (0, 0), (0, self._shape.max_ids - slots.max_ids))
    return slots.replace(ids=np.pad(slots.ids, missing), weights=np.pad(slots.weights, missing))

  def logits(self, ids: np.ndarray) -> np.ndarray:
    """`[num_examples]` logits of `[num_examples, num_fields]` examples after the last training."""
    renamed = self._compact.rename(ids)
    return np.concatenate([self._predict(tf.constant(renamed[start:start + self._BATCH_ROWS])).numpy()
                           for start in range(0, len(ids), self._BATCH_ROWS)])

  def outputs(self, candidate: Candidate, seeds: Sequence[int], ids: np.ndarray) -> np.ndarray:
    """`[num_seeds, num_examples]` logits after a training from the initial weights of each seed."""
    found = []
    for seed in seeds:
      self.train(candidate, seed)
      found.append(self.logits(ids))
    return np.stack(found)

  def _batch_logits(self, rows: tf.Tensor) -> tf.Tensor:
    features = features_in_form(self._training.form, self._compact.spec, rows, None)
    return as_logits(self._training.model, self._training.model(features, training=False))


def _constants(recipe: Recipe) -> tuple[float, ...]:
  return (recipe.batch_size, recipe.beta_1, recipe.beta_2, recipe.epsilon)


def recipe_inputs(slots: Slots, recipe: Recipe) -> dict[str, tf.Tensor]:
  """The fields of `diet_tf.bilevel.TrainingInputs` for a training by the recipe."""
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
                    ids: np.ndarray) -> np.ndarray:
  """`[num_seeds, num_examples]` logits of one member trained on a candidate.

  Args:
    member: the architecture.
    spec: the feature spec of slots and examples.
    candidate: what it is trained on.
    seeds: of the initial weights.
    ids: `[num_examples, num_fields]` examples to score.
  """
  return SlotTrainer(member, spec, [candidate.slots], candidate.recipe).outputs(candidate, seeds, ids)


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
  seeds = [seed + index for index in range(settings.num_seeds)]
  parts: dict[str, list[np.ndarray]] = {name: [] for name in candidates}
  total, done = len(candidates) * len(settings.members), 0
  for member in settings.members:
    trainers: dict[tuple[float, ...], SlotTrainer] = {}
    for name, candidate in candidates.items():
      constants = _constants(candidate.recipe)
      if constants not in trainers:
        trainers[constants] = SlotTrainer(member, spec, [one.slots for one in candidates.values()], candidate.recipe)
      parts[name].append(_cross_entropy(labels, trainers[constants].outputs(candidate, seeds, ids)))
      done += 1
      progress("gate (trainings)", done, total)
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


def _cross_entropy(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore"):  # What is not finite is for `judge` to deal with.
    return np.logaddexp(0, logits.astype(np.float64)) - labels * logits


def _paired(difference: np.ndarray) -> tuple[float, float]:
  """Mean of a `[num_trainings, num_examples]` difference, and its standard error over both axes."""
  over_examples = difference.mean(0).var() / max(difference.shape[1] - 1, 1)
  over_trainings = difference.mean(1).var() / max(difference.shape[0] - 1, 1)
  return float(difference.mean()), math.sqrt(float(over_examples + over_trainings))
