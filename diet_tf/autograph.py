"""What AutoGraph converts: code of users and of ours, and not that of Keras."""

from __future__ import annotations


def leave_keras_unconverted() -> None:
  """Keeps AutoGraph from converting tf-keras' own code, as TensorFlow keeps it from converting Keras'.

  TensorFlow 2.15 knows Keras by the name `keras` alone, so that each process translates dozens of functions of
  `tf_keras` for nothing, which takes longer than a small training. The conversion of a model's own `call` is Keras' to
  ask for, with the rule as without. The rules are no public interface: where they are not found, nothing changes.
  """
  try:
    from tensorflow.python.autograph.core import config
    rule = config.DoNotConvert("tf_keras")
    rules = config.CONVERSION_RULES
  except (ImportError, AttributeError):
    return
  if not any(isinstance(one, config.DoNotConvert) and one.matches("tf_keras.src") for one in rules):
    config.CONVERSION_RULES = (rule, *rules)
