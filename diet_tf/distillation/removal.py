"""The cost of removal: how much a slot is missed by models that are trained without it.

A model is trained on the slots by the recipe, and its loss L is taken on rows of the new span, against the teacher's
probabilities. A slot of sample weight w is removed by letting w become 0. To first order the loss then rises by

    cost = -w dL/dw

where the derivative goes through the whole training (`diet_tf.training.bilevel`): one training forwards and backwards
gives the costs of all slots. A slot of negative cost does harm. TracIn's influence (`diet_tf.distillation.influence`)
asks the same of one step at a trained teacher: it does not see that slots stand in for each other, nor how far a short
training gets. What the rule is worth is in docs/method.md, "On a capped memory".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from diet_tf.distillation.refinement import devices_of
from diet_tf.errors import NumericsError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.training.compact import CompactIds
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.slot_trainer import recipe_inputs
from diet_tf.training.traced import give_back, initial_weights, traced_training


def in_whole_batches(slots: Slots, num_missing: int) -> Slots:
  """The slots with as many more behind them, of no sample weight, as lack to whole batches."""
  filled = slots.take(np.concatenate([np.arange(len(slots)), np.zeros(num_missing, np.int64)]))
  weights = np.array(filled.sample_weights)
  weights[len(slots):] = 0
  return filled.replace(sample_weights=weights)


def removal_costs(slots: Slots, rows: EncodedRows, recipe: Recipe, spec: FeatureSpec, members: Sequence[str], *,
                  seed: int) -> np.ndarray:
  """`[num_slots]` float64, the rise of the loss on the rows without each slot, to first order.

  Args:
    slots: slots in the order of training, in whole batches.
    rows: rows of the log, labelled with the teacher's probabilities.
    recipe: recipe to train by.
    spec: feature spec of slots and rows.
    members: names of the architectures that are trained, once each; the costs are means over them.
    seed: seed of their initial weights.

  Raises:
    NumericsError: a cost is not finite.
  """
  compact = CompactIds.of(spec, slots)
  inputs = recipe_inputs(compact.slots(slots), recipe)
  ids, labels = tf.constant(compact.rename(rows.ids)), tf.constant(rows.labels, tf.float32)
  inner = InnerSettings(recipe.batch_size, recipe.epochs, recipe.beta_1, recipe.beta_2, recipe.epsilon)
  total = np.zeros(len(slots))
  for member in members:
    # Of the kind that refinement trains, so that a process traces both once.
    training = traced_training(member, compact.spec, inner, slots, seed=seed, draws_anew=True,
                               device=devices_of(None)[0])
    initial = initial_weights(member, compact.spec, seed, training.form)
    _, gradients = training.gradient(initial, tf.constant(0), inputs, ids, labels, tf.ones_like(labels))
    total -= slots.sample_weights * gradients[2].numpy().astype(np.float64)
    give_back(training)
  if not np.isfinite(total).all():
    raise NumericsError("cost of removal", rule="it is finite for every slot.",
                        received=f"slots {slots.slot_ids[~np.isfinite(total)][:5].tolist()} are not.",
                        remedy="lower distill.learning_rate_*, or set addressing.at_cap to oldest.")
  return total / len(members)
