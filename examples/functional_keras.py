"""A plain functional Keras model, trained on the memory and on the log, and judged on rows that neither has seen.

The model is built of Keras' own layers, with one `tf.keras.Input` a field, and trained on the memory in three ways:

  drawn     it takes one id a field, drawn anew each epoch
  bag model the same model by `diet_tf.BagModel`: its embedding layers give the mean over all ids of a slot
  weighted  it is written for weighted bags of ids

  make demo                                   # once: writes the store and the log that are read by default
  python examples/functional_keras.py         # about two minutes
  python examples/functional_keras.py --store diet_runs/shop/store --config shop.yaml --data-dir logs

With `--tensorboard DIR`, `tensorboard --logdir DIR` shows the runs "held_out" beside Keras' own "train".
"""

from __future__ import annotations

import argparse
import os

import diet_tf  # Before TensorFlow, which learns from it that Keras 2 is wanted.
from diet_tf.cli.terminal import quiet_third_parties

quiet_third_parties()

import tensorflow as tf

from diet_tf import metrics
from diet_tf.memory.memory import Mode
from pipelines.encoded_log import EncodedLog, open_log

BATCH_SIZE = 256  # Of trainings on the log.
ROWS_AT_A_TIME = 8192  # Of judging.
WAYS = ("drawn", "bag model", "weighted")


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


def train_on_log(memory: diet_tf.Memory, log: EncodedLog, learning_rate: float) -> float:
  """The AUC on held-out rows after one pass over the log, as one always trains."""
  model = build(memory.spec, "sampled")
  model.compile(tf.keras.optimizers.Adam(learning_rate), tf.keras.losses.BinaryCrossentropy(from_logits=True))
  judge = diet_tf.FidelityCallback(log.held_out.dataset(ROWS_AT_A_TIME, "sampled"))
  return model.fit(log.seen.dataset(BATCH_SIZE, "sampled"), callbacks=[judge], verbose=0).history["held_out_auc"][-1]


def train_on_memory(memory: diet_tf.Memory, log: EncodedLog, way: str, log_auc: float, seed: int,
                    board: str | None) -> float:
  """The AUC on held-out rows after a training on the memory by its recipe."""
  mode: Mode = "sampled" if way == "drawn" else "weighted"
  model = diet_tf.BagModel(build(memory.spec, "sampled")) if way == "bag model" else build(memory.spec, mode)
  memory.compile(model, from_logits=True)
  callbacks: list[tf.keras.callbacks.Callback] = [diet_tf.FidelityCallback(
      log.held_out.dataset(ROWS_AT_A_TIME, mode), log_dir=board, log_auc=log_auc if log_auc > 0.5 else None)]
  if board:
    callbacks.append(tf.keras.callbacks.TensorBoard(board, write_graph=False))
  return memory.fit(model, mode, seed=seed, callbacks=callbacks, verbose=0).history["held_out_auc"][-1]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
  """The options of the command line."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--store", default="diet_runs/demo/store", help="of memories (default: %(default)s)")
  parser.add_argument("--config", help="of the log (default: config.yaml beside the store)")
  parser.add_argument("--data-dir", help="what the config's paths are relative to (default: where the config lies)")
  parser.add_argument("--learning-rate", type=float, default=3e-3, help="on the log (default: %(default)s)")
  parser.add_argument("--seeds", type=int, default=1, help="initial weights of each training (default: %(default)s)")
  parser.add_argument("--tensorboard", metavar="DIR", help="write curves there")
  options = parser.parse_args(arguments)
  if options.seeds < 1:
    parser.error(f"--seeds is at least 1, not {options.seeds}.")
  return options


def main() -> None:
  """Prints both AUCs and the recovery, for each way to train on the memory."""
  options = parse()
  config = options.config or os.path.join(os.path.dirname(options.store), "config.yaml")
  memory = diet_tf.load_memory(options.store)
  log = open_log(config, options.store, data_dir=options.data_dir or os.path.dirname(config))
  log_aucs: list[float] = []
  aucs: dict[str, list[float]] = {way: [] for way in WAYS}
  for seed in range(options.seeds):
    tf.keras.utils.set_random_seed(seed)
    log_aucs.append(train_on_log(memory, log, options.learning_rate))
    for way in WAYS:
      tf.keras.utils.set_random_seed(seed)
      board = options.tensorboard and os.path.join(options.tensorboard, way.replace(" ", "-"), str(seed))
      aucs[way].append(train_on_memory(memory, log, way, log_aucs[-1], seed, board))
  print(f"{'trained on':22}{'AUC':18}recovery")
  print(f"{'log':22}{str(metrics.estimate(log_aucs)):18}")
  for way, values in aucs.items():
    recovery = metrics.recovery(metrics.estimate(values).mean, metrics.estimate(log_aucs).mean)
    print(f"{'memory, ' + way:22}{str(metrics.estimate(values)):18}{recovery:.3f}")


if __name__ == "__main__":
  main()
