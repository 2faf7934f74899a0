import pytest
import tensorflow as tf

from diet_tf.models.autograph import leave_keras_unconverted

config = pytest.importorskip("tensorflow.python.autograph.core.config")
conversion = pytest.importorskip("tensorflow.python.autograph.impl.conversion")


@pytest.fixture(autouse=True)
def rules_as_they_were(monkeypatch):
  monkeypatch.setattr(config, "CONVERSION_RULES", tuple(
      rule for rule in config.CONVERSION_RULES if not rule.matches("tf_keras.src")))


def test_keras_is_left_and_a_users_code_is_converted():
  leave_keras_unconverted()
  assert conversion.is_allowlisted(tf.keras.Model.train_step)
  assert not conversion.is_allowlisted(leave_keras_unconverted)


def test_one_rule_is_enough():
  before = len(config.CONVERSION_RULES)
  for _ in range(3):
    leave_keras_unconverted()
  assert len(config.CONVERSION_RULES) == before + 1


def test_without_the_private_rules_nothing_happens(monkeypatch):
  monkeypatch.delattr(config, "DoNotConvert")
  before = config.CONVERSION_RULES
  leave_keras_unconverted()
  assert config.CONVERSION_RULES is before


def test_python_control_flow_of_a_users_call_works():
  """What a model's `call` says in Python about tensors is still made into a graph by Keras."""
  class Branching(tf.keras.Model):
    def call(self, inputs):
      if tf.reduce_sum(inputs) > 0:
        return inputs
      return -inputs

  leave_keras_unconverted()
  model = Branching()
  predict = tf.function(lambda inputs: model(inputs))
  assert float(predict(tf.constant([[2.0]]))) == 2 and float(predict(tf.constant([[-3.0]]))) == 3
