"""A search with KerasTuner on the memory in the place of the log, and the check of its top 3 on the log.

The search trains each candidate on the memory and judges it on the first half of the held-out rows. The top 3 are then
trained anew, on the memory and on the log, and judged on the other half, which the search has not seen.

  make demo                                   # once: writes the store and the log that are read by default
  python examples/tuner.py                    # 12 candidates: about three minutes
  python examples/tuner.py --store diet_runs/shop/store --config shop.yaml --data-dir logs --trials 50
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import diet_tf  # Before TensorFlow, which learns from it that Keras 2 is wanted.
from diet_tf.cli.terminal import quiet_third_parties

quiet_third_parties()

import keras_tuner
import tensorflow as tf

from diet_tf import LogExamples, metrics
from diet_tf.memory.keras_training import PointwiseCrossEntropy
from pipelines.encoded_log import open_log

BATCH_SIZE = 256  # Of trainings on the log.
ROWS_AT_A_TIME = 8192  # Of judging.
NUM_CHECKED = 3
Rows = tuple[dict[str, tf.Tensor], tf.Tensor]  # Features and labels, as arrays.


def build(choices: keras_tuner.HyperParameters, spec: diet_tf.FeatureSpec) -> tf.keras.Model:
  """The search space: a Keras model of logits for each choice."""
  family = choices.Choice("family", ["dnn", "deepfm", "dcn_v2", "nfm"])
  embedding_dim = choices.Choice("embedding_dim", [4, 8, 16])
  width = choices.Choice("width", [16, 32, 64, 128])
  depth = choices.Int("depth", 1, 3)
  return diet_tf.build_model(family, spec, embedding_dim=embedding_dim, hidden_units=(width,) * depth)


class MemorySearch(keras_tuner.RandomSearch):
  """Trains a candidate on the memory by its recipe; its score is the AUC on rows of the log.

  KerasTuner builds models of Keras 3 by itself. `run_trial` is where it lets others do the training: all that it asks
  for are the figures.
  """

  def run_trial(self, trial: keras_tuner.engine.trial.Trial, memory: diet_tf.Memory, rows: Rows,
                verbose: int = 0) -> dict[str, float]:
    """The figures of the last epoch."""
    tf.keras.backend.clear_session()
    model = build(trial.hyperparameters, memory.spec)
    history = memory.fit(model, callbacks=[diet_tf.FidelityCallback(rows)], verbose=verbose).history
    return {name: values[-1] for name, values in history.items()}


class Clock(tf.keras.callbacks.Callback):
  """The seconds of a training after its first step, which builds the graph."""

  def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
    """Starts with the first step of all."""
    del batch, logs
    self.start = getattr(self, "start", time.perf_counter())

  def on_train_end(self, logs: dict | None = None) -> None:
    """Stops."""
    del logs
    self.seconds = time.perf_counter() - self.start


def halves(examples: LogExamples) -> tuple[Rows, Rows]:
  """Rows for the search and rows for the check, in the order of the log."""
  count = len(examples.arrays())
  rows = next(iter(examples.dataset(count)))
  first, second = (tf.nest.map_structure(lambda column: column[part], rows)  # noqa: B023
                   for part in (slice(count // 2), slice(count // 2, None)))
  return first, second


def judged(model: tf.keras.Model, rows: Rows) -> float:
  """The AUC on rows of the log."""
  features, labels = rows
  return metrics.auc(labels, model.predict(features, batch_size=ROWS_AT_A_TIME, verbose=0))


def check(trial: keras_tuner.engine.trial.Trial, memory: diet_tf.Memory, seen: LogExamples, rows: Rows,
          learning_rate: float) -> tuple[dict[str, float], dict[str, float]]:
  """The AUC of a candidate by what it was trained on, "memory" and "log", and the seconds of either training."""
  aucs, seconds = {}, {}
  for source in ("memory", "log"):
    model, clock = build(trial.hyperparameters, memory.spec), Clock()
    if source == "memory":
      memory.fit(model, callbacks=[clock], verbose=0)
    else:
      model.compile(tf.keras.optimizers.Adam(learning_rate), PointwiseCrossEntropy(from_logits=True))
      model.fit(seen.dataset(BATCH_SIZE), callbacks=[clock], verbose=0)
    aucs[source], seconds[source] = judged(model, rows), clock.seconds
  return aucs, seconds


def main() -> None:
  """Prints the top 3 with both figures, and what the log costs more than the memory."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--store", default="diet_runs/demo/store", help="of memories (default: %(default)s)")
  parser.add_argument("--config", help="of the log (default: config.yaml beside the store)")
  parser.add_argument("--data-dir", help="what the config's paths are relative to (default: where the config lies)")
  parser.add_argument("--trials", type=int, default=12, help="candidates of the search (default: %(default)s)")
  parser.add_argument("--learning-rate", type=float, default=3e-3, help="on the log (default: %(default)s)")
  options = parser.parse_args()

  config = options.config or os.path.join(os.path.dirname(options.store), "config.yaml")
  memory = diet_tf.load_memory(options.store)
  log = open_log(config, options.store, data_dir=options.data_dir or os.path.dirname(config))
  for_search, for_check = halves(log.held_out)

  with tempfile.TemporaryDirectory() as folder:
    search = MemorySearch(objective=keras_tuner.Objective("held_out_auc", "max"), max_trials=options.trials, seed=0,
                          directory=folder, project_name="memory")
    start = time.perf_counter()
    search.search(memory, for_search, verbose=0)
    print(f"{options.trials} candidates on the memory in {time.perf_counter() - start:.0f} s.", flush=True)
  best = search.oracle.get_best_trials(NUM_CHECKED)

  print(f"{'AUC, search':>11} {'AUC, memory':>12} {'AUC, log':>9}  candidate")
  totals = {"memory": 0.0, "log": 0.0}
  for trial in best:
    aucs, seconds = check(trial, memory, log.seen, for_check, options.learning_rate)
    totals = {source: totals[source] + seconds[source] for source in totals}
    settings = ", ".join(f"{name} {value}" for name, value in trial.hyperparameters.values.items())
    print(f"{trial.score:11.4f} {aucs['memory']:12.4f} {aucs['log']:9.4f}  {settings}", flush=True)
  examples = len(log.seen.arrays()) / (len(memory) * memory.recipe.epochs)
  print(f"A training on the log takes {examples:.0f} times the examples of one on the memory, and "
        f"{totals['log'] / totals['memory']:.1f} times its time ({totals['log'] / len(best):.1f} s and "
        f"{totals['memory'] / len(best):.1f} s, graphs built).")


if __name__ == "__main__":
  main()
