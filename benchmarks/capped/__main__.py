"""Which slots leave a full memory: `python -m benchmarks.capped --data-dir ../shared/data`.

Streams of spans are distilled under a cap that is reached after a third of them, without refinement. At each span
after that, 64 of 384 slots make room for new ones, by one rule or another; a small panel is trained on the memory and
judged on the next span. Figures are kept in `--folder` as they are made, so that a run goes on where it was cut, and
other rules, logs and seeds can be added. Printed are means over the seeds, and differences from the rules "random" and
"oldest" with their standard errors: all rules of a seed share the teacher, the new slots and the initial weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.capped.rules import RULES

LOGS = ("kuairand", "flights", "simulation")


def read(folder: str) -> list[dict]:
  """All figures that were kept."""
  path = os.path.join(folder, "figures.jsonl")
  if not os.path.exists(path):
    return []
  with open(path) as file:
    return [json.loads(line) for line in file]


def measure(options: argparse.Namespace) -> None:
  """Makes the figures that are missing."""
  from benchmarks.capped.logs import SpannedLog, logs
  from benchmarks.capped.stream import Judged, Tools, run

  made = logs(options.data_dir, options.folder)
  for log_name in options.logs:
    log: SpannedLog | None = None
    for seed in options.seeds:
      known = [entry for entry in read(options.folder) if (entry["log"], entry["seed"]) == (log_name, seed)]
      last = max((entry["span"] for entry in known), default=-1)
      done = {entry["rule"] for entry in known if entry["span"] == last}
      missing = [rule for rule in options.rules if rule not in done]
      if not missing:
        continue
      if log is None:
        log = made[log_name]()
        tools = Tools(log)
      found: list[dict] = []

      def tell(judged: Judged) -> None:
        found.append({"log": log_name, "seed": seed, **dataclasses.asdict(judged)})  # noqa: B023
        print(json.dumps(found[-1]), flush=True)  # noqa: B023

      run(log, tools, missing, seed, tell)
      with open(os.path.join(options.folder, "figures.jsonl"), "a") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in found)


def table(entries: Sequence[dict], rules: Sequence[str]) -> str:
  """The lines of the tables, one table a log."""
  lines = []
  for log in dict.fromkeys(entry["log"] for entry in entries):
    of_log = [entry for entry in entries if entry["log"] == log]
    spans = sorted({entry["span"] for entry in of_log})
    found: dict[tuple[str, int], dict[int, dict]] = {}
    for entry in of_log:
      found.setdefault((entry["rule"], entry["seed"]), {})[entry["span"]] = entry
    whole = {key: [by_span[span] for span in spans] for key, by_span in found.items() if len(by_span) == len(spans)}
    lines += [f"\n{log}: KL from the teacher in thousandths of a nat, after spans "
              f"{', '.join(str(span + 1) for span in spans)}; recovery of the teacher's lift\n",
              f"| rule | seeds | {' | '.join(f'KL {span + 1}' for span in spans)} | KL | - random | - oldest "
              "| recovery | - random | - oldest | AUC | log loss |", "|" + "---|" * (len(spans) + 10)]
    for rule in rules:
      seeds = sorted(seed for name, seed in whole if name == rule)
      if seeds:
        lines.append(f"| {rule} | {len(seeds)} | {' | '.join(_cells(whole, rule, seeds))} |")
  return "\n".join(lines)


def _cells(whole: Mapping[tuple[str, int], list[dict]], rule: str, seeds: Sequence[int]) -> list[str]:
  def values(name: str, of_rule: str, of_seeds: Sequence[int], factor: float = 1.0) -> np.ndarray:
    return factor * np.array([[entry[name] for entry in whole[of_rule, seed]] for seed in of_seeds])

  cells = [f"{value:.1f}" for value in values("divergence", rule, seeds, 1000).mean(axis=0)]
  for name, factor, style in (("divergence", 1000, ".1f"), ("recovery", 1, ".3f")):
    cells.append(f"{values(name, rule, seeds, factor).mean():{style}}")
    for base in ("random", "oldest"):
      shared = [seed for seed in seeds if (base, seed) in whole]
      cells.append("" if base == rule or not shared else difference(
          (values(name, rule, shared, factor) - values(name, base, shared, factor)).mean(axis=1), style))
  return [*cells, f"{values('auc', rule, seeds).mean():.4f}", f"{values('log_loss', rule, seeds).mean():.4f}"]


def difference(values: np.ndarray, style: str) -> str:
  """A mean over seeds with its standard error."""
  error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
  return f"{values.mean():+{style}} ± {error:{style}}"


def main() -> int:
  """Makes what is missing, and prints the tables."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--data-dir", default="../shared/data", help="folder of kuairand and flights")
  parser.add_argument("--folder", default="diet_runs/capped", help="where figures are kept")
  parser.add_argument("--logs", nargs="+", default=LOGS, choices=LOGS)
  parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2, 3, 4))
  parser.add_argument("--rules", nargs="+", default=tuple(RULES), help="names of rules; 'oldest @ 32' gives a span 32 "
                      "places, 'oldest @ mass' a share by its rows")
  parser.add_argument("--print-only", action="store_true", help="only print what is there")
  options = parser.parse_args()
  os.makedirs(options.folder, exist_ok=True)
  if not options.print_only:
    measure(options)
  print(table(read(options.folder), options.rules))
  return 0


if __name__ == "__main__":
  raise SystemExit(main())
