"""Proxies: draws of one id per field, and users' models beside the panel's."""

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.training.bilevel import InnerSettings, TrainingInputs, binary_cross_entropy
from diet_tf.training.proxies import make_proxies
from diet_tf.training.slot_features import drawn_features
from diet_tf.training.traced import initial_weights, loss_of_probabilities, make_training
from tests.diet_tf.small_log import SPEC, draw
from tests.diet_tf.small_slots import small_slots

INNER = InnerSettings(batch_size=4, epochs=2)
WRAPPED = "diet_tf.models:TfrsRanking(member=lr)"


def make_slots(count=8):
  return small_slots(draw(count)[0], labels=np.linspace(0.1, 0.9, count), spec=SPEC)


def make_inputs(slots):
  num_steps = INNER.num_steps(len(slots))
  return {name: tf.constant(value) for name, value in vars(TrainingInputs(
      slots.ids, slots.weights, slots.labels, slots.sample_weights, np.full(3, 0.1, np.float32),
      np.ones(num_steps, np.float32))).items()}


def test_draws_follow_the_id_weights():
  ids = np.tile([[1, 2, 0], [3, 4, 5], [1, 0, 0]], (4000, 1, 1)).astype(np.int32)
  weights = np.tile(np.float32([[0.25, 0.75, 0], [0.5, 0.3, 0.2], [1, 0, 0]]), (4000, 1, 1))
  features = drawn_features(SPEC, 3)(tf.constant(ids), tf.constant(weights), tf.constant(0))
  assert set(features) == set(SPEC.names) and {value.dtype for value in features.values()} == {tf.int64}
  shares = [np.bincount(features[name], minlength=6) / 4000 for name in SPEC.names]
  np.testing.assert_allclose(shares[0], [0, 0.25, 0.75, 0, 0, 0], atol=0.03)
  np.testing.assert_allclose(shares[1], [0, 0, 0, 0.5, 0.3, 0.2], atol=0.03)
  np.testing.assert_allclose(shares[2], [0, 1, 0, 0, 0, 0])


def test_draws_are_fixed_by_seed_and_step():
  ids = tf.constant(np.tile(np.arange(8, dtype=np.int32), (50, 3, 1)))
  weights = tf.fill(ids.shape, 0.125)
  seed = tf.Variable(3, dtype=tf.int64)
  drawn = [np.stack(list(drawn_features(SPEC, seed)(ids, weights, tf.constant(step)).values())) for step in (0, 0, 1)]
  seed.assign(4)
  drawn.append(np.stack(list(drawn_features(SPEC, seed)(ids, weights, tf.constant(0)).values())))
  np.testing.assert_array_equal(drawn[0], drawn[1])
  assert (drawn[0] != drawn[2]).mean() > 0.5 < (drawn[0] != drawn[3]).mean()


def test_the_loss_of_probabilities_is_that_of_their_logits():
  targets, logits = tf.constant([0.0, 0.3, 1.0]), tf.constant([-2.0, 0.5, 3.0])
  np.testing.assert_allclose(loss_of_probabilities(targets, tf.sigmoid(logits)[:, None]),
                             binary_cross_entropy(targets, logits), rtol=1e-5)
  assert np.isfinite(loss_of_probabilities(targets, tf.constant([1.0, 0.0, 0.0]))).all()


class OwnModel(tf.keras.Model):
  """A user's LR, over weighted bags or over single ids by field."""

  def __init__(self, spec, *, form, seed=0):
    super().__init__()
    self.diet_inputs = form
    self.tables = {name: tf.keras.layers.Embedding(count, 1, embeddings_initializer="zeros")
                   for name, count in zip(spec.names, spec.num_ids)}

  def call(self, features, training=False):
    total = 0.0
    for name, table in self.tables.items():
      values = table(features[name])
      if self.diet_inputs == "weighted":
        values = tf.reduce_sum(values * features[name + "/weights"][..., None], axis=1)
      total += values
    return total


OWN = "tests.diet_tf.training.test_proxies:OwnModel(form={})"


@pytest.mark.parametrize("name", [WRAPPED, *map(OWN.format, ("weighted", "averaged", "sampled"))])
def test_models_of_any_input_form_are_proxies(name):
  """A TFRS model, which has the hypergradient of the model in it, and users' models over bags and over single ids."""
  slots, ids = make_slots(), tf.constant(draw(6, seed=2)[0])
  found = []
  for member in ("lr", name):
    proxy = make_proxies([member], SPEC, INNER, slots, num_initialisations=1, seed=5, devices=["/CPU:0"])[member][0]
    inputs = make_inputs(slots)
    found.append(proxy.training.hypergradient(proxy.initial_weights[0], inputs, proxy.outer_features(ids),
                                              tf.fill([6], 0.25), tf.ones(6)))
  assert np.isfinite(found[1][0]) and all(np.isfinite(value).all() for value in found[1][1])
  flows = np.abs(found[1][1][0]).max() > 0
  # Nothing flows to the id weights through a draw, nor through a bag that is written out.
  assert flows == (name in (WRAPPED, OWN.format("weighted")))
  if name == OWN.format("averaged"):  # One id a bag: it is the model over weighted bags.
    weighted = OWN.format("weighted")
    proxy = make_proxies([weighted], SPEC, INNER, slots, num_initialisations=1, seed=5, devices=["/CPU:0"])[weighted][0]
    expected = proxy.training.hypergradient(proxy.initial_weights[0], make_inputs(slots), proxy.outer_features(ids),
                                            tf.fill([6], 0.25), tf.ones(6))
    for ours, theirs in zip(found[1][1][1:], expected[1][1:], strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)
  if name == WRAPPED:
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for ours, theirs in zip(found[1][1], found[0][1], strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_initial_weights_are_a_function_of_the_seed():
  name = "dnn(embedding_dim=2,hidden_units=4-)"
  first, second, third = (initial_weights(name, SPEC, seed) for seed in (1, 1, 2))
  training = make_training(name, SPEC, INNER, make_slots(), seed=1)
  for ours, again, other, variable in zip(first, second, third, training.variables, strict=True):
    np.testing.assert_array_equal(ours, again)
    assert ours.shape == variable.shape
    assert not ours.numpy().any() or (ours.numpy() != other.numpy()).all()


def test_proxies_of_one_name_share_their_starts_over_devices():
  proxies = make_proxies(["lr", "lr", "fm(embedding_dim=2)"], SPEC, INNER, make_slots(), num_initialisations=2, seed=1,
                         devices=["/CPU:0", "/CPU:0"])
  assert {name: len(found) for name, found in proxies.items()} == {"lr": 2, "fm(embedding_dim=2)": 2}
  first, second = proxies["fm(embedding_dim=2)"]
  assert first.training is not second.training and first.initial_weights is second.initial_weights
  tables = [weights[0].numpy() for weights in first.initial_weights]
  assert (tables[0] != tables[1]).any()


@pytest.mark.parametrize("wide", [False, True])
def test_padding_that_all_slots_have_does_not_change_the_training(wide):
  """Fields of few ids beside one of many: the inner loop leaves their padding out."""
  slots = make_slots()
  width = 6 if wide else 1
  padded = slots.replace(ids=np.pad(slots.ids, ((0, 0), (0, 0), (0, width - 1))),
                         weights=np.pad(slots.weights, ((0, 0), (0, 0), (0, width - 1))))
  if wide:
    padded.ids[:, 0], padded.weights[:, 0] = padded.ids[:, 0, :1], 1 / 6
  training = make_training("lr", SPEC, INNER, padded, seed=1)
  training.train(initial_weights("lr", SPEC, 1), make_inputs(padded))
  expected = make_training("lr", SPEC, INNER, slots, seed=1)
  expected.train(initial_weights("lr", SPEC, 1), make_inputs(slots))
  for ours, theirs in zip(training.variables, expected.variables, strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
