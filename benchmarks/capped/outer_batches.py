"""What makes hypergradients noisy: `python -m benchmarks.capped.outer_batches --data-dir ../shared/data`.

At one fixed memory of 384 slots, hypergradients of a proxy are taken from several initial weights, and for each of them
on several outer batches of 2,048 rows. Batches are drawn uniformly, or in proportion to how far the proxy of the step
before was from the teacher's probability (and a tenth uniformly), with importance weights. Printed is the variance
within one initial weight (that of the batch) and between these, as shares of the squared norm of the mean; what
importance sampling can save is at most the first. Of id weights, labels and sample weights, each by itself.
"""

from __future__ import annotations

import argparse

import numpy as np

BATCH_ROWS = 2048
PARTS = ("id weights", "labels", "sample weights")


def variances(gradients: np.ndarray) -> tuple[float, float]:
  """Variance within and between groups, over the squared norm of the mean, without bias.

  Args:
    gradients: `[num_groups, num_draws, num_entries]`.
  """
  num_groups, num_draws = gradients.shape[:2]
  means = gradients.mean(axis=1)
  within = np.square(gradients - means[:, None]).sum() / (num_groups * (num_draws - 1))
  between = np.square(means - means.mean(axis=0)).sum() / (num_groups - 1) - within / num_draws
  norm = np.square(means.mean(axis=0)).sum() - (between + within / num_draws) / num_groups
  return float(within / norm), float(between / norm)


def main() -> int:
  """Prints a line for each log, proxy and way to draw."""
  from benchmarks.capped.logs import logs
  from benchmarks.capped.stream import PROXIES, Tools, first_memory
  from diet_tf.log.encoded_rows import EncodedRows

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--data-dir", default="../shared/data", help="folder of kuairand and flights")
  parser.add_argument("--folder", default="diet_runs/capped", help="where the logs are kept encoded")
  parser.add_argument("--logs", nargs="+", default=("kuairand", "flights", "simulation"))
  parser.add_argument("--weights", type=int, default=5, help="initial weights")
  parser.add_argument("--batches", type=int, default=4, help="batches for each")
  options = parser.parse_args()
  print("| log | proxy | rows | " + " | ".join(f"{part}: batch | weights" for part in PARTS) + " |")
  print("|" + "---|" * 9)
  for name in options.logs:
    log = logs(options.data_dir, options.folder)[name]()
    tools = Tools(log)
    memory, rows = first_memory(log, tools, seed=0)
    for proxy in PROXIES:
      training, random = tools.trainings[proxy], np.random.default_rng(0)
      for drawn in ("uniform", "by error"):
        found: list[list[list[np.ndarray]]] = [[], [], []]
        for seed in range(options.weights):
          before = training.logits(memory, 1000 + seed, rows.ids)
          errors = np.abs(1 / (1 + np.exp(-before.astype(np.float64))) - rows.labels)
          chances = np.full(len(rows), 1 / len(rows))
          if drawn == "by error":
            chances = 0.1 * chances + 0.9 * errors / errors.sum()
          of_seed = []
          for _ in range(options.batches):
            batch = random.choice(len(rows), BATCH_ROWS, p=chances)
            of_seed.append(training.hypergradient(memory, seed, EncodedRows(rows.ids[batch], rows.labels[batch]),
                                                  1 / chances[batch]))
          for part, values in zip(found, zip(*of_seed)):
            part.append(list(values))
        cells = [f"{value:.2f}" for part in found for value in variances(np.array(part))]
        print(f"| {name} | {proxy} | {drawn} | {' | '.join(cells)} |", flush=True)
  return 0


if __name__ == "__main__":
  raise SystemExit(main())
