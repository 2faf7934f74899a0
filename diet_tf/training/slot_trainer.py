"""Training one architecture again and again on slots, by recipes: the gate's trainings, and those on baselines' rows.

`diet_tf.training.learner.Learner` trains on slots too, for the panel. The two share how they read a recipe
(`diet_tf.training.recipe_steps`) and how they score (`diet_tf.training.blocks`), and stay two for these reasons:

- A `SlotTrainer` judges slots by the very steps that they were refined for, `DifferentiableTraining`, on compact ids
  and from initial weights of tables of that size. Ids that no slot holds share one row. A `Learner` stands for what a
  user does with Keras: tables of the whole id spaces, where each id has a row and initial weights of its own.
- Even with the same compact ids and initial weights, a `Learner` ends at other logits: by the last digits (1e-5), and
  for a network of two hidden layers, which enlarges them, in the second decimal. The gate compares losses and writes
  them down, so that its verdicts, and with them memories, would not be the same bytes.
- Steps over constant tensors in one graph take a third to an eighth of the time of a `Learner`'s pass over a dataset
  (1,024 slots, CPU). A `Learner` needs that dataset: it also streams logs that no memory holds, under any strategy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from diet_tf.log.features import FeatureSpec
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.training.blocks import in_blocks
from diet_tf.training.compact import CompactIds
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.recipe_steps import (
  SLOT_TRAINER_CONSTANTS,
  constants,
  group_rates,
  require_constants,
  step_multipliers,
)
from diet_tf.training.traced import give_back, initial_weights, traced_training


@dataclasses.dataclass(frozen=True)
class Candidate:
  """Slots with the recipe to train on them."""

  slots: Slots
  recipe: Recipe


class SlotTrainer:
  """Trains one member again and again on slots, on the ids of these slots alone; its graph is traced once.

  Args:
    member: name of the architecture, which may also return probabilities; see `diet_tf.models.build_model`.
    spec: feature spec of slots and examples.
    parts: all slots that the member will be trained on.
    recipe: recipe that gives the batch size and Adam's constants, which all recipes that the member is trained by have
      in common.
  """

  def __init__(self, member: str, spec: FeatureSpec, parts: Sequence[Slots], recipe: Recipe) -> None:
    self._member = member
    self._constants = trainer_constants(recipe)
    self._compact = CompactIds.of(spec, *parts)
    inner = InnerSettings(recipe.batch_size, recipe.epochs, recipe.beta_1, recipe.beta_2, recipe.epsilon)
    # Shaped by all parts together: one may fill a field further, or be wider, than the others.
    self._shape = Slots.concatenate(list(parts))
    self._training = traced_training(member, self._compact.spec, inner, self._shape, seed=0, draws_anew=False)
    self._initial: dict[int, list[tf.Tensor]] = {}

  def give_back(self) -> None:
    """Lets the next trainer of the member have what was traced; this one must not be used any more."""
    give_back(self._training)

  def train(self, candidate: Candidate, seed: int) -> None:
    """Trains on slots by their recipe, from the initial weights of a seed.

    Raises:
      ConfigError: the recipe's batch size or Adam's constants are not those that the trainer was made with.
    """
    require_constants(candidate.recipe, self._constants, SLOT_TRAINER_CONSTANTS)
    if seed not in self._initial:
      self._initial[seed] = initial_weights(self._member, self._compact.spec, seed, self._training.form)
    self._training.train(self._initial[seed], recipe_inputs(self._compact.slots(self._padded(candidate.slots)),
                                                            candidate.recipe))

  def _padded(self, slots: Slots) -> Slots:
    """The slots, as wide as the widest part."""
    missing = ((0, 0), (0, 0), (0, self._shape.max_ids - slots.max_ids))
    return slots.replace(ids=np.pad(slots.ids, missing), weights=np.pad(slots.weights, missing))

  def logits(self, ids: np.ndarray) -> np.ndarray:
    """`[num_examples]` logits of `[num_examples, num_places]` encoded rows after the last training."""
    return in_blocks(self._training.logits, self._compact.rename(ids))

  def outputs(self, candidate: Candidate, seeds: Sequence[int], ids: np.ndarray) -> np.ndarray:
    """`[num_seeds, num_examples]` logits after a training from the initial weights of each seed."""
    found = []
    for seed in seeds:
      self.train(candidate, seed)
      found.append(self.logits(ids))
    return np.stack(found)


def trainer_constants(recipe: Recipe) -> tuple[float, ...]:
  """The batch size and Adam's constants: what all recipes of one `SlotTrainer` have in common."""
  return constants(recipe, SLOT_TRAINER_CONSTANTS)


def recipe_inputs(slots: Slots, recipe: Recipe) -> dict[str, tf.Tensor]:
  """The fields of `diet_tf.training.bilevel.TrainingInputs` for a training by the recipe."""
  num_steps = recipe.epochs * recipe.steps_per_epoch(len(slots))
  values = {"ids": slots.ids, "weights": slots.weights, "labels": slots.labels,
            "sample_weights": slots.sample_weights, "learning_rates": group_rates(recipe),
            "step_multipliers": step_multipliers(recipe, num_steps)}
  return {name: tf.constant(value) for name, value in values.items()}


def train_by_recipe(member: str, spec: FeatureSpec, candidate: Candidate, seeds: Sequence[int],
                    ids: np.ndarray) -> np.ndarray:
  """`[num_seeds, num_examples]` logits of one member trained on a candidate.

  Args:
    member: name of the architecture.
    spec: feature spec of slots and examples.
    candidate: slots and recipe that it is trained on.
    seeds: seeds of the initial weights, one training each.
    ids: `[num_examples, num_places]` int32, the encoded rows to score.
  """
  trainer = SlotTrainer(member, spec, [candidate.slots], candidate.recipe)
  outputs = trainer.outputs(candidate, seeds, ids)
  trainer.give_back()
  return outputs
