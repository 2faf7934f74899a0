"""Which code AutoGraph converts to graphs: that of users and of this package, and not that of Keras."""

from __future__ import annotations


def leave_keras_unconverted() -> None:
  """Keeps AutoGraph from converting tf-keras' own code, as TensorFlow keeps it from converting Keras'.

  TensorFlow 2.16 knows Keras by the name `keras` alone, so that each process translates dozens of functions of
  `tf_keras` for nothing, which takes longer than a small training. A model's own `call` is still converted: Keras asks
  for that itself. The rules are no public interface of TensorFlow; where they are not found, nothing changes.
  """
  try:
    from tensorflow.python.autograph.core import config
    rule = config.DoNotConvert("tf_keras")
    rules = config.CONVERSION_RULES
  except (ImportError, AttributeError):
    return
  if not any(isinstance(one, config.DoNotConvert) and one.matches("tf_keras.src") for one in rules):
    config.CONVERSION_RULES = (rule, *rules)
