"""What every executor that computes with models does first."""

from __future__ import annotations

import gc

import tensorflow as tf

from diet_tf.training.devices import make_strategy


def prepare(strategy: str, seed: int) -> tf.distribute.Strategy:
  """Makes TensorFlow deterministic for this process and returns the strategy of that name.

  Operations then give the same bits in every run on one machine. Our own code passes a seed to whatever draws; the
  global seed is for a user's model whose initialisers have none.

  Args:
    strategy: name of the strategy, see `diet_tf.training.devices.make_strategy`.
    seed: TensorFlow's global seed, the run's own.

  Raises:
    ConfigError: the strategy is not known, or there is no GPU for it.
  """
  make_deterministic(seed)
  return make_strategy(strategy)


def make_deterministic(seed: int) -> None:
  """Makes TensorFlow deterministic for this process, and frees the tables of what was trained in it before.

  Compiled functions and the models that they are of refer to each other, so that only a collection frees them.
  """
  gc.collect()
  tf.config.experimental.enable_op_determinism()
  tf.random.set_seed(seed)
