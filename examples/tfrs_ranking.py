"""A two-tower ranking model of TensorFlow Recommenders, trained on the memory and on the log.

The user tower sees the fields of the user, the other tower all the rest, both as weighted bags of ids; the product of
their outputs ranks, by `tfrs.tasks.Ranking`. A `tfrs.Model` keeps its own loss: the recipe gives it the optimiser.

  make demo                                   # once: writes the store and the log that are read by default
  python examples/tfrs_ranking.py             # about half a minute
  python examples/tfrs_ranking.py --store diet_runs/shop/store --config shop.yaml --data-dir logs --user-fields shopper
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import diet_tf  # Before TensorFlow, which learns from it that Keras 2 is wanted.
from diet_tf.cli.terminal import quiet_third_parties

quiet_third_parties()

import tensorflow as tf
import tensorflow_recommenders as tfrs

from diet_tf import metrics
from pipelines.encoded_log import open_log

BATCH_SIZE = 256  # Of the training on the log.
ROWS_AT_A_TIME = 8192  # Of judging.


class Tower(tf.keras.layers.Layer):
  """A vector `[batch, width]` and a leaning `[batch]` from some of the fields."""

  def __init__(self, spec: diet_tf.FeatureSpec, names: Sequence[str], *, width: int, seed: int) -> None:
    super().__init__()
    fields = tuple(field for field in spec.fields if field.name in names)
    self.bags = diet_tf.BagEmbedding(dataclasses.replace(spec, fields=fields), width, seed=seed)
    self.dense = tf.keras.Sequential([
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(32, "relu", kernel_initializer=tf.keras.initializers.GlorotUniform(seed)),
        tf.keras.layers.Dense(width, kernel_initializer=tf.keras.initializers.GlorotUniform(seed + 1))])

  def call(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """From a dict with single ids or weighted bags."""
    embeddings, linear = self.bags(features)  # [B, F, width], [B]
    return self.dense(embeddings), linear


class TwoTower(tfrs.Model):
  """Logits `[batch, 1]`: the product of a user's and an item's vector, and what each leans to by itself."""

  from_logits = True

  def __init__(self, spec: diet_tf.FeatureSpec, user_fields: Sequence[str], *, width: int = 16, seed: int = 0) -> None:
    super().__init__()
    item_fields = [name for name in spec.names if name not in user_fields]
    self.user_tower = Tower(spec, user_fields, width=width, seed=seed)
    self.item_tower = Tower(spec, item_fields, width=width, seed=seed + 2)
    self.bias = self.add_weight(name="bias", shape=[], initializer="zeros")
    self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.BinaryCrossentropy(from_logits=True))

  def call(self, features: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
    """From a dict with single ids or weighted bags."""
    del training
    (user, user_leaning), (item, item_leaning) = self.user_tower(features), self.item_tower(features)
    logits = tf.reduce_sum(user * item, axis=1) + user_leaning + item_leaning + self.bias
    return logits[:, tf.newaxis]

  def compute_loss(self, inputs: Any, training: bool = False) -> tf.Tensor:
    """The task's loss; a memory's batches carry weights, those of the log do not."""
    features, labels, weights = tf.keras.utils.unpack_x_y_sample_weight(inputs)
    return self.task(labels=labels[:, tf.newaxis], predictions=self(features, training=training),
                     sample_weight=weights)


def main() -> None:
  """Prints the AUC of a training on the log and on the memory, and the recovery."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--store", default="diet_runs/demo/store", help="of memories (default: %(default)s)")
  parser.add_argument("--config", help="of the log (default: config.yaml beside the store)")
  parser.add_argument("--data-dir", help="what the config's paths are relative to (default: where the config lies)")
  parser.add_argument("--user-fields", nargs="+", help="of the user tower (default: those that begin with 'user')")
  parser.add_argument("--learning-rate", type=float, default=3e-3, help="on the log (default: %(default)s)")
  options = parser.parse_args()

  config = options.config or os.path.join(os.path.dirname(options.store), "config.yaml")
  memory = diet_tf.load_memory(options.store)
  log = open_log(config, options.store, data_dir=options.data_dir or os.path.dirname(config))
  user_fields = options.user_fields or [name for name in memory.spec.names if name.startswith("user")]
  judging = log.held_out.dataset(ROWS_AT_A_TIME)

  model = TwoTower(memory.spec, user_fields)
  model.compile(tf.keras.optimizers.Adam(options.learning_rate))
  history = model.fit(log.seen.dataset(BATCH_SIZE), callbacks=[diet_tf.FidelityCallback(judging)], verbose=0)
  log_auc = history.history["held_out_auc"][-1]
  print(f"trained on the log:    AUC {log_auc:.4f}", flush=True)

  model = TwoTower(memory.spec, user_fields)
  memory.compile(model)
  history = memory.fit(model, callbacks=[diet_tf.FidelityCallback(judging)], verbose=0)
  memory_auc = history.history["held_out_auc"][-1]
  kept = f"recovery {metrics.recovery(memory_auc, log_auc):.3f}" if log_auc > 0.5 else "no recovery: no lift on the log"
  print(f"trained on the memory: AUC {memory_auc:.4f}, {kept}")


if __name__ == "__main__":
  main()
