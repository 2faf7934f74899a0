"""What holds for every member of the panel."""

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.models import PANEL, PARAMETER_GROUPS, RankingModel, build_model, parameter_group
from diet_tf.models.optimizers import GroupedAdam
from diet_tf.models.tower import SeededDropout
from tests.diet_tf.models.conftest import make_spec

members = pytest.mark.parametrize("name", PANEL)


def randomised(name: str, spec, **settings) -> RankingModel:
  """A model with weights far from 0, so that no term of it is lost in rounding."""
  model = build_model(name, spec, seed=3, **settings)
  rng = np.random.default_rng(4)
  model.set_weights([rng.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()])
  return model


@members
def test_packed_and_dict_bags_give_equal_logits(name, spec, bags):
  ids, weights = bags[0], bags[1].astype(np.float32)
  columns = {name: ids[:, field] for field, name in enumerate(spec.names)}
  columns |= {f"{name}/weights": weights[:, field] for field, name in enumerate(spec.names)}
  model = randomised(name, spec)
  logits = model({"ids": ids, "weights": weights})
  assert logits.shape == (8,)
  np.testing.assert_array_equal(logits, model(columns))


@members
def test_single_ids_equal_bags_of_weight_one(name, spec, single):
  model = randomised(name, spec)
  ids = np.stack([single[name] for name in spec.names], axis=1)
  logits = model(single).numpy()
  np.testing.assert_array_equal(logits, model({"ids": ids}))
  # Padding of weight 0 does not count, whatever its id.
  padded, weights = np.stack([ids, np.ones_like(ids)], axis=2), np.tile(np.float32([1, 0]), (8, 3, 1))
  np.testing.assert_allclose(logits, model({"ids": padded, "weights": weights}), rtol=1e-6)


@members
def test_logits_are_the_head_of_hidden(name, spec, bags):
  model = randomised(name, spec, dtype="float64")
  embeddings, linear = model.embed({"ids": bags[0], "weights": bags[1]})
  hidden = model.hidden(embeddings, linear)
  logits = model({"ids": bags[0], "weights": bags[1]})
  assert hidden.shape.rank == 2 and model.head.kernel.shape == (hidden.shape[1], 1)
  np.testing.assert_allclose(logits, model.head(hidden)[:, 0], rtol=1e-12)
  kernel = model.head.kernel.numpy()
  np.testing.assert_allclose(logits, (hidden.numpy() @ kernel)[:, 0] + model.head.bias.numpy(), rtol=1e-12)
  np.testing.assert_allclose(logits, model.logits_from(embeddings, linear), rtol=1e-12)


@members
def test_gradient_by_the_head_is_closed_form(name, spec, bags):
  model = randomised(name, spec, dtype="float64")
  features, labels = {"ids": bags[0], "weights": bags[1]}, np.linspace(0, 1, 8)
  with tf.GradientTape() as tape:
    logits = model(features)
    loss = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
  residuals = (tf.sigmoid(logits) - labels).numpy()
  variables = model.head.trainable_variables[::-1]  # Bias first; not every head has a free column.
  gradients = tape.gradient(loss, variables)
  np.testing.assert_allclose(gradients[0], [residuals.sum()], rtol=1e-9)
  assert (len(variables) == 2) == (model.head.num_free > 0)
  if len(variables) == 2:
    hidden = model.hidden(*model.embed(features)).numpy()[:, :model.head.num_free]
    np.testing.assert_allclose(gradients[1][:, 0], residuals @ hidden, rtol=1e-9)


@members
def test_initial_weights_are_a_function_of_the_seed(name, spec, single):
  tf.random.set_seed(1)
  first = build_model(name, spec, seed=5)
  tf.random.set_seed(2)
  tf.random.normal([3])
  again, other = build_model(name, spec, seed=5), build_model(name, spec, seed=6)
  for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
    np.testing.assert_array_equal(one, two)
  np.testing.assert_array_equal(first(single), again(single))
  drawn = [(one, two) for one, two in zip(first.get_weights(), other.get_weights(), strict=True) if one.any()]
  assert all(not np.array_equal(one, two) for one, two in drawn)
  assert bool(drawn) == (name != "lr")


@members
def test_no_two_matrices_start_alike(name, spec):
  values = [weight.ravel() for weight in build_model(name, spec, seed=5).get_weights() if weight.any()]
  for index, one in enumerate(values):
    for two in values[:index]:
      size = min(one.size, two.size)
      assert not np.allclose(one[:size] / abs(one).max(), two[:size] / abs(two).max(), atol=1e-3)


@members
def test_one_gather_a_table_in_a_packed_forward_pass(name, spec):
  model = build_model(name, spec)
  graph = tf.function(model).get_concrete_function(
      {"ids": tf.TensorSpec([None, 3, 2], tf.int32), "weights": tf.TensorSpec([None, 3, 2])}).graph
  gathers = [node for node in graph.get_operations() if node.type == "ResourceGather"]
  assert len(gathers) == int(model.has_embeddings) + int(model.has_linear)


@members
def test_no_step_handles_a_tensor_as_large_as_the_id_space(name):
  spec = make_spec(100_003, 50_021)
  model, optimizer = build_model(name, spec), GroupedAdam(1e-3)
  optimizer.build(model.trainable_variables)

  @tf.function
  def step(ids):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model({"ids": ids}))
    optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables,
                                  strict=True))

  graph = step.get_concrete_function(tf.TensorSpec([4, 2], tf.int64)).graph
  sizes = [dim for node in graph.get_operations() for output in node.outputs if output.dtype != tf.resource
           for dim in output.shape.as_list() or [] if dim]
  assert max(sizes) < 10_000


@members
def test_hessian_vector_products_in_a_loop_equal_central_differences(name, spec, bags):
  model = randomised(name, spec, dtype="float64", hidden_units=(5, 4))
  variables = model.trainable_variables
  assert all(variable.dtype == tf.float64 for variable in variables)
  rng = np.random.default_rng(6)
  direction = [tf.constant(rng.normal(size=variable.shape)) for variable in variables]
  features = {"ids": tf.constant(bags[0]), "weights": tf.constant(bags[1])}
  labels = tf.constant(np.linspace(0, 1, 8))

  def gradient():
    with tf.GradientTape() as tape:
      losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=model(features))
      loss = tf.reduce_mean(losses)
    return tape.gradient(loss, variables)

  def product():
    with tf.GradientTape() as tape:
      inner = tf.add_n([dot(part, vector) for part, vector in zip(gradient(), direction, strict=True)])
    parts = tape.gradient(inner, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(part) for part in parts]

  @tf.function
  def products():
    start = (tf.constant(0), [tf.zeros_like(variable) for variable in variables])

    def add(step, sums):
      return step + 1, [total + part for total, part in zip(sums, product(), strict=True)]

    return tf.while_loop(lambda step, sums: step < 2, add, start)[1]

  def shifted_gradient(size):
    values = [variable.numpy() for variable in variables]
    for variable, value, vector in zip(variables, values, direction, strict=True):
      variable.assign(value + size * vector)
    parts = [tf.convert_to_tensor(part).numpy() for part in gradient()]
    for variable, value in zip(variables, values, strict=True):
      variable.assign(value)
    return parts

  size = 1e-5
  above, below = shifted_gradient(size), shifted_gradient(-size)
  for found, high, low in zip(products(), above, below, strict=True):
    np.testing.assert_allclose(found, 2 * (high - low) / (2 * size), atol=2e-7)


def dot(gradient, vector):
  if isinstance(gradient, tf.IndexedSlices):
    return tf.reduce_sum(gradient.values * tf.gather(vector, gradient.indices))
  return tf.reduce_sum(gradient * vector)


def test_floatx_sets_the_dtype_of_new_models(spec, single):
  tf.keras.backend.set_floatx("float64")
  try:
    model = build_model("dcn_v2", spec)
  finally:
    tf.keras.backend.set_floatx("float32")
  assert {weight.dtype for weight in model.weights} == {tf.float64}
  assert model(single).dtype == tf.float64
  assert build_model("dcn_v2", spec)(single).dtype == tf.float32


@members
def test_fit_lowers_the_loss(name, spec, single):
  model = build_model(name, spec, seed=1)
  # Eagerly, since tracing ten models would take most of the time; the tests of users' models train in graphs.
  model.compile(GroupedAdam(0.02), tf.keras.losses.BinaryCrossentropy(from_logits=True),
                metrics=[tf.keras.metrics.AUC(from_logits=True)], run_eagerly=True)
  labels = (single["a"] > 1).astype(np.float32)
  history = model.fit(single, labels, batch_size=4, epochs=25, verbose=0, shuffle=False)
  assert history.history["loss"][-1] < 0.75 * history.history["loss"][0]
  assert model.predict(single, verbose=0).shape == labels.shape


@members
def test_config_round_trip_gives_the_same_model(name, spec, single):
  model = build_model(name, spec, seed=4, embedding_dim=3, hidden_units=(6,), l2=0.01)
  copy = type(model).from_config(model.get_config())
  assert copy.get_config() == model.get_config()
  np.testing.assert_array_equal(copy(single), model(single))


@members
def test_every_variable_has_the_group_of_its_table(name, spec):
  model = build_model(name, spec)
  groups = {variable.name: parameter_group(variable) for variable in model.trainable_variables}
  assert set(groups.values()) <= set(PARAMETER_GROUPS)
  assert list(groups.values()).count("embedding") == int(model.has_embeddings)
  assert list(groups.values()).count("linear") == int(model.has_linear)


def test_each_sample_weight_counts_for_its_own_row(spec, single):
  model = randomised("dnn", spec)
  model.compile("sgd", tf.keras.losses.BinaryCrossentropy(from_logits=True))
  labels, weights = np.float32([1, 0] * 4), np.float32([4, 0, 1, 0, 0, 2, 0, 1])
  losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=model(single)).numpy()
  found = model.evaluate(single, labels, sample_weight=weights, batch_size=8, verbose=0)
  assert found == pytest.approx((losses * weights).sum() / 8, rel=1e-5)


def test_l2_penalises_kernels_and_no_table(spec):
  model = build_model("dcn_v2", spec, l2=0.5, seed=1)
  kernels = [weight.numpy() for weight in model.weights if "kernel" in weight.name]
  assert len(kernels) == 7
  assert float(tf.add_n(model.losses)) == pytest.approx(0.5 * sum((kernel**2).sum() for kernel in kernels), rel=1e-5)


def test_dropout_is_off_outside_training_and_a_function_of_seed_and_call(spec, single):
  first, second = (build_model("dnn", spec, seed=1, dropout=0.5, embedding_stddev=1.0) for _ in range(2))
  plain = build_model("dnn", spec, seed=1, embedding_stddev=1.0)
  np.testing.assert_array_equal(first(single), plain(single))
  calls = [first(single, training=True).numpy() for _ in range(2)]
  assert not np.array_equal(calls[0], calls[1])
  for call in calls:
    np.testing.assert_array_equal(call, second(single, training=True))


def test_dropout_keeps_the_mean():
  outputs = SeededDropout(0.25, 1)(tf.ones([200, 100]), training=True).numpy()
  assert set(np.unique(outputs)) == {0.0, np.float32(4 / 3)}
  assert outputs.mean() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("settings", [{"embedding_dim": 0}, {"hidden_units": (4, 0)}, {"dropout": 1.0}, {"l2": -1.0},
                                      {"embedding_stddev": -0.1}])
def test_settings_out_of_range_are_refused_by_name(spec, settings):
  with pytest.raises(ConfigError, match=next(iter(settings))):
    build_model("dnn", spec, **settings)


def test_trains_under_a_mirrored_strategy(spec, single):
  labels = (single["a"] > 1).astype(np.float32)

  def trained(strategy):
    with strategy.scope():
      model = build_model("wide_deep", spec, seed=1)
      model.compile(GroupedAdam(0.01), tf.keras.losses.BinaryCrossentropy(from_logits=True))
    model.fit(single, labels, batch_size=4, epochs=2, verbose=0, shuffle=False)
    return model.get_weights()

  mirrored, plain = trained(tf.distribute.MirroredStrategy(["/cpu:0"])), trained(tf.distribute.get_strategy())
  for one, two in zip(mirrored, plain, strict=True):
    np.testing.assert_allclose(one, two, atol=1e-6)
