import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.models.optimizers import GroupedAdam

TABLE = np.arange(12.0).reshape(6, 2) / 10


def table(dtype="float32") -> tf.Variable:
  return tf.Variable(TABLE, name="embedding_table", dtype=dtype)


def sparse(rows, values, dtype="float32") -> tf.IndexedSlices:
  return tf.IndexedSlices(tf.cast(values, dtype), tf.constant(list(rows), tf.int64), tf.constant([6, 2]))


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_keras_adam_when_all_rows_are_touched(as_sparse, dtype, in_graph):
  ours, theirs = table(dtype), table(dtype)
  optimizer = GroupedAdam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-6)
  keras = tf.keras.optimizers.Adam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-6)
  optimizer.build([ours])
  keras.build([theirs])

  def step(gradient):
    optimizer.apply_gradients([(sparse(range(6), gradient, dtype) if as_sparse else gradient, ours)])
    keras.apply_gradients([(gradient, theirs)])

  run = tf.function(step) if in_graph else step
  rng = np.random.default_rng(0)
  for _ in range(20):
    run(tf.constant(rng.normal(size=(6, 2)), dtype))
  np.testing.assert_allclose(ours, theirs, atol=1e-6)
  assert int(optimizer.iterations) == 20


def test_a_step_by_hand():
  # g = 2: m = 0.2, v = 0.004; the step is rate sqrt(0.001) / 0.1 * 0.2 / (sqrt(0.004) + 0.01).
  variable = tf.Variable([1.0], dtype="float64")
  GroupedAdam(0.5, epsilon=0.01).apply_gradients([(tf.constant([2.0], tf.float64), variable)])
  expected = 1 - 0.5 * np.sqrt(0.001) / 0.1 * 0.2 / (np.sqrt(0.004) + 0.01)
  np.testing.assert_allclose(variable, [expected], rtol=1e-7)


@pytest.mark.parametrize("in_graph", [False, True])
def test_untouched_rows_keep_every_bit(in_graph):
  variable, optimizer = table(), GroupedAdam(0.01)
  optimizer.build([variable])
  apply = tf.function(optimizer.apply_gradients) if in_graph else optimizer.apply_gradients
  apply([(sparse(range(6), np.ones((6, 2))), variable)])
  state = [variable, *[slot for slot in optimizer.variables if slot.shape == variable.shape]]
  assert len(state) == 3
  before = [value.numpy() for value in state]
  apply([(sparse([4, 1], [[1, 2], [3, 4]]), variable)])
  for old, new in zip(before, state, strict=True):
    rest = [0, 2, 3, 5]
    assert old[rest].tobytes() == new.numpy()[rest].tobytes()
    assert np.all(old[[1, 4]] != new.numpy()[[1, 4]])


def test_repeated_rows_are_summed_once():
  repeated, summed = table(), table()
  GroupedAdam(0.01).apply_gradients([(sparse([3, 1, 3, 3], [[1, 2], [5, 6], [3, 4], [0.5, 0.25]]), repeated)])
  GroupedAdam(0.01).apply_gradients([(sparse([1, 3], [[5, 6], [4.5, 6.25]]), summed)])
  np.testing.assert_array_equal(repeated, summed)


def test_an_empty_sparse_gradient_only_counts_the_step():
  variable, optimizer = table(), GroupedAdam(0.01)
  optimizer.apply_gradients([(sparse([], np.zeros((0, 2))), variable)])
  np.testing.assert_array_equal(variable, np.float32(TABLE))
  assert int(optimizer.iterations) == 1


def test_each_group_has_its_rate():
  names = {"embedding_table": (3, 2), "linear_table": (3, 1), "kernel": (3, 2)}
  variables = [tf.Variable(tf.zeros(shape), name=name) for name, shape in names.items()]
  optimizer = GroupedAdam({"embedding": 0.1, "linear": 0.01, "dense": 0.001}, epsilon=1e-12)
  optimizer.apply_gradients([(tf.ones_like(variable), variable) for variable in variables])
  # Adam's first step is the rate times the gradient's sign.
  for variable, rate in zip(variables, (0.1, 0.01, 0.001), strict=True):
    np.testing.assert_allclose(variable, np.full(variable.shape, -rate), rtol=1e-5)


def test_multipliers_scale_the_steps_and_the_last_one_holds():
  variable = tf.Variable([0.0], dtype="float64")
  # With beta 0 every step is the rate times the gradient's sign.
  optimizer = GroupedAdam(0.1, beta_1=0.0, beta_2=0.0, epsilon=1e-12, step_multipliers=(1.0, 0.5, 0.25))
  seen = []
  for _ in range(5):
    before = variable.numpy()[0]
    optimizer.apply_gradients([(tf.constant([3.0], tf.float64), variable)])
    seen.append(before - variable.numpy()[0])
  np.testing.assert_allclose(seen, [0.1, 0.05, 0.025, 0.025, 0.025], rtol=1e-6)


def test_keras_learning_rate_is_a_common_factor():
  variable = tf.Variable([0.0])
  optimizer = GroupedAdam(0.1, learning_rate=0.5, epsilon=1e-12)
  optimizer.apply_gradients([(tf.constant([1.0]), variable)])
  np.testing.assert_allclose(variable, [-0.05], rtol=1e-5)
  optimizer.learning_rate = 0.0
  optimizer.apply_gradients([(tf.constant([1.0]), variable)])
  np.testing.assert_allclose(variable, [-0.05], rtol=1e-5)


def test_a_schedule_is_a_common_factor():
  schedule = tf.keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.0])
  variable, optimizer = tf.Variable([0.0]), GroupedAdam(0.1, learning_rate=schedule, epsilon=1e-12)
  for _ in range(3):
    optimizer.apply_gradients([(tf.constant([1.0]), variable)])
  np.testing.assert_allclose(variable, [-0.1], rtol=1e-5)
  copy = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(optimizer))
  assert copy.get_config() == optimizer.get_config()


def test_serialisation_keeps_every_setting():
  optimizer = GroupedAdam({"embedding": 0.1, "linear": 0.01, "dense": 0.001}, beta_1=0.5, beta_2=0.75, epsilon=1e-3,
                          step_multipliers=(1.0, 0.5), learning_rate=0.25, name="ours", clipnorm=2.0)
  config = tf.keras.optimizers.serialize(optimizer)
  copy = tf.keras.optimizers.deserialize(config)
  assert isinstance(copy, GroupedAdam)
  assert copy.get_config() == optimizer.get_config()
  assert copy.get_config()["step_multipliers"] == [1.0, 0.5]
  assert copy.clipnorm == 2.0


def test_state_is_saved_and_restored(tmp_path):
  variable, optimizer = table(), GroupedAdam(0.01)
  optimizer.apply_gradients([(sparse([2], [[1, 1]]), variable)])
  path = tf.train.Checkpoint(optimizer=optimizer, variable=variable).write(str(tmp_path / "state"))
  other_variable, other = tf.Variable(tf.zeros((6, 2)), name="embedding_table"), GroupedAdam(0.01)
  other.build([other_variable])
  tf.train.Checkpoint(optimizer=other, variable=other_variable).read(path).assert_consumed()
  for one, two in ((optimizer, variable), (other, other_variable)):
    one.apply_gradients([(sparse([2], [[1, -1]]), two)])
  np.testing.assert_array_equal(variable, other_variable)


def test_no_retrace_from_step_to_step():
  variable, optimizer, traces = table(), GroupedAdam(0.01, step_multipliers=(1.0, 0.5)), []
  optimizer.build([variable])

  @tf.function
  def step(rows, values):
    traces.append(1)
    optimizer.apply_gradients([(tf.IndexedSlices(values, rows, tf.constant([6, 2])), variable)])

  for index in range(4):
    step(tf.constant([index, 1], tf.int64), tf.ones([2, 2]))
  assert len(traces) == 1


@pytest.mark.parametrize(("settings", "named"), [
    ({"learning_rates": {"embedding": 0.1, "dense": 0.1}}, "learning_rates"),
    ({"learning_rates": {"embedding": 0.1, "linear": 0.1, "dense": 0.1, "other": 0.1}}, "learning_rates"),
    ({"learning_rates": -0.1}, "learning_rates"),
    ({"learning_rates": float("nan")}, "learning_rates"),
    ({"beta_1": 1.0}, "beta_1"),
    ({"beta_2": -0.1}, "beta_2"),
    ({"epsilon": 0.0}, "epsilon"),
])
def test_settings_out_of_range_are_refused_by_name(settings, named):
  with pytest.raises(ConfigError, match=named):
    GroupedAdam(**settings)


@pytest.mark.parametrize("in_graph", [False, True])
def test_not_lazy_equals_keras_adam_whatever_rows_a_batch_touches(in_graph):
  ours, theirs = table(), table()
  optimizer, keras = GroupedAdam(0.01, beta_2=0.99, lazy=False), tf.keras.optimizers.Adam(0.01, beta_2=0.99)
  optimizer.build([ours])
  keras.build([theirs])
  apply = tf.function(lambda g: optimizer.apply_gradients([(g, ours)]), reduce_retracing=True) if in_graph else (
      lambda g: optimizer.apply_gradients([(g, ours)]))
  rng = np.random.default_rng(1)
  for rows in ([4, 1], [1], [5, 4], [5]):
    gradient = sparse(rows, rng.normal(size=(len(rows), 2)))
    apply(gradient)
    keras.apply_gradients([(gradient, theirs)])
  np.testing.assert_allclose(ours, theirs, atol=1e-6)
  np.testing.assert_array_equal(ours.numpy()[[0, 2, 3]], TABLE.astype(np.float32)[[0, 2, 3]])


def test_after_a_reset_it_steps_as_a_new_one():
  found = []
  for rows_before in ([], [3, 1, 0]):
    variable = table()
    optimizer = GroupedAdam(0.01, lazy=False)
    optimizer.build([variable])
    for row in rows_before:
      optimizer.apply_gradients([(sparse([row], np.ones((1, 2))), variable)])
    optimizer.reset()
    variable.assign(table())
    for row in (0, 2, 0):
      optimizer.apply_gradients([(sparse([row], np.full((1, 2), 0.5)), variable)])
    found.append(variable.numpy())
  assert found[0].tobytes() == found[1].tobytes()


def test_a_row_moves_on_for_at_least_its_momentum_steps():
  variable = table()
  optimizer = GroupedAdam(0.01, lazy=False, momentum_steps=2)
  optimizer.build([variable])
  moves = []
  for rows in ([3], [0], [0], [0], [0], [0]):
    before = variable.numpy()
    optimizer.apply_gradients([(sparse(rows, np.ones((1, 2))), variable)])
    moves.append(bool((variable.numpy()[3] != before[3]).any()))
  # Row 3 occurs in the first period of two steps, moves through the second and rests from the third.
  assert moves == [True, True, True, True, False, False]


def test_all_rows_take_the_same_steps_as_those_that_have_occurred():
  gradients = [sparse([1, 3], [[1, 2], [3, 4]]), sparse([3], [[0.5, -1]]), sparse([5, 1, 1], [[1, 1], [2, 0], [1, 1]])]
  results = []
  for all_rows in (False, True):
    variable, optimizer = table(), GroupedAdam(0.01, lazy=False, all_rows=all_rows)
    for gradient in gradients:
      optimizer.apply_gradients([(gradient, variable)])
    results.append(variable.numpy())
    assert GroupedAdam.from_config(optimizer.get_config()).has_fixed_shapes is all_rows
  np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"lazy": False, "momentum_steps": 3}])
def test_all_rows_contradict_a_choice_of_rows(settings):
  with pytest.raises(ConfigError, match="all_rows"):
    GroupedAdam(all_rows=True, **settings)
