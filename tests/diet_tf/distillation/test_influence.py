"""Influence in closed form against one tape per example, and its sign against what a step does."""

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation.influence import (
  InfluenceScorer,
  InfluenceSettings,
  is_drawn,
  share_of_examples,
  slot_features,
)
from diet_tf.errors import ConfigError, NumericsError
from diet_tf.models import build_model
from diet_tf.training.bilevel import binary_cross_entropy
from tests.diet_tf import small_sets
from tests.diet_tf.small_log import SPEC
from tests.diet_tf.small_slots import small_slots

NUM_EXAMPLES, MAX_IDS = 12, 3
RATE = 0.25
members = pytest.mark.parametrize("family", ["dnn", "deepfm", "lr"])


def make_model(family, seed=3):
  model = build_model(family, SPEC, seed=seed, embedding_dim=2, hidden_units=(4,), dtype="float64")
  random = np.random.default_rng(seed)
  model.set_weights([random.normal(scale=0.7, size=weight.shape) for weight in model.get_weights()])
  return model


def make_batch(seed, *, bags):
  """`(features, targets, sample_weights)`; in a bag, ids of one field are distinct, as in a slot."""
  random = np.random.default_rng(seed)
  ids = np.stack([np.stack([random.permutation(num_ids)[:MAX_IDS] for num_ids in SPEC.num_ids])
                  for _ in range(NUM_EXAMPLES)])
  weights = random.dirichlet(np.ones(MAX_IDS), size=ids.shape[:2])
  features = {"ids": tf.constant(ids), "weights": tf.constant(weights)} if bags else {"ids": tf.constant(ids[..., 0])}
  return features, tf.constant(random.random(NUM_EXAMPLES)), tf.constant(random.uniform(0.5, 2, NUM_EXAMPLES))


def part_of(batch, rows):
  features, *rest = batch
  return {name: value[rows] for name, value in features.items()}, *(value[rows] for value in rest)


def scored_variables(model):
  """The tables and the last layer: what the closed form keeps."""
  tables = [model.embedding.embedding_table, model.embedding.linear_table, model.head.free_kernel, model.head.bias]
  return [variable for variable in tables if variable is not None]


def loss_gradient(model, features, target):
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(binary_cross_entropy(target, model(features)))
  return [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(loss, scored_variables(model))]


def gradients_by_tape(model, batch):
  """`[num_examples, num_weights]`, one backward pass per example."""
  rows = (part_of(batch, slice(row, row + 1)) for row in range(NUM_EXAMPLES))
  return np.stack([np.concatenate([gradient.ravel() for gradient in loss_gradient(model, features, target)])
                   for features, target, _ in rows])


def fitted(model, batch):
  scorer = InfluenceScorer(model, RATE)
  scorer.fit_reference([part_of(batch, slice(0, 5)), part_of(batch, slice(5, None))])
  return scorer


@pytest.mark.parametrize("bags", [False, True], ids=["ids", "bags"])
@members
def test_closed_form_equals_a_tape_per_example(family, bags):
  model = make_model(family)
  reference, batch = make_batch(1, bags=True), make_batch(2, bags=bags)
  influences, norms = fitted(model, reference).score(*batch[:2])
  gradients = gradients_by_tape(model, batch)
  sample_weights = reference[2].numpy()
  mean = sample_weights @ gradients_by_tape(model, reference) / sample_weights.sum()
  assert np.abs(influences).min() > 1e-6
  np.testing.assert_allclose(influences, RATE * gradients @ mean, rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(norms, np.linalg.norm(gradients, axis=1), rtol=1e-9)


def test_scores_do_not_depend_on_the_batch():
  model, batch = make_model("deepfm"), make_batch(2, bags=True)
  scorer = fitted(model, make_batch(1, bags=True))
  influences, norms = scorer.score(*batch[:2])
  for size in (1, 5):
    parts = [scorer.score(*part_of(batch, slice(start, start + size))[:2]) for start in range(0, NUM_EXAMPLES, size)]
    np.testing.assert_allclose(np.concatenate([part[0] for part in parts]), influences, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([part[1] for part in parts]), norms, rtol=1e-12)


@members
def test_a_step_on_an_example_of_positive_influence_lowers_the_reference_loss(family):
  model = make_model(family)
  reference, batch = make_batch(1, bags=False), make_batch(2, bags=False)
  influences, _ = fitted(model, reference).score(*batch[:2])
  assert influences.min() < 0 < influences.max()

  def reference_loss():
    losses = binary_cross_entropy(reference[1], model(reference[0]))
    return float(tf.reduce_sum(losses * reference[2]) / tf.reduce_sum(reference[2]))

  before, start, tiny = reference_loss(), model.get_weights(), 1e-4
  for row, influence in enumerate(influences):
    features, target, _ = part_of(batch, slice(row, row + 1))
    for variable, gradient in zip(scored_variables(model), loss_gradient(model, features, target)):
      variable.assign_sub(tiny * RATE * gradient)
    # First order: the loss falls by the step's share of the influence.
    np.testing.assert_allclose((before - reference_loss()) / tiny, influence, rtol=0.05, atol=2e-4)
    model.set_weights(start)


def test_examples_are_drawn_by_their_ids():
  ids = np.arange(20_000)
  assert share_of_examples(20_000, False) == 0.2048 and share_of_examples(20_000, True) == 1
  assert share_of_examples(300, False) == 1
  drawn = is_drawn(ids, 0.2, 3)
  assert abs(drawn.mean() - 0.2) < 0.015
  order = np.random.default_rng(0).permutation(20_000)
  np.testing.assert_array_equal(is_drawn(ids[order], 0.2, 3), drawn[order])
  assert (is_drawn(ids, 0.2, 4) != drawn).mean() > 0.2
  assert is_drawn(ids, 1.0, 3).all() and not is_drawn(ids, 0.0, 3).any()


def test_a_reference_taken_over_from_elsewhere_scores_alike():
  model, batch = make_model("deepfm"), make_batch(2, bags=True)
  measured = fitted(model, make_batch(1, bags=True))
  other = InfluenceScorer(model, RATE)
  other.set_reference(measured.reference_arrays())
  np.testing.assert_array_equal(measured.score(*batch[:2]), other.score(*batch[:2]))


def test_a_reference_can_be_measured_again():
  scorer = fitted(make_model("deepfm"), make_batch(1, bags=True))
  batch = make_batch(2, bags=True)
  scorer.score(*batch[:2])
  scorer.fit_reference([make_batch(4, bags=True)])
  expected = InfluenceScorer(scorer.model, RATE)
  expected.fit_reference([make_batch(4, bags=True)])
  np.testing.assert_array_equal(scorer.score(*batch[:2]), expected.score(*batch[:2]))


def test_a_reference_that_is_not_finite_is_refused():
  features, targets, sample_weights = make_batch(1, bags=False)
  with pytest.raises(NumericsError, match="'kernel'"):
    InfluenceScorer(make_model("dnn"), RATE).fit_reference([(features, targets / 0, sample_weights)])


def test_a_literal_case_of_logistic_regression():
  model = build_model("lr", SPEC, dtype="float64")  # All weights 0: p = 1/2 everywhere.
  scorer = InfluenceScorer(model, 0.1)
  reference = {"ids": tf.constant([[1, 1, 1], [2, 1, 1]])}
  scorer.fit_reference([(reference, tf.constant([1.0, 1.0], tf.float64), tf.constant([1.0, 1.0], tf.float64))])
  # G: bias -1/2, user 1 and 2 -1/4 each, item 1 and hour 1 -1/2 each.
  influences, norms = scorer.score({"ids": tf.constant([[1, 1, 1], [1, 1, 1], [3, 4, 4]])},
                                   tf.constant([1.0, 0.0, 0.75], tf.float64))
  # Residuals -1/2, 1/2, -1/4; <., G> per residual: -(1/2 + 1/4 + 1/2 + 1/2) = -1.75, and -1/2 if only the bias meets.
  np.testing.assert_allclose(influences, [0.1 * 0.5 * 1.75, -0.1 * 0.5 * 1.75, 0.1 * 0.25 * 0.5], rtol=1e-12)
  np.testing.assert_allclose(norms, [0.5 * 2, 0.5 * 2, 0.25 * 2], rtol=1e-12)


def test_slot_features_are_the_packed_form():
  features = slot_features(small_slots(np.ones((2, 3))))
  assert {name: (value.dtype, tuple(value.shape)) for name, value in features.items()} == {
      "ids": (tf.int32, (2, 3, 1)), "weights": (tf.float32, (2, 3, 1))}


def test_scoring_needs_a_reference():
  with pytest.raises(NumericsError, match="fit_reference"):
    InfluenceScorer(make_model("lr"), RATE).score(*make_batch(2, bags=False)[:2])
  with pytest.raises(NumericsError, match="at least one example"):
    InfluenceScorer(make_model("lr"), RATE).fit_reference([])


def test_scores_that_are_not_finite_are_refused_by_row():
  model = make_model("lr")
  scorer = fitted(model, make_batch(1, bags=False))
  features, targets, _ = make_batch(2, bags=False)
  broken = targets.numpy()
  broken[[3, 7]] = np.nan
  with pytest.raises(NumericsError, match=r"\[3, 7\]"):
    scorer.score(features, tf.constant(broken))


@pytest.mark.parametrize("broken", [{"batch_size": 0}, {"holdback_fraction": 0.0}, {"holdback_fraction": 1.0}])
def test_settings_are_checked(broken):
  with pytest.raises(ConfigError, match=next(iter(broken))):
    InfluenceSettings(**broken)


@pytest.mark.parametrize("family", ["dnn", "fm", "lr"])
def test_rows_with_sets_of_values_score_as_a_tape_per_example_says(family):
  model = build_model(family, small_sets.SPEC, seed=3, embedding_dim=2, hidden_units=(4,), dtype="float64")
  random = np.random.default_rng(3)
  model.set_weights([random.normal(scale=0.7, size=weight.shape) for weight in model.get_weights()])
  batches = []
  for seed in (1, 2):
    rows, labels, _ = small_sets.draw(NUM_EXAMPLES, seed)
    batches.append(({"ids": tf.constant(rows)}, tf.constant(labels.astype(np.float64)),
                    tf.constant(random.uniform(0.5, 2, NUM_EXAMPLES))))
  reference, batch = batches
  influences, norms = fitted(model, reference).score(*batch[:2])
  gradients, sample_weights = gradients_by_tape(model, batch), reference[2].numpy()
  mean = sample_weights @ gradients_by_tape(model, reference) / sample_weights.sum()
  np.testing.assert_allclose(influences, RATE * gradients @ mean, rtol=1e-9, atol=1e-12)
  np.testing.assert_allclose(norms, np.linalg.norm(gradients, axis=1), rtol=1e-9)
