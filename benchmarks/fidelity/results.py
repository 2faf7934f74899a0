"""The result of a benchmark, put together from the pieces of work: see `docs/results.md` for what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.fidelity.benchmark import Benchmark
from benchmarks.fidelity.distillations import Distillation
from benchmarks.fidelity.encoded_log import EncodedLog
from benchmarks.fidelity.figures import member_figures, panel_figures, seed_aucs, seed_recoveries, summary_figures
from benchmarks.fidelity.member_work import all_scores
from benchmarks.fidelity.panel import short_name, with_cost_classes
from benchmarks.fidelity.rival_figures import source_figures
from benchmarks.fidelity.searches import of_members, searches
from benchmarks.fidelity.sources import LOG, is_rival
from benchmarks.fidelity.trained import Scores
from benchmarks.fidelity.variants import MEMORY as MEMORY_VARIANT
from diet_tf import metrics
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
  stream = _stream(benchmark, log, scores)
  seconds = [sum(sum(stage["seconds"].values()) for stage in Distillation(MEMORY_VARIANT, seed).record(benchmark))
             for seed in benchmark.seeds]
  members = member_figures(scores, panel, labels, baselines)
  summary = summary_figures(scores, panel, labels, baselines, distillation_seconds=float(np.mean(seconds)),
                            stage_wall_ratio=stream[-1]["stage_wall_ratio"])
  summary["sources"] = source_figures({**scores, **searches(scores, panel, labels)}, panel, labels)
  if len(panel) < len(everyone):
    # What the large members were trained on, which is not all; the figures above keep to the members of before.
    common = of_members(scores, everyone)
    large = [member for member in everyone if member.large]
    members += member_figures(common, large, labels, [])
    summary["with_large_members"] = {
        **panel_figures(common, everyone, labels),
        "sources": source_figures({**common, **searches(common, everyone, labels)}, everyone, labels)}
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

  The reverse pass through an inner training costs a few times as much as the training: it counts in the seconds alone.
  """
  distill = benchmark.config.distill
  stages = Distillation(MEMORY_VARIANT, benchmark.seeds[0]).record(benchmark)
  return sum(distill.outer_steps * (distill.inner.epochs * stage["num_slots"] + distill.outer_batch_size)
             for stage in stages)


def _record_counts(benchmark: Benchmark, log: EncodedLog) -> dict[str, int]:
  return {"log": len(log.train), "memory": benchmark.num_slots(log), "test": len(log.test)}


def _bytes(benchmark: Benchmark, log: EncodedLog) -> dict[str, Any]:
  """Bytes of the log and of the memory, as stored (GZIP) and uncompressed."""
  manifest = Distillation(MEMORY_VARIANT, benchmark.seeds[0]).memory(benchmark).manifest
  return {"log": sum(log.span_bytes[span] for span in log.train_spans), "memory": manifest.num_bytes,
          "log_raw": sum(log.span_raw_bytes[span] for span in log.train_spans), "memory_raw": manifest.num_raw_bytes}


def pass_seconds_per_example(benchmark: Benchmark, scores: Scores) -> float:
  """Seconds of one training on the log per example, the mean over the panel's architectures."""
  trained = [scores[LOG, member.name] for member in benchmark.members if not member.variant]
  return float(np.mean([one.seconds / one.examples for one in trained]))


def _stream(benchmark: Benchmark, log: EncodedLog, scores: Scores) -> list[dict[str, Any]]:
  """One entry a span: fidelity after it, the slots by action and age, and what the stage cost."""
  per_example = pass_seconds_per_example(benchmark, scores)
  stages = [Distillation(MEMORY_VARIANT, seed).record(benchmark) for seed in benchmark.seeds]
  course = all_scores(benchmark, ["course"])
  entries, seen = [], 0
  for index, span in enumerate(log.train_spans):
    seen += len(log.rows.of_spans([span]))
    of_seeds = [stage[index] for stage in stages]
    parts = of_seeds[0]["seconds"]
    seconds = {part: float(np.mean([one["seconds"][part] for one in of_seeds])) for part in parts}
    entry = {"span": span, "num_slots": of_seeds[0]["num_slots"], "seconds": seconds,
             "stage_wall_ratio": sum(seconds.values()) / (per_example * seen), "actions": of_seeds[0]["actions"],
             "slots_by_age": of_seeds[0]["slots_by_age"], "chosen": [one["chosen"] for one in of_seeds]}
    entries.append({**entry, **_fidelity_after(benchmark, log, course, index)})
  return entries


def _fidelity_after(benchmark: Benchmark, log: EncodedLog, course: Scores, index: int) -> dict[str, Any]:
  """Fidelity of the memory after a span: on the span that follows, and on held-back rows of the first one."""
  empty = ("mean_recovery", "mean_recovery_se", "mean_auc", "log_mean_auc", "first_span")
  if not benchmark.with_course:
    return dict.fromkeys(empty)
  spans = [*log.train_spans, log.test_spans[0]]
  first = log.rows.of_spans(spans[:1])
  tests = {"next": log.rows.of_spans([spans[index + 1]]),
           "first": first.take(np.asarray(is_held_back(first.example_ids,
                                                       benchmark.settings.influence.holdback_fraction)))}
  found = {place: _course_figures(benchmark, course, f"{spans[index]}/{place}", rows) for place, rows in tests.items()}
  return {**found["next"],
          "first_span": {key: found["first"][key] for key in ("mean_recovery", "mean_auc", "log_mean_auc")}}


def _course_figures(benchmark: Benchmark, course: Scores, source: str, rows: EncodedRows) -> dict[str, Any]:
  aucs = {kind: np.stack([seed_aucs(course[f"{source}/{kind}", member], rows.labels)
                          for member in benchmark.ablation_members]) for kind in ("memory", "log")}
  recoveries = metrics.estimate(np.mean([seed_recoveries(memory, of_log) for memory, of_log in
                                         zip(aucs["memory"], aucs["log"], strict=True)], axis=0))
  return {"mean_recovery": recoveries.mean, "mean_recovery_se": recoveries.standard_error,
          "mean_auc": float(aucs["memory"].mean()), "log_mean_auc": float(aucs["log"].mean())}


def _ablations(benchmark: Benchmark, labels: np.ndarray) -> list[dict[str, Any]]:
  """Per ablation the panel's mean AUC and recovery, and its AUC less that of its reference, paired over seeds."""
  judged = dataclasses.replace(benchmark, members=tuple(
      member for member in benchmark.members if member.name in benchmark.ablation_members))
  scores = all_scores(judged, ["log", *(variant.name for variant in benchmark.ablations())])
  num_seeds = len(benchmark.ablation_seeds)
  log_aucs = np.stack([seed_aucs(scores[LOG, name], labels)[:num_seeds] for name in benchmark.ablation_members])
  aucs = {variant.name: np.stack([seed_aucs(scores[variant.name, name], labels)
                                  for name in benchmark.ablation_members]) for variant in benchmark.ablations()}
  found = []
  for variant in benchmark.ablations():
    mean = metrics.estimate(aucs[variant.name].mean(axis=0))
    recovery = float(np.mean([seed_recoveries(memory, of_log).mean() for memory, of_log in
                              zip(aucs[variant.name], log_aucs, strict=True)]))
    entry: dict[str, Any] = {"name": variant.name, "mean_auc": mean.mean, "mean_auc_se": mean.standard_error,
                             "mean_recovery": recovery, "reference": variant.reference, "difference": None}
    if variant.reference is not None:
      difference = metrics.paired_difference(aucs[variant.name].mean(axis=0), aucs[variant.reference].mean(axis=0))
      entry["difference"] = {"mean": difference.mean, "standard_error": difference.standard_error,
                             "resolved": difference.resolved}
    found.append(entry)
  return found
