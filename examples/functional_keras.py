"""A plain functional Keras model, trained on the memory and on the log, and judged on rows that neither has seen.

The model is built of Keras' own layers, with one `tf.keras.Input` a field. Both modes of a memory are shown: single
ids, drawn anew each epoch ("sampled"), and weighted bags of ids ("weighted").

  make demo                                   # once: writes the store and the log that are read by default
  python examples/functional_keras.py         # about a minute
  python examples/functional_keras.py --store diet_runs/shop/store --config shop.yaml --data-dir logs

With `--tensorboard DIR`, `tensorboard --logdir DIR` shows the run "held_out" beside Keras' own "train".
"""

from __future__ import annotations

import argparse
import os

import diet_tf  # Before TensorFlow, which learns from it that Keras 2 is wanted.
from diet_tf.terminal import quiet_third_parties

quiet_third_parties()

import tensorflow as tf

from diet_tf import metrics
from diet_tf.memory import Mode
from pipelines.encoded_log import EncodedLog, open_log

BATCH_SIZE = 256  # Of trainings on the log.
ROWS_AT_A_TIME = 8192  # Of judging.


def build(spec: diet_tf.FeatureSpec, mode: Mode) -> tf.keras.Model:
  """Embeddings of all fields, side by side, under a small tower; returns logits `[batch, 1]`."""
  inputs, parts = [], []
  for name, num_ids in zip(spec.names, spec.num_ids, strict=True):
    table = tf.keras.layers.Embedding(num_ids, 8, name=f"{name}_embedding")
    if mode == "sampled":
      ids = tf.keras.Input([], name=name, dtype=tf.int64)
      inputs.append(ids)
      parts.append(table(ids))
    else:
      # A bag may be of any width: a slot has up to K ids, a row of the log has one.
      ids = tf.keras.Input([None], name=name, dtype=tf.int64)
      weights = tf.keras.Input([None], name=f"{name}/weights")
      inputs += [ids, weights]
      parts.append(tf.keras.layers.Dot(axes=1)([table(ids), weights]))
  hidden = tf.keras.layers.Dense(64, "relu")(tf.keras.layers.Concatenate()(parts))
  return tf.keras.Model(inputs, tf.keras.layers.Dense(1)(hidden))


def train_on_log(memory: diet_tf.Memory, log: EncodedLog, mode: Mode, learning_rate: float) -> float:
  """The AUC on held-out rows after one pass over the log, as one always trains."""
  model = build(memory.spec, mode)
  model.compile(tf.keras.optimizers.Adam(learning_rate), tf.keras.losses.BinaryCrossentropy(from_logits=True))
  judge = diet_tf.FidelityCallback(log.held_out.dataset(ROWS_AT_A_TIME, mode))
  return model.fit(log.seen.dataset(BATCH_SIZE, mode), callbacks=[judge], verbose=0).history["held_out_auc"][-1]


def train_on_memory(memory: diet_tf.Memory, log: EncodedLog, mode: Mode, log_auc: float, board: str | None) -> float:
  """The AUC on held-out rows after a training on the memory by its recipe."""
  model = build(memory.spec, mode)
  memory.recipe.compile(model, from_logits=True)
  folder = board and os.path.join(board, mode)
  callbacks: list[tf.keras.callbacks.Callback] = [diet_tf.FidelityCallback(
      log.held_out.dataset(ROWS_AT_A_TIME, mode), log_dir=folder, log_auc=log_auc if log_auc > 0.5 else None)]
  if folder:
    callbacks.append(tf.keras.callbacks.TensorBoard(folder, write_graph=False))
  return memory.recipe.fit(model, memory, mode, callbacks=callbacks, verbose=0).history["held_out_auc"][-1]


def main() -> None:
  """Prints both AUCs and the recovery, for each mode."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--store", default="diet_runs/demo/store", help="of memories (default: %(default)s)")
  parser.add_argument("--config", help="of the log (default: config.yaml beside the store)")
  parser.add_argument("--data-dir", help="what the config's paths are relative to (default: where the config lies)")
  parser.add_argument("--learning-rate", type=float, default=3e-3, help="on the log (default: %(default)s)")
  parser.add_argument("--tensorboard", metavar="DIR", help="write curves there")
  options = parser.parse_args()
  tf.keras.utils.set_random_seed(0)

  config = options.config or os.path.join(os.path.dirname(options.store), "config.yaml")
  memory = diet_tf.load_memory(options.store)
  log = open_log(config, options.store, data_dir=options.data_dir or os.path.dirname(config))
  print(f"{'mode':10} {'AUC, log':>10} {'AUC, memory':>12} {'recovery':>9}")
  modes: tuple[Mode, ...] = ("sampled", "weighted")
  for mode in modes:
    log_auc = train_on_log(memory, log, mode, options.learning_rate)
    memory_auc = train_on_memory(memory, log, mode, log_auc, options.tensorboard)
    recovery = metrics.recovery(memory_auc, log_auc)
    print(f"{mode:10} {log_auc:10.4f} {memory_auc:12.4f} {recovery:9.3f}", flush=True)


if __name__ == "__main__":
  main()
