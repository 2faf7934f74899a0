"""Where models are trained: a `tf.distribute` strategy chosen by name."""

from __future__ import annotations

import tensorflow as tf

from diet_tf.errors import ConfigError

# "auto" takes every GPU that there is, and the CPU where there is none.
STRATEGIES = ("auto", "cpu", "gpu", "mirrored")


def make_strategy(name: str = "auto") -> tf.distribute.Strategy:
  """The strategy of that name.

  Args:
    name: "cpu" or "gpu" for one device; "mirrored" for all GPUs, each with a copy of the model; "auto" for "mirrored"
      with several GPUs, "gpu" with one, TensorFlow's default strategy with none.

  Raises:
    ConfigError: the name is not known, or there is no GPU for it.
  """
  if name not in STRATEGIES:
    raise ConfigError("strategy", rule=f"it is one of {', '.join(STRATEGIES)}.", received=repr(name),
                      remedy="choose one of them.")
  gpus = tf.config.list_physical_devices("GPU")
  if name in ("gpu", "mirrored") and not gpus:
    raise ConfigError("strategy", rule=f"{name!r} needs a GPU that TensorFlow sees.", received="no GPU.",
                      remedy="install 'diet-tf[cuda]' and check the driver, or use 'auto'.")
  if name == "cpu":
    return tf.distribute.OneDeviceStrategy("/CPU:0")
  if not gpus:
    return tf.distribute.get_strategy()
  if name == "gpu" or (name == "auto" and len(gpus) == 1):
    return tf.distribute.OneDeviceStrategy("/GPU:0")
  return tf.distribute.MirroredStrategy()
