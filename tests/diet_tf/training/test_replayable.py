"""Users' models that a stage cannot repeat are refused by name before there are slots."""

import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.training.replayable import require_replayable
from tests.diet_tf.small_log import SPEC


class User(tf.keras.Model):
  """A user's model over weighted bags, with a layer of choice between its sum and its logit."""

  diet_inputs = "weighted"
  ACTS = {
      "dropout": lambda: tf.keras.layers.Dropout(0.5),
      "both": lambda: tf.keras.Sequential([tf.keras.layers.BatchNormalization(), tf.keras.layers.Dropout(0.5)]),
      "drawn": lambda: tf.keras.layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x))),
      "once": lambda: tf.keras.layers.Lambda(lambda x: only_once(x)),
  }

  def __init__(self, spec, *, act, seed=0):
    super().__init__()
    start = tf.keras.initializers.RandomNormal(stddev=0.1, seed=seed)
    self.tables = {name: tf.keras.layers.Embedding(count, 2, embeddings_initializer=start)
                   for name, count in zip(spec.names, spec.num_ids)}
    self.act = type(self).ACTS[act]()
    self.out = tf.keras.layers.Dense(1, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))

  def call(self, features, training=False):
    total = tf.add_n([tf.reduce_sum(table(features[name]) * features[f"{name}/weights"][..., None], axis=1)
                      for name, table in self.tables.items()])
    return self.out(self.act(total, training=training))


@tf.custom_gradient
def only_once(x):
  """A sine whose gradient has none."""

  def gradient(upstream):
    return tf.raw_ops.PreventGradient(input=upstream * tf.cos(x), message="differentiated once only")

  return tf.sin(x), gradient


MEMBER = "tests.diet_tf.training.test_replayable:User(act={})"


@pytest.mark.parametrize("member", [MEMBER.format("both"), "dnn(dropout=0.5)"])
def test_layers_of_keras_pass(member):
  require_replayable(member, SPEC, differentiated=True)


@pytest.mark.parametrize("differentiated", [False, True])
def test_a_draw_by_a_stateful_operation_does_not(differentiated):
  with pytest.raises(ConfigError, match="RandomStandardNormal in .*lambda") as refused:
    require_replayable(MEMBER.format("drawn"), SPEC, differentiated=differentiated)
  assert refused.value.subject == f"model {MEMBER.format('drawn')!r}"
  assert "distill.proxies" in refused.value.remedy and "rate" not in refused.value.remedy


def test_a_proxy_needs_second_derivatives_and_the_gate_does_not():
  require_replayable(MEMBER.format("once"), SPEC, differentiated=False)
  with pytest.raises(ConfigError, match="differentiated once only") as refused:
    require_replayable(MEMBER.format("once"), SPEC, differentiated=True)
  assert "distill.proxies" in refused.value.remedy
