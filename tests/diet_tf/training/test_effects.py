"""What a traced call writes and draws, also inside the functions that it calls."""

import numpy as np
import tensorflow as tf

from diet_tf.training.effects import effects_of

COUNTER = tf.Variable(0, trainable=False)
OTHER = tf.Variable(1.0, trainable=False)


def found(function):
  graph = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([2])).graph
  return effects_of(graph)


def test_reads_assertions_and_prints_are_no_effects():
  table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0)

  def call(x):
    tf.debugging.assert_greater(OTHER, 0.0)
    tf.print("x", x)
    tf.gather(tf.identity(OTHER)[None], [0])
    return x * OTHER + tf.cast(table.lookup(tf.constant([1, 3])), tf.float32)

  assert not found(call)


def test_a_write_is_named_with_its_variable_however_deep_it_lies():
  @tf.function
  def inner(x):
    OTHER.assign_add(x[0])
    COUNTER.assign_sub(1)

  def call(x):
    with tf.name_scope("layer"):
      tf.while_loop(lambda i: i < 2, lambda i: (inner(x), i + 1)[1], [0])
      tf.cond(x[0] > 0, lambda: COUNTER.assign_add(2) + 0, lambda: 0)
    return x

  effects = found(call)
  assert {effect.operation for effect in effects} == {"AssignAddVariableOp", "AssignSubVariableOp"}
  written = {id(effect.resource) for effect in effects}
  assert written == {id(COUNTER.handle), id(OTHER.handle)}
  assert all(effect.place.startswith("layer/") for effect in effects)


def test_draws_and_foreign_code_are_named():
  def call(x):
    drawn = tf.random.uniform([2]) + tf.nn.dropout(x, 0.5)
    opened = tf.numpy_function(np.sin, [x], tf.float32, stateful=False) + tf.py_function(tf.sin, [x], tf.float32)
    return drawn + opened + tf.random.stateless_uniform([2], [1, 2])

  assert [effect.operation for effect in found(call)] == ["RandomUniform", "RandomUniform", "PyFuncStateless",
                                                          "EagerPyFunc"]
  assert all(effect.resource is None for effect in found(call))
