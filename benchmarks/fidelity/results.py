"""The result of a benchmark, put together from the pieces of work: see `docs/results.md` for what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.benchmark import Benchmark
from benchmarks.fidelity.bills import bills_by_class, distillation_cost, pass_cost
from benchmarks.fidelity.distillations import Distillation
from benchmarks.fidelity.encoded_log import EncodedLog
from benchmarks.fidelity.figures import member_figures, panel_figures, seed_aucs, seed_recoveries, summary_figures
from benchmarks.fidelity.member_work import all_scores
from benchmarks.fidelity.panel import COST_CLASSES, short_name, with_cost_classes
from benchmarks.fidelity.rankings import FIGURES, Rankings
from benchmarks.fidelity.searches import of_members, searches
from benchmarks.fidelity.sources import LOG, MEMORY, is_rival
from benchmarks.fidelity.trained import Scores
from benchmarks.fidelity.variants import MEMORY as MEMORY_VARIANT
from diet_tf import metrics
from diet_tf.fidelity.bill import Cost
from diet_tf.io.documents import DocumentFormat
from diet_tf.io.json_files import without_nan
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import is_held_back

# The figures of each part are named by the functions of `benchmarks.fidelity.figures`.
RESULT = DocumentFormat("diet_tf.fidelity_benchmark", {1: {
    "members": list[Mapping[str, Any]], "summary": Mapping[str, Any], "stream": list[Mapping[str, Any]],
    "ablations": list[Mapping[str, Any]], "settings": Mapping[str, Any]}},
    remedy="run the benchmark again.", indent=1, sort_keys=False)


def assemble(benchmark: Benchmark, feature_group: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
  """The result as JSON values.

  Args:
    benchmark: benchmark whose work is done.
    feature_group: names of the fields that some variants are built without, to shorten these variants' names.
    settings: settings of the command, for the record.
  """
  log = benchmark.log()
  scores = all_scores(benchmark, ["log", "memories", "unrefined", *(["bounds"] if benchmark.with_bounds else []),
                                 *benchmark.selections, *benchmark.samples])
  baselines = sorted({source for source, _ in scores if "/" in source and not is_rival(source)},
                     key=lambda source: (benchmark.selections.index(source.split("/")[0]), source))
  labels = log.test.labels
  everyone = with_cost_classes(benchmark.members, {
      member.name: scores[LOG, member.name].flops / scores[LOG, member.name].examples for member in benchmark.members},
      benchmark.config.distill.proxies)
  panel = [member for member in everyone if not member.large]
  one_pass = pass_cost(scores, panel)
  stream = _stream(benchmark, log, one_pass)
  distillation = distillation_cost([Distillation(MEMORY_VARIANT, seed).record(benchmark) for seed in benchmark.seeds])
  members = member_figures(scores, panel, labels, baselines)
  summary = summary_figures({**scores, **searches(scores, panel, labels)}, panel, labels, baselines,
                            distillation=distillation, stage_wall_ratio=stream[-1]["stage_wall_ratio"])
  # What the large members were trained on, which is not all; the figures above keep to the members of before.
  common = of_members(scores, everyone)
  if len(panel) < len(everyone):
    large = [member for member in everyone if member.large]
    members += member_figures(common, large, labels, [])
    summary["with_large_members"] = panel_figures(common, everyone, labels)
  rankings = Rankings({**common, **searches(common, everyone, labels)}, [member.name for member in everyone], labels)
  summary["bill_by_cost_class"] = bills_by_class(rankings, everyone, one_pass, distillation, COST_CLASSES)
  for member in members:
    member["name"] = short_name(member["name"], log.spec, feature_group)
  for figures in (summary, summary.get("with_large_members", summary)):
    figures["min_recovery_member"] = short_name(figures["min_recovery_member"], log.spec, feature_group)
  return without_nan(RESULT.document({
      "members": members,
      "summary": {**summary, "distillation_examples": _distillation_examples(benchmark),
                  "bytes": _bytes(benchmark, log), "records": _record_counts(benchmark, log)},
      "stream": stream, "ablations": _ablations(benchmark, labels) if benchmark.with_ablations else [],
      "settings": settings}))


def _distillation_examples(benchmark: Benchmark) -> int:
  """Records processed by the refinements of all stages: per outer step one inner training and one outer batch.

  The reverse pass through an inner training costs three times as much as the training: it counts in the operations.
  """
  distill = benchmark.config.distill
  stages = Distillation(MEMORY_VARIANT, benchmark.seeds[0]).record(benchmark)
  return sum(stage.get("outer_steps", distill.by_effort.outer_steps) * (
      distill.inner.epochs * stage["num_slots"] + distill.outer_batch_size) for stage in stages)


def _record_counts(benchmark: Benchmark, log: EncodedLog) -> dict[str, int]:
  return {"log": len(log.train), "memory": benchmark.num_slots(log), "test": len(log.test)}


def _bytes(benchmark: Benchmark, log: EncodedLog) -> dict[str, Any]:
  """Bytes of the log and of the memory, as stored (GZIP) and uncompressed."""
  manifest = Distillation(MEMORY_VARIANT, benchmark.seeds[0]).memory(benchmark).manifest
  return {"log": sum(log.span_bytes[span] for span in log.train_spans), "memory": manifest.num_bytes,
          "log_raw": sum(log.span_raw_bytes[span] for span in log.train_spans), "memory_raw": manifest.num_raw_bytes}


def _stream(benchmark: Benchmark, log: EncodedLog, one_pass: Cost) -> list[dict[str, Any]]:
  """One entry a span: fidelity after it, the slots by action and age, and what the stage cost.

  `stage_wall_ratio` and `stage_flops_ratio` are its costs over those of a pass over the log so far.
  """
  stages = [Distillation(MEMORY_VARIANT, seed).record(benchmark) for seed in benchmark.seeds]
  course = all_scores(benchmark, ["course"])
  entries, seen = [], 0
  for index, span in enumerate(log.train_spans):
    seen += len(log.rows.of_spans([span]))
    of_seeds = [stage[index] for stage in stages]
    so_far = one_pass.times(seen / len(log.train))
    costs = distillation_cost([[one] for one in of_seeds])
    entry = {"span": span, "num_slots": of_seeds[0]["num_slots"], **{
        unit: {part: float(np.mean([one[unit][part] for one in of_seeds])) for part in of_seeds[0].get(unit, ())}
        for unit in ("seconds", "flops")},
             "stage_wall_ratio": costs.seconds / so_far.seconds, "stage_flops_ratio": costs.flops / so_far.flops,
             "actions": of_seeds[0]["actions"], "slots_by_age": of_seeds[0]["slots_by_age"],
             "chosen": [one["chosen"] for one in of_seeds]}
    entries.append({**entry, **_fidelity_after(benchmark, log, course, index)})
  return entries


def _fidelity_after(benchmark: Benchmark, log: EncodedLog, course: Scores, index: int) -> dict[str, Any]:
  """Fidelity of the memory after a span: on the span that follows, and on held-back rows of the first one."""
  empty = ("mean_recovery", "mean_recovery_se", "mean_auc", "log_mean_auc", *FIGURES, "first_span")
  if not benchmark.with_course:
    return dict.fromkeys(empty)
  spans = [*log.train_spans, log.test_spans[0]]
  first = log.rows.of_spans(spans[:1])
  tests = {"next": log.rows.of_spans([spans[index + 1]]),
           "first": first.take(np.asarray(is_held_back(first.example_ids,
                                                       benchmark.settings.influence.holdback_fraction)))}
  found = {place: _course_figures(benchmark, course, f"{spans[index]}/{place}", rows) for place, rows in tests.items()}
  return {**found["next"],
          "first_span": {key: found["first"][key] for key in ("mean_recovery", "mean_auc", "log_mean_auc", *FIGURES)}}


def _course_figures(benchmark: Benchmark, course: Scores, source: str, rows: EncodedRows) -> dict[str, Any]:
  aucs = {kind: np.stack([seed_aucs(course[f"{source}/{kind}", member], rows.labels)
                          for member in benchmark.ablation_members]) for kind in ("memory", "log")}
  recoveries = metrics.estimate(np.mean([seed_recoveries(memory, of_log) for memory, of_log in
                                         zip(aucs["memory"], aucs["log"], strict=True)], axis=0))
  members = benchmark.ablation_members
  orders = Rankings({(name, member): course[f"{source}/{kind}", member] for member in members
                     for kind, name in (("log", LOG), ("memory", MEMORY))}, members, rows.labels).figures(MEMORY)
  return {"mean_recovery": recoveries.mean, "mean_recovery_se": recoveries.standard_error,
          "mean_auc": float(aucs["memory"].mean()), "log_mean_auc": float(aucs["log"].mean()),
          **{name: orders[name] for name in FIGURES}}


def _ablations(benchmark: Benchmark, labels: np.ndarray) -> list[dict[str, Any]]:
  """Per ablation mean AUC, recovery and order of the panel, and its AUC less its reference's, paired over seeds."""
  judged = dataclasses.replace(benchmark, members=tuple(
      member for member in benchmark.members if member.name in benchmark.ablation_members))
  scores = all_scores(judged, ["log", *(variant.name for variant in benchmark.ablations())])
  num_seeds = len(benchmark.ablation_seeds)
  log_aucs = np.stack([seed_aucs(scores[LOG, name], labels)[:num_seeds] for name in benchmark.ablation_members])
  aucs = {variant.name: np.stack([seed_aucs(scores[variant.name, name], labels)
                                  for name in benchmark.ablation_members]) for variant in benchmark.ablations()}
  on_log = {(LOG, name): dataclasses.replace(scores[LOG, name], logits=scores[LOG, name].logits[:num_seeds])
            for name in benchmark.ablation_members}
  rankings = Rankings({**scores, **on_log}, benchmark.ablation_members, labels)
  found = []
  for variant in benchmark.ablations():
    mean = metrics.estimate(aucs[variant.name].mean(axis=0))
    recovery = float(np.mean([seed_recoveries(memory, of_log).mean() for memory, of_log in
                              zip(aucs[variant.name], log_aucs, strict=True)]))
    entry: dict[str, Any] = {"name": variant.name, "mean_auc": mean.mean, "mean_auc_se": mean.standard_error,
                             "mean_recovery": recovery, "reference": variant.reference, "difference": None}
    orders = rankings.figures(variant.name)
    entry |= {name: orders[name] for name in FIGURES}
    if variant.reference is not None:
      difference = metrics.paired_difference(aucs[variant.name].mean(axis=0), aucs[variant.reference].mean(axis=0))
      entry["difference"] = {"mean": difference.mean, "standard_error": difference.standard_error,
                             "resolved": difference.resolved}
    found.append(entry)
  return found
