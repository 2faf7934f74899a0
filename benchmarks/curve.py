"""What a memory costs against what it is worth, point by point: `python -m benchmarks.curve --dataset kuairand ...`.

A point is a distillation under some changed settings, as in `budget.fraction=0.02 distill.outer_steps=40`. Its
memories, one for each seed, train the benchmark's panel, and the table sets recovery, agreement and regret beside what
the distillation cost. Each member chooses a factor of the recipe's rates on the memory's scored rows; with
`--one-recipe` every point has a second row, for trainings by the recipe's own rates. Points are judged on the newest
span but one: the newest is for the test and is not read, so that defaults may be chosen from the table. What is done is
kept: the same command goes on where it was interrupted, and a point that is added later does not repeat the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np

from benchmarks.fidelity.benchmark import Benchmark
from benchmarks.fidelity.distillations import Distillation, held_back
from benchmarks.fidelity.encoded_log import EncodedLog, encode_log
from benchmarks.fidelity.figures import seed_aucs, seed_recoveries
from benchmarks.fidelity.folds import Targets
from benchmarks.fidelity.member_work import MemberScores, selection_rows
from benchmarks.fidelity.sources import LOG
from benchmarks.fidelity.tables import Table
from benchmarks.fidelity.trained import Trained
from benchmarks.fidelity.trainings import MemberTrainer
from benchmarks.fidelity.variants import Stages, Variant
from diet_tf import metrics
from diet_tf.fidelity.scores import components_of_seeds
from diet_tf.memory.tuning import DEFAULT_TUNING

STAGES: tuple[Stages, ...] = ("stream", "whole")
TARGETS: tuple[Targets, ...] = ("out_of_fold", "in_fold")


@dataclasses.dataclass(frozen=True)
class DevelopmentBenchmark(Benchmark):
  """A benchmark that never reads the newest span: the one before it is the test."""

  def log(self) -> EncodedLog:
    """The encoded log without its newest span."""
    whole = super().log()
    *kept, test, _ = (*whole.train_spans, *whole.test_spans)
    return dataclasses.replace(whole, train_spans=tuple(kept), test_spans=(test,),
                               rows=whole.rows.of_spans([*kept, test]))


def variant_of(text: str) -> Variant:
  """The variant of a point's text: `key=value` pairs, after "whole" where all spans are distilled at once.

  With "out_of_fold" or "in_fold" after "whole", labels are those of `benchmarks.fidelity.folds`.

  Raises:
    ValueError: a word is neither a pair nor the name of stages.
  """
  stages: Stages = "stream"
  targets: Targets = "teacher"
  changes: dict[str, Any] = {}
  for word in text.split():
    if word in STAGES:
      stages = STAGES[STAGES.index(word)]
      continue
    if word in TARGETS:
      targets = TARGETS[TARGETS.index(word)]
      continue
    key, equals, value = word.partition("=")
    if not equals:
      raise ValueError(f"a point is made of pairs such as distill.outer_steps=40, or begins with one of {STAGES}; "
                       f"received {word!r}.")
    changes[key] = _value(value)
  return Variant(text or "as configured", stages, changes, targets=targets)


def _value(text: str) -> Any:
  try:
    value = json.loads(text)
  except json.JSONDecodeError:
    return text
  return tuple(value) if isinstance(value, list) else value


@dataclasses.dataclass(frozen=True)
class PointScores:
  """The trainings of one member on the log and on the memories of all points that are not done yet."""

  member: str
  variants: tuple[Variant, ...]
  one_recipe: bool = False

  def missing(self, benchmark: Benchmark) -> list[tuple[Variant, bool]]:
    """The points that the member was not trained on, and whether by the recipe's rates."""
    return [(one, by_recipe) for one in self.variants for by_recipe in ((False, True) if self.one_recipe else (False,))
            if not MemberScores(self.member, source_of(one, by_recipe)).done(benchmark)]

  def done(self, benchmark: Benchmark) -> bool:
    """Whether nothing is left."""
    return MemberScores(self.member, LOG).done(benchmark) and not self.missing(benchmark)

  def run(self, benchmark: Benchmark) -> None:
    """Trains on the log, then on what is missing, and writes each source when it is done."""
    log = benchmark.log()
    missing = self.missing(benchmark)
    recipe = Distillation(missing[0][0] if missing else self.variants[0], benchmark.seeds[0]).memory(benchmark).recipe
    trainer = MemberTrainer(self.member, log.spec, recipe, selection_rows(benchmark, log), log.test)
    reference = MemberScores(self.member, LOG)
    if not reference.done(benchmark):
      reference.write(benchmark, {LOG: trainer.on_log(log.train, held_back(benchmark, log.train), benchmark.seeds)})
    for variant, by_recipe in missing:
      memories = [Distillation(variant, seed).memory(benchmark) for seed in benchmark.seeds]
      source = source_of(variant, by_recipe)
      MemberScores(self.member, source).write(benchmark, {source: trainer.on_memories(
          memories, benchmark.seeds, tuning=None if by_recipe else DEFAULT_TUNING)})


def source_of(variant: Variant, by_recipe: bool) -> str:
  """What a point's trainings are called, by their own rates or by the recipe's."""
  return f"{variant.name} (one recipe)" if by_recipe else variant.name


def point_figures(labels: np.ndarray, on_log: Mapping[str, Trained],
                  on_memory: Mapping[str, Trained]) -> dict[str, Any]:
  """The figures of one point: recoveries, and the order of the panel by each single memory and by their mean.

  Args:
    labels: `[num_test]` labels of the test examples, 0 or 1.
    on_log: trainings on the log, by member.
    on_memory: trainings on the point's memories, by member; the same seeds.
  """
  names = list(on_log)
  log_aucs = np.array([seed_aucs(on_log[name], labels) for name in names])
  memory_aucs = np.array([seed_aucs(on_memory[name], labels) for name in names])
  recoveries = np.array([seed_recoveries(*pair) for pair in zip(memory_aucs, log_aucs, strict=True)])
  pairs = metrics.resolved_pairs(labels, [components_of_seeds(labels, on_log[name].logits, np.float32)
                                          for name in names])
  log_means = log_aucs.mean(1).tolist()
  single = np.array([metrics.agreement_on(pairs, log_means, of_seed.tolist()).share for of_seed in memory_aucs.T])
  mean = memory_aucs.mean(1).tolist()
  return {"recovery": metrics.estimate(recoveries.mean(0)), "least": float(recoveries.mean(1).min()),
          "least_member": names[int(recoveries.mean(1).argmin())], "agreement": metrics.estimate(single),
          "agreement_of_mean": metrics.agreement_on(pairs, log_means, mean).share, "num_resolved": len(pairs),
          "regret": float(np.mean([metrics.regret(log_means, of_seed.tolist()) for of_seed in memory_aucs.T]))}


def table_of(benchmark: Benchmark, variants: Sequence[Variant], *, one_recipe: bool = False) -> Table:
  """One row for each point, or with `one_recipe` two."""
  labels = benchmark.log().test.labels
  names = [member.name for member in benchmark.members]
  on_log = {name: MemberScores(name, LOG).read(benchmark)[LOG] for name in names}
  header = ("point", "slots", "examples / pass", "choosing / pass", "agreement, one memory", "agreement, mean",
            "regret", "recovery", "least", "seconds a distillation")
  num_rows, rows = len(benchmark.log().train), []
  for variant, by_recipe in ((one, by_recipe) for one in variants
                             for by_recipe in ((False, True) if one_recipe else (False,))):
    source = source_of(variant, by_recipe)
    found = {name: MemberScores(name, source).read(benchmark)[source] for name in names}
    figures = point_figures(labels, on_log, found)
    records = [Distillation(variant, seed).record(benchmark) for seed in benchmark.seeds]
    seconds = [sum(sum(stage["seconds"].values()) for stage in record) for record in records]
    agreement, recovery = figures["agreement"], figures["recovery"]
    rows.append((source, str(records[0][-1]["num_slots"]), f"{found[names[0]].examples / num_rows:.3f}",
                 f"{np.mean([found[name].choosing.examples for name in names]) / num_rows:.3f}",
                 f"{agreement.mean:.3f} ± {agreement.standard_error:.3f}", f"{figures['agreement_of_mean']:.3f}",
                 f"{figures['regret']:.4f}", f"{recovery.mean:.3f} ± {recovery.standard_error:.3f}",
                 f"{figures['least']:.3f} ({figures['least_member']})", f"{np.mean(seconds):.1f}"))
  return Table(f"Cost and worth of a memory ({len(benchmark.seeds)} seeds)", header, tuple(rows))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The options of the command."""
  from benchmarks.fidelity.__main__ import DATASETS

  parser = argparse.ArgumentParser(prog="python -m benchmarks.curve", description=__doc__.splitlines()[0])
  parser.add_argument("--dataset", required=True, choices=DATASETS, help="csv needs --config; simulated needs no data")
  parser.add_argument("--data-dir", default=".", metavar="DIR", help="what paths in the config are relative to")
  parser.add_argument("--config", metavar="FILE", help="the config, instead of the dataset's in examples/")
  parser.add_argument("--point", action="append", metavar="CHANGES", required=True,
                      help="settings of a point, as in 'distill.outer_steps=40 budget.fraction=0.02'; begins with "
                      "'whole' where all spans are distilled at once, and then 'out_of_fold' where labels are of "
                      "teachers that did not learn the rows; may be given several times")
  parser.add_argument("--one-recipe", action="store_true", help="train every member by the recipe's rates, too")
  parser.add_argument("--seeds", type=int, default=3, metavar="N", help="distillations and trainings of each point")
  parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time; 0 runs all in this one")
  parser.add_argument("--work", metavar="DIR", help="where results are kept (default: diet_runs/curve/DATASET)")
  return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs what is not done yet and shows the table; returns the exit code."""
  from benchmarks.fidelity.__main__ import FEATURE_GROUPS, check_folder, load
  from benchmarks.fidelity.panel import make_panel, matching_fields
  from benchmarks.fidelity.workers import run_all
  from diet_tf.cli.terminal import progress as shown_progress
  from diet_tf.cli.terminal import quiet_third_parties

  quiet_third_parties()
  options = parse(arguments)
  folder = options.work or os.path.join("diet_runs", "curve", options.dataset)
  config = load(argparse.Namespace(**vars(options), set=[], budget=None, test_spans=None), folder)
  members = make_panel(config.features, config.distill.proxies,
                       matching_fields(config.features, FEATURE_GROUPS.get(options.dataset, ())))
  variants = tuple(variant_of(text) for text in dict.fromkeys(options.point))
  benchmark = DevelopmentBenchmark(
      config=config, folder=folder, members=members, seeds=tuple(config.seed + index for index in range(options.seeds)),
      ablation_members=(), ablation_seeds=(), ablation_steps=0, selections=(), with_bounds=False, with_ablations=False,
      with_course=False)
  check_folder(folder, {"dataset": options.dataset, "seeds": list(benchmark.seeds),
                        "settings": json.loads(benchmark.settings.to_json())})
  with shown_progress() as progress:
    encode_log(config, folder, progress=progress)
    run_all([Distillation(variant, seed) for variant in variants for seed in benchmark.seeds], benchmark, options.jobs,
            "distillations", progress)
    run_all([PointScores(member.name, variants, options.one_recipe) for member in members], benchmark, options.jobs,
            "members of the panel", progress)
  print(table_of(benchmark, variants, one_recipe=options.one_recipe).markdown())
  return 0


if __name__ == "__main__":
  sys.exit(main())
