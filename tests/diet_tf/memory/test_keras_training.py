"""What Keras trains by a recipe with: its optimizer, and the metric of soft labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.keras_training import SoftLabelAUC, recipe_optimizer
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.scored_sample import ScoredSample
from diet_tf.memory.tuning import RateFactors, Tuning
from diet_tf.models import build_model
from diet_tf.models.bag_model import BagModel
from diet_tf.models.optimizers import GroupedAdam
from tests.diet_tf.small_slots import small_slots


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


SPEC = FeatureSpec(fields=(Field("user", "user", hash_ids=20), Field("item", "item", hash_ids=10)),
                   label=Label("click"))


def small_memory() -> Memory:
  """30 slots of two ids a field, in four batches of which the last is smaller, three times over."""
  generator = np.random.default_rng(0)
  slots = small_slots(generator.integers(1, 10, [30, 2, 2]), labels=generator.random(30).astype(np.float32),
                      born_spans=0, spec=SPEC)
  return Memory.create(slots, SPEC, Recipe(batch_size=8, epochs=3), span=0, num_examples_seen=300, budget={})


class OneId(tf.keras.Model):
  """A sum of embeddings for one id a field, with an operation on it."""

  def __init__(self, operation=lambda total: total) -> None:
    super().__init__()
    self.tables = {name: tf.keras.layers.Embedding(num_ids, 4) for name, num_ids in zip(
        SPEC.names, SPEC.num_ids, strict=True)}
    self.dense, self.operation = tf.keras.layers.Dense(1), operation

  def call(self, features, training=False):
    return self.dense(self.operation(tf.add_n([table(features[name]) for name, table in self.tables.items()])))


class TestXla:
  """Training steps that XLA compiles."""

  @pytest.mark.parametrize(("member", "mode"), [("dnn", "weighted"), ("fm", "sampled")])
  def test_a_memory_trains_as_without_it(self, member: str, mode: str) -> None:
    memory, figures = small_memory(), []
    for jit_compile in (False, True):
      model = build_model(member, SPEC, seed=1)
      memory.compile(model, jit_compile=jit_compile)
      history = memory.fit(model, mode, verbose=0).history
      figures.append([history["loss"], history["auc"], *(weights.sum() for weights in model.get_weights())])
    for plain, compiled in zip(*figures, strict=True):
      np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)

  def test_models_of_users_and_of_tfrs_train(self) -> None:
    tfrs_ranking = pytest.importorskip("diet_tf.models.tfrs_ranking")
    memory = small_memory()
    for model in (BagModel(OneId()), tfrs_ranking.TfrsRanking(SPEC, member="lr")):
      memory.compile(model, from_logits=True, jit_compile=True)
      losses = memory.fit(model, verbose=0).history["loss"]
      assert losses[-1] < losses[0]

  @pytest.mark.parametrize(("operation", "received"), [
      (lambda total: tf.ensure_shape(tf.py_function(lambda x: x, [total], tf.float32), total.shape),
       "the operation EagerPyFunc of"),
      (lambda total: total + tf.strings.to_number(tf.strings.as_string(total)), "the operation AsString of"),
      (lambda total: total + tf.reduce_sum(tf.RaggedTensor.from_tensor(total, padding=0.0), axis=1, keepdims=True),
       "the operation Range of")])
  def test_an_operation_that_xla_lacks_is_named(self, operation, received: str) -> None:
    memory, model = small_memory(), OneId(operation)
    memory.compile(model, from_logits=True, jit_compile=True)
    with pytest.raises(ConfigError, match=f"memory.fit of OneId: .*{received}.*leave out jit_compile"):
      memory.fit(model, "sampled", verbose=0)

  def test_an_error_that_is_not_of_xla_stays_as_it_is(self) -> None:
    memory, model = small_memory(), OneId(lambda total: tf.concat([total, tf.ones([3, 4])], axis=0))
    memory.compile(model, from_logits=True, jit_compile=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="(?i)incompatible shapes"):
      memory.fit(model, "sampled", verbose=0)

  def test_an_optimizer_whose_list_of_rows_grows_is_refused_before_the_training(self) -> None:
    memory, model = small_memory(), build_model("lr", SPEC)
    with pytest.raises(ConfigError, match="all_rows=True"):
      memory.compile(model, jit_compile=True, optimizer=GroupedAdam(lazy=False, momentum_steps=3))
    for optimizer in (GroupedAdam(), GroupedAdam(lazy=False, all_rows=True), "adam"):
      memory.compile(model, jit_compile=True, optimizer=optimizer)
    memory.compile(model)
    model.jit_compile = True  # Behind the back of memory.compile.
    with pytest.raises(ConfigError, match="all_rows=True"):
      memory.fit(model, verbose=0)


class TestTune:
  """Rates that a Keras model chooses: from its weights of before, which it gets back for the training that counts."""

  @staticmethod
  def memory() -> Memory:
    """The small memory with labels by the parity of an id, and scored rows alike: large rates learn it sooner."""
    memory = small_memory()
    ids = memory.slots.ids[:, :, 0]
    labels = np.where(ids[:, 0] % 2, 0.9, 0.1)
    return dataclasses.replace(memory, slots=memory.slots.replace(labels=labels),
                               scored_sample=ScoredSample(ids, labels, 300))

  def test_a_model_trains_by_the_rates_that_it_chose(self) -> None:
    memory = self.memory()
    tuned, plain = (memory.compile(build_model("fm(embedding_dim=2)", SPEC, seed=1)) for _ in range(2))
    history = memory.fit(tuned, tune=Tuning(), verbose=0)
    chosen, losses = history.tuned.factors, history.tuned.losses
    assert chosen.overall == 2 and losses[chosen] == min(losses.values()) < losses[RateFactors()]
    faster = dataclasses.replace(memory, recipe=chosen.of(memory.recipe))
    plain.optimizer = recipe_optimizer(faster.recipe)
    memory.fit(plain, verbose=0)
    for one, other in zip(tuned.get_weights(), plain.get_weights(), strict=True):
      np.testing.assert_allclose(one, other, atol=1e-6)
    assert tuned.optimizer.iterations == 12

  def test_nothing_is_chosen_without_scored_rows_or_unless_asked(self) -> None:
    memory = self.memory()
    for some, tune in ((memory, None), (dataclasses.replace(memory, scored_sample=None), Tuning())):
      model = some.compile(build_model("lr", SPEC, seed=1))
      assert some.fit(model, tune=tune, verbose=0).tuned is None and model.optimizer.iterations == 12

  def test_a_bag_model_chooses_too(self) -> None:
    memory = self.memory()
    model = memory.compile(BagModel(OneId()), from_logits=True)
    assert memory.fit(model, tune=Tuning(), verbose=0).tuned.factors.overall == 2

  def test_another_optimiser_has_no_rates_of_the_recipe(self) -> None:
    memory = self.memory()
    model = memory.compile(build_model("lr", SPEC), optimizer=tf.keras.optimizers.Adam(0.01))
    with pytest.raises(ConfigError, match="compiled with Adam.*leave tune out"):
      memory.fit(model, tune=Tuning(), verbose=0)
