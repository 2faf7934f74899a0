"""What Keras trains by a recipe with: its optimizer, and the metric of soft labels."""

from __future__ import annotations

import pytest
import tensorflow as tf

from diet_tf.memory.keras_training import SoftLabelAUC, recipe_optimizer
from diet_tf.memory.recipe import Recipe


def test_optimizer_has_the_recipe_s_rates():
  optimizers = pytest.importorskip("diet_tf.models.optimizers")
  recipe = Recipe(step_multipliers=(1.0, 0.5))
  assert isinstance(recipe_optimizer(recipe), optimizers.GroupedAdam)
  assert recipe_optimizer(recipe).get_config()["learning_rates"] == recipe.learning_rates


class TestSoftLabelAUC:

  def test_soft_label_counts_as_shares_of_both_classes(self) -> None:
    # Positives: .25 at score 0 and .75 at 1; negatives: .75 at 0 and .25 at 1. Pairs won: .75 * .75, ties: half of
    # .25 * .75 + .75 * .25.
    metric = SoftLabelAUC(num_thresholds=1001)
    metric.update_state([0.25, 0.75], [0.0, 1.0])
    assert float(metric.result()) == pytest.approx(0.75 * 0.75 + 0.25 * 0.75, abs=1e-3)

  def test_hard_labels_give_what_keras_gives(self) -> None:
    labels, logits, weights = [0.0, 1.0, 0.0, 1.0], [-1.0, 0.2, 0.5, 2.0], [1.0, 2.0, 3.0, 4.0]
    ours, keras = (kind(from_logits=True) for kind in (SoftLabelAUC, tf.keras.metrics.AUC))
    for metric in (ours, keras):
      metric.update_state(labels, logits, weights)
    assert float(ours.result()) == pytest.approx(float(keras.result()), abs=1e-6)
