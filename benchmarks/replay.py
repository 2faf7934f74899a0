"""What dropout and normalisation add to the gradient through a training: `python -m benchmarks.replay`.

Towers of 64 and 32 units over the sums of 44 bags of embeddings, with a layer or two after each, are trained on 1,024
slots for 2 epochs of batches of 64, forwards and backwards, in turn and in one process. Printed are the median
processor time of a gradient, its ratio to that of the plain tower, and the bytes that are stored for each step.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

NUM_FIELDS, MAX_IDS, NUM_IDS, NUM_SLOTS, OUTER_ROWS = 44, 4, 20_000, 1024, 2048


def towers() -> dict[str, Any]:
  """Untrained models by what follows their layers."""
  import tensorflow as tf

  from diet_tf.models.tower import SeededDropout
  layers = tf.keras.layers
  after: dict[str, Any] = {
      "nothing": lambda: [], "Keras' dropout": lambda: [layers.Dropout(0.3)],
      "our dropout": lambda: [SeededDropout(0.3, 1)], "batch normalisation": lambda: [layers.BatchNormalization()],
      "both": lambda: [layers.BatchNormalization(), layers.Dropout(0.3)],
      "layer normalisation": lambda: [layers.LayerNormalization()]}

  class Tower(tf.keras.Model):
    """A tower over sums of embeddings."""

    def __init__(self, kind: str) -> None:
      super().__init__()
      start = tf.keras.initializers.RandomNormal(stddev=0.1, seed=1)
      self.table = self.add_weight("embeddings", (NUM_IDS, 8), initializer=start)
      self.steps = [layers.Dense(64, "relu"), *after[kind](), layers.Dense(32, "relu"), *after[kind](),
                    layers.Dense(1)]

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
      """`[B]` logits of packed features."""
      bags = tf.reduce_sum(tf.gather(self.table, features["ids"]) * features["weights"][..., None], axis=2)
      outputs = tf.reshape(bags, [-1, NUM_FIELDS * 8])
      for step in self.steps:
        outputs = step(outputs) if isinstance(step, layers.Dense | layers.LayerNormalization) else step(
            outputs, training=training)
      return outputs[:, 0]

  return {kind: Tower(kind) for kind in after}


def measure(repetitions: int) -> None:
  """Prints the table."""
  import numpy as np
  import tensorflow as tf

  from diet_tf.models import parameter_group
  from diet_tf.training.bilevel import DifferentiableTraining, InnerSettings
  random, inner = np.random.default_rng(0), InnerSettings(batch_size=64, epochs=2)
  shape = (NUM_SLOTS, NUM_FIELDS, MAX_IDS)
  inputs = {name: tf.constant(value) for name, value in {
      "ids": random.integers(NUM_IDS, size=shape).astype(np.int32), "weights": np.full(shape, 0.25, np.float32),
      "labels": random.random(NUM_SLOTS).astype(np.float32), "sample_weights": np.ones(NUM_SLOTS, np.float32),
      "learning_rates": np.full(3, 0.01, np.float32),
      "step_multipliers": np.ones(inner.num_steps(NUM_SLOTS), np.float32)}.items()}
  outer = ({"ids": tf.constant(random.integers(NUM_IDS, size=(OUTER_ROWS, NUM_FIELDS, 1)).astype(np.int32)),
            "weights": tf.ones([OUTER_ROWS, NUM_FIELDS, 1])}, tf.fill([OUTER_ROWS], 0.3), tf.ones(OUTER_ROWS))
  trainings: dict[str, Any] = {}
  seconds: dict[str, list[float]] = {}
  for kind, model in towers().items():
    model(outer[0])
    training = DifferentiableTraining(model, inner, parameter_group)
    initial = [tf.constant(variable.numpy()) for variable in training.variables]
    training.hypergradient(initial, inputs, *outer)
    trainings[kind], seconds[kind] = (training, initial), []
  for _ in range(repetitions):
    for kind, (training, initial) in trainings.items():
      started = time.process_time()
      training.hypergradient(initial, inputs, *outer)[0].numpy()
      seconds[kind].append(time.process_time() - started)
  plain = np.median(seconds["nothing"])
  for kind, (training, _) in trainings.items():
    stored = sum(variable.dtype.size * variable.shape.num_elements() for variable in (
        *training.variables, *training.state.variables))
    print(f"{kind:<20} {np.median(seconds[kind]):>7.3f} s {np.median(seconds[kind]) / plain:>6.2f} {stored:>10,} bytes")


def main() -> int:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--repetitions", type=int, default=9, help="gradients of each tower")
  measure(parser.parse_args().repetitions)
  return 0


if __name__ == "__main__":
  raise SystemExit(main())
