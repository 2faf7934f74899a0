"""Models of single ids on weighted bags: what they compute, learn, and refuse."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.models.bag_model import BagModel, ids_at
from tests.diet_tf.small_log import SPEC
from tests.diet_tf.small_slots import small_slots

# Two bags of up to two ids in each of three fields; all weights are quarters, of which two ids a place make four.
BAGS = {"user": [[1, 2], [3, 0]], "user/weights": [[0.25, 0.75], [1, 0]],
        "item": [[4, 5], [6, 7]], "item/weights": [[0.5, 0.5], [0.75, 0.25]],
        "hour": [[1, 0], [2, 3]], "hour/weights": [[1, 0], [0.5, 0.5]]}
# By hand, with tables of one column that hold 0, 1, 2, ... in the user's, ten times that in the item's, and a hundred
# times that in the hour's: 1 (1/4) + 2 (3/4) + 40 (1/2) + 50 (1/2) + 100, and so on.
SUMS = [1.75 + 45 + 100, 3 + 62.5 + 250]


def bags():
  return {name: tf.constant(value, tf.float32 if "/" in name else tf.int64) for name, value in BAGS.items()}


def table(field, **settings):
  """An embedding of one column that holds `scale * id`."""
  size, scale = SPEC.num_ids[field], 10.0**field
  return tf.keras.layers.Embedding(size, 1, embeddings_initializer=tf.keras.initializers.Constant(
      scale * np.arange(size, dtype=np.float32)[:, None]), **settings)


class Subclassed(tf.keras.Model):
  """The sum of the three tables."""

  def __init__(self, prepare=lambda ids: ids, **settings):
    super().__init__()
    self.tables = {name: table(field, **settings) for field, name in enumerate(SPEC.names)}
    self.prepare = prepare

  def call(self, features, training=False):
    return tf.add_n([tf.reshape(table(self.prepare(features[name])), [-1, 1]) for name, table in self.tables.items()])


def functional():
  inputs = [tf.keras.Input([], name=name, dtype=tf.int64) for name in SPEC.names]
  parts = [table(field)(ids) for field, ids in enumerate(inputs)]
  return tf.keras.Model(inputs, tf.keras.layers.Add()(parts))


def one_table():
  """All fields in one table of known offsets, looked up at once: `[batch, 3]` ids."""

  class OneTable(tf.keras.Model):
    def __init__(self):
      super().__init__()
      values = np.concatenate([10.0**field * np.arange(size) for field, size in enumerate(SPEC.num_ids)])
      self.table = tf.keras.layers.Embedding(len(values), 1, embeddings_initializer=tf.keras.initializers.Constant(
          values[:, None]))
      self.offsets = np.cumsum([0, *SPEC.num_ids[:-1]])

    def call(self, features, training=False):
      ids = tf.stack([features[name] for name in SPEC.names], axis=1) + self.offsets
      return tf.reduce_sum(self.table(ids), axis=[1, 2])

  return OneTable()


@pytest.mark.parametrize("model", [
    Subclassed(), functional(), one_table(), Subclassed(lambda ids: ids[:, tf.newaxis]),
    Subclassed(lambda ids: tf.cast(ids, tf.int32)), Subclassed(lambda ids: ids, embeddings_regularizer="l2")],
    ids=["subclassed", "functional", "one table", "with an axis", "cast", "regularised"])
def test_a_bag_gives_the_weighted_mean_of_its_embeddings(model):
  whole = BagModel(model)
  np.testing.assert_allclose(np.ravel(whole(bags())), SUMS, rtol=1e-6)
  compiled = tf.function(whole, input_signature=[{
      name: tf.TensorSpec([None, None], tensor.dtype) for name, tensor in bags().items()}])
  np.testing.assert_allclose(np.ravel(compiled(bags())), SUMS, rtol=1e-6)
  np.testing.assert_allclose(np.ravel(compiled({name: value[1:] for name, value in bags().items()})), SUMS[1:])
  assert len(whole.losses) == len(model.losses)


def test_single_ids_are_passed_on():
  model = Subclassed()
  rows = {name: tf.constant([1, 2, 3], tf.int64) for name in SPEC.names}
  np.testing.assert_allclose(np.ravel(BagModel(model)(rows)), [111, 222, 333])
  with pytest.raises(ConfigError, match="no weights for hour"):
    BagModel(model)({name: value for name, value in bags().items() if name != "hour/weights"})


def test_layers_are_as_they_were_afterwards():
  model = Subclassed()
  whole = BagModel(model)
  whole(bags())
  assert not any("call" in vars(layer) for layer in model.submodules)
  np.testing.assert_allclose(np.ravel(model({name: tf.constant([1]) for name in SPEC.names})), [111])
  refused = Subclassed(lambda ids: 1 / 0 if ids.shape[0] == 12 else ids)
  with pytest.raises(ConfigError, match="division by zero"):
    BagModel(refused)(bags())
  assert not any("call" in vars(layer) for layer in refused.submodules)


def test_an_own_call_of_a_layer_is_kept():
  model = Subclassed()
  model.tables["user"].call = own = lambda ids: 5.0 * tf.cast(ids, tf.float32)[:, tf.newaxis]
  np.testing.assert_allclose(np.ravel(BagModel(model)(bags())), [8.75 + 145, 15 + 312.5], rtol=1e-6)
  assert model.tables["user"].call is own


def test_single_rows_in_another_thread_stay_rows():
  """Layers are changed in the thread that runs a model on bags, and in no other."""
  model = Subclassed()
  rows = {name: tf.constant([1, 2, 3, 4, 5, 6, 7, 8], tf.int64) % 5 for name in SPEC.names}
  expected = model(rows).numpy()
  found = []

  def in_another_thread(ids):
    """In the middle of a call on bags, before its first lookup."""
    model.prepare = lambda ids: ids
    thread = threading.Thread(target=lambda: found.append(model(rows).numpy()))
    thread.start()
    thread.join()
    return ids

  whole = BagModel(model)
  whole(bags())
  model.prepare = in_another_thread
  np.testing.assert_allclose(np.ravel(whole(bags())), SUMS, rtol=1e-6)
  np.testing.assert_allclose(found[0], expected)


def side_by_side(mask_zero=False, dtype=None):
  inputs = [tf.keras.Input([], name=name, dtype=tf.int64) for name in SPEC.names]
  parts = [table(field, mask_zero=mask_zero)(ids) for field, ids in enumerate(inputs)]
  hidden = tf.keras.layers.Concatenate()(parts)
  return tf.keras.Model(inputs, tf.keras.layers.Dense(1, kernel_initializer="ones", dtype=dtype)(hidden))


def nested():
  inputs = [tf.keras.Input([1], name=name, dtype=tf.int32) for name in SPEC.names]
  parts = [tf.keras.Sequential([table(field, mask_zero=True), tf.keras.layers.GlobalAveragePooling1D()])(
      tf.keras.layers.Lambda(lambda ids: ids)(ids)) for field, ids in enumerate(inputs)]
  return tf.keras.Model(inputs, tf.keras.layers.Add()(parts))


class WithTraining(tf.keras.layers.Embedding):
  """A subclass whose call has a further argument."""

  def call(self, inputs, training=None):
    return super().call(inputs)


class OfSubclass(Subclassed):
  """Calls it with that."""

  def __init__(self):
    super().__init__()
    self.tables = {name: WithTraining(layer.input_dim, 1, embeddings_initializer=layer.embeddings_initializer)
                   for name, layer in self.tables.items()}

  def call(self, features, training=False):
    return tf.add_n([table(features[name], training=training) for name, table in self.tables.items()])


@pytest.mark.parametrize("build", [lambda: side_by_side(mask_zero=True), nested, OfSubclass],
                         ids=["mask_zero", "nested", "subclass"])
def test_other_ways_to_look_up(build):
  model = build()
  whole = BagModel(WithAxis(model) if build is nested else model)
  np.testing.assert_allclose(np.ravel(whole(bags())), SUMS, rtol=1e-6)
  memory = make_memory()
  memory.compile(whole, from_logits=True)
  assert np.isfinite(memory.fit(whole, verbose=0).history["loss"]).all()


class WithAxis(tf.keras.Model):
  """Gives a model `[batch, 1]` ids."""

  def __init__(self, model):
    super().__init__()
    self.model = model

  def call(self, features, training=False):
    return self.model({name: ids[:, tf.newaxis] for name, ids in features.items()}, training=training)


def test_half_precision():
  tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
  try:
    whole = BagModel(side_by_side(dtype="float32"))
    memory = make_memory()
    memory.compile(whole, from_logits=True)
    memory.fit(whole, verbose=0)
    np.testing.assert_allclose(np.ravel(BagModel(side_by_side(dtype="float32"))(bags())), SUMS, rtol=0.01)
  finally:
    tf.keras.mixed_precision.set_global_policy(None)  # As it was: layers compute in Keras' floatx.


def test_it_is_saved_as_the_model_of_single_ids(tmp_path):
  whole = BagModel(side_by_side())
  whole(bags())
  rows = {name: tf.constant([1, 2, 3], tf.int64) for name in SPEC.names}
  whole.save(tmp_path / "saved")
  whole.save_weights(tmp_path / "weights")
  other = side_by_side()
  other.set_weights([0 * value for value in other.get_weights()])
  BagModel(other).load_weights(tmp_path / "weights")
  np.testing.assert_allclose(np.ravel(other(rows)), [111, 222, 333])
  whole.export(tmp_path / "exported")
  np.testing.assert_allclose(np.ravel(tf.keras.models.load_model(tmp_path / "saved")(rows)), [111, 222, 333])
  exported = tf.saved_model.load(tmp_path / "exported")
  np.testing.assert_allclose(np.ravel(exported.serve([*rows.values()])), [111, 222, 333])


class PastTheTable(Subclassed):
  """Reads a field's ids as a number too."""

  def call(self, features, training=False):
    return super().call(features) + tf.cast(features["hour"], tf.float32)[:, tf.newaxis]


class WholeTable(Subclassed):
  """Looks up ids that are not of the batch."""

  def call(self, features, training=False):
    return super().call(features) + tf.reduce_mean(self.tables["hour"](tf.range(4)))


class NoTable(tf.keras.Model):
  """Has weights of its own, and no embedding layer."""

  def build(self, shape):
    self.values = self.add_weight(name="values", shape=[13], initializer="ones")

  def call(self, features, training=False):
    return tf.gather(self.values, features["user"])


class Crossed(Subclassed):
  """Looks up what two fields make together."""

  def call(self, features, training=False):
    together = tf.keras.layers.Hashing(13)(tf.strings.join([tf.strings.as_string(features[name])
                                                            for name in ("user", "item")], "x"))
    return self.tables["user"](together) + self.tables["hour"](features["hour"])


class Compiled(Subclassed):
  """Keeps what it computed on bags for rows of the same shape."""

  @tf.function
  def call(self, features, training=False):
    return super().call(features)


class Positions(Subclassed):
  """Looks up numbers that are no ids."""

  def call(self, features, training=False):
    return super().call(features) + tf.reduce_sum(self.tables["hour"](tf.range(12) % 5))


@pytest.mark.parametrize("kind", [PastTheTable, WholeTable, NoTable, Crossed, Compiled, Positions])
def test_a_model_that_cannot_be_run_on_bags_is_refused(kind):
  for call in (lambda features: BagModel(kind())(features), tf.function(lambda features: BagModel(kind())(features))):
    with pytest.raises(ConfigError, match="looks up ids in tf.keras.layers.Embedding layers") as caught:
      call(bags())
    assert kind.__name__ in str(caught.value) and "mode='sampled'" in str(caught.value)
    reasons = {Crossed: "changes with user and with item", Compiled: "a tf.function looks ids up"}
    assert reasons.get(kind, "") in str(caught.value)


@pytest.mark.parametrize("value", [
    lambda user, item: user * item, lambda user, item: 10 * user + item, lambda user, item: user // 2 * 3 + item // 4,
    lambda user, item: tf.where((user > 1) & (item > 1), user * item, 0)])
def test_ids_that_are_made_of_two_fields_are_found(value):
  class Product(Subclassed):
    def call(self, features, training=False):
      return self.tables["user"](value(features["user"], features["item"]) % 13)

  with pytest.raises(ConfigError, match="changes with user and with item"):
    BagModel(Product())(bags())


def test_a_helper_that_is_compiled_is_found_also_when_it_has_run_before():
  class Helped(Subclassed):
    @tf.function
    def looked_up(self, features):
      return super().call(features)

    def call(self, features, training=False):
      return self.looked_up(features)

  rows = {name: tf.ones([2 * (len(SPEC.names) + 1)], tf.int64) for name in SPEC.names}
  for ran_before in (False, True):
    model = Helped()
    if ran_before:
      model(rows)
    with pytest.raises(ConfigError, match="a tf.function looks ids up"):
      BagModel(model)(bags())
    assert not tf.config.functions_run_eagerly()


def test_what_is_compiled_after_the_lookups_and_ids_that_a_log_has_not_are_no_fault():
  class Towered(Subclassed):
    """Looks up ids from 1 on, and has a compiled tower."""

    tower = staticmethod(tf.function(lambda values: 2.0 * values))

    def __init__(self):
      super().__init__(lambda ids: ids - 1)

    def call(self, features, training=False):
      return self.tower(super().call(features))

  # Every id is one less, and so its part of each sum.
  batch = {name: value if "/" in name else tf.maximum(value, 1) for name, value in bags().items()}
  np.testing.assert_allclose(np.ravel(BagModel(Towered())(batch)), 2 * (np.array(SUMS) - 111), rtol=1e-6)


def test_what_is_no_model_is_refused():
  with pytest.raises(ConfigError, match="not its class"):
    BagModel(Subclassed)


def make_memory():
  """Bags of halves, so that four ids a bag of two stand for it exactly."""
  random = np.random.default_rng(3)
  ids = np.stack([random.integers(1, size, (12, 2)) for size in SPEC.num_ids], axis=1)
  slots = small_slots(ids, labels=random.random(12), spec=SPEC)
  recipe = Recipe(batch_size=4, epochs=3)
  return Memory.create(slots, SPEC, recipe, span=1, num_examples_seen=100, budget={"slots": 12})


class Weighted(Subclassed):
  """What `BagModel` makes of `Subclassed`, written by hand."""

  def call(self, features, training=False):
    parts = [tf.reduce_sum(table(features[name]) * features[name + "/weights"][..., tf.newaxis], axis=1)
             for name, table in self.tables.items()]
    return tf.add_n(parts)


def test_it_learns_what_a_model_over_bags_learns():
  memory = make_memory()
  expected = memory.compile(Weighted(), from_logits=True)
  memory.fit(expected, verbose=0)
  model = Subclassed()
  whole = memory.compile(BagModel(model), from_logits=True)
  whole(bags())
  starts = model.get_weights()
  memory.fit(whole, verbose=0)
  assert [variable.ref() for variable in whole.trainable_variables] == [
      variable.ref() for variable in model.trainable_variables]
  moved = 0.0
  for ours, theirs, start in zip(model.get_weights(), expected.get_weights(), starts, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    moved += np.abs(ours - start).sum()
  assert moved > 0.01


_UNDER_STRATEGIES = """
import diet_tf
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tests.diet_tf.models.test_bag_model import Subclassed, functional, make_memory

memory = make_memory()
replicas = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for build in (Subclassed, functional):
  found = []
  for strategy in (tf.distribute.get_strategy(), replicas):
    with strategy.scope():
      model = build()
      whole = memory.compile(diet_tf.BagModel(model), from_logits=True)
    memory.fit(whole, verbose=0)
    found.append(model.get_weights())
  for ours, theirs in zip(*found, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


class Synchronised(Subclassed):
  # Replicas wait for each other between two lookups, here with unequal parts of a batch.

  def __init__(self):
    super().__init__()
    self.normalise = tf.keras.layers.BatchNormalization(synchronized=True)

  def call(self, features, training=False):
    first = self.normalise(self.tables["user"](features["user"]), training=training)
    return first + self.tables["item"](features["item"])


with replicas.scope():
  whole = memory.compile(diet_tf.BagModel(Synchronised()), from_logits=True)
whole.fit(memory.dataset(batch_size=5), epochs=2, verbose=0)
"""


@pytest.mark.slow
def test_it_trains_on_two_replicas_as_on_one():
  """In a process of its own: a device can be parted only before TensorFlow has used it."""
  done = subprocess.run([sys.executable, "-c", _UNDER_STRATEGIES], capture_output=True, text=True, check=False,
                        timeout=300)
  assert done.returncode == 0, done.stderr[-2000:]


def test_whether_it_returns_logits_is_that_of_the_model():
  model = Subclassed()
  with pytest.raises(ConfigError, match="from_logits"):
    make_memory().compile(BagModel(model))
  model.from_logits = False
  assert BagModel(model).from_logits is False


def test_ids_at_shares_of_the_weights():
  ids = tf.constant([[9, 5, 6, 9], [1, 2, 3, 4]])
  weights = tf.constant([[0, 0.4, 0.6, 0], [2.0, 2, 0, 4]])
  found = ids_at(ids, weights, tf.constant([0.0, 0.24, 0.26, 0.399, 0.401, 0.51, 1 - 2.0**-23]))
  np.testing.assert_array_equal(found, [[5, 5, 5, 5, 6, 6, 6], [1, 1, 2, 2, 2, 4, 4]])
  of_each = ids_at(ids, weights, tf.constant([[0.0, 0.5], [0.9, 0.3]]))
  np.testing.assert_array_equal(of_each, [[5, 6], [4, 2]])
  np.testing.assert_array_equal(ids_at(ids[:1, :2], tf.zeros([1, 2]), tf.constant([0.5])), [[5]])
