"""How well the memory stands in for the log: `python -m benchmarks.fidelity --dataset kuairand --data-dir DIR`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

EXAMPLES = {"kuairand": "examples/kuairand.yaml", "movietweetings": "examples/movietweetings.yaml"}
DATASETS = (*EXAMPLES, "csv", "simulated")
# Fields that some variants are built without, as if they were a new group of features.
FEATURE_GROUPS = {"kuairand": ("onehot_feat*",), "movietweetings": ("genres",), "simulated": ("price", "item_age")}
QUICK_MEMBERS = ("lr", "fm", "dnn", "dcn_v2")
QUICK_SHARES = (5, 20)
# What a result was made of that may differ between runs in one folder: no piece of work depends on the others of these.
MAY_JOIN = ("members", "samples")
ABLATION_MEMBERS = ("lr", "fm", "dnn", "dcn_v2", "dlrm")
PARTS = ("bounds", "ablations", "course", "baselines", "rivals", "large")
# Of the dataset that the required figures were set for.
DATASET_WITH_BARS = "kuairand"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  """The options of the command."""
  parser = argparse.ArgumentParser(
      prog="python -m benchmarks.fidelity", description="Distil the spans of a log, train a panel of models on the "
      "log, on the memory and on baselines, and compare them on the last span. What is done is kept: the same command "
      "goes on where it was interrupted.")
  parser.add_argument("--dataset", required=True, choices=DATASETS, help="csv needs --config; simulated needs no data")
  parser.add_argument("--data-dir", default=".", metavar="DIR", help="what paths in the config are relative to")
  parser.add_argument("--config", metavar="FILE", help="the config, instead of the dataset's in examples/")
  parser.add_argument("--budget", type=float, metavar="SHARE", help="slots per example (default: the config's)")
  parser.add_argument("--test-spans", type=int, metavar="N", help="newest spans, kept for the test (default: the "
                      "config's)")
  parser.add_argument("--seeds", type=int, default=5, metavar="N", help="distillations, draws and trainings of each")
  parser.add_argument("--ablation-seeds", type=int, default=3, metavar="N", help="of these, those that ablations use")
  parser.add_argument("--ablation-steps", type=int, metavar="N", help="outer steps of an ablation's stages "
                      "(default: half of the config's)")
  parser.add_argument("--ablations", nargs="*", metavar="NAME", help="distil these ablations alone, beside what they "
                      "are compared with")
  parser.add_argument("--without", nargs="*", default=[], choices=PARTS, help="parts to leave out")
  parser.add_argument("--development", action="store_true", help="leave the test's spans unread, and test on as many "
                      "before them: for whatever is to be decided")
  parser.add_argument("--feature-group", nargs="*", metavar="PATTERN",
                      help="fields that some variants of the panel are built without")
  parser.add_argument("--quick", action="store_true", help="four members, two seeds, two baselines, two "
                      "rivals, and nothing else")
  parser.add_argument("--check", action="store_true", help="exit with 1 unless the memory beats its own start, the "
                      "start as many random rows at the same cost, and the memory these with the teacher's labels")
  parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time, one core each; with 0 "
                      "everything runs in this one")
  parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="override a setting of the config")
  parser.add_argument("--work", metavar="DIR", help="where results are kept (default: diet_runs/fidelity/...)")
  parser.add_argument("--json", metavar="OUT", help="write the result there as well")
  parser.add_argument("--plots", metavar="DIR", help="write the plots there")
  parser.add_argument("--markdown", metavar="OUT", help="write the tables there")
  options = parser.parse_args(arguments)
  for name, least in (("seeds", 1), ("ablation_seeds", 1), ("jobs", 0), ("ablation_steps", 1)):
    if getattr(options, name) is not None and getattr(options, name) < least:
      parser.error(f"--{name.replace('_', '-')} is at least {least}; received {getattr(options, name)}.")
  if options.check and "baselines" in options.without:
    parser.error("--check compares with random rows: leave --without baselines out.")
  return options


def load(options: argparse.Namespace, folder: str) -> Any:
  """The config of the run, with paths that can be opened from here."""
  from diet_tf.config.config import build_config, load_config
  from diet_tf.config.yaml_file import apply_overrides, parse_overrides
  from diet_tf.errors import ConfigError
  from diet_tf.settings import Where
  from pipelines.data_folder import with_data_dir

  overrides = [*options.set, *([] if options.budget is None else [f"budget.fraction={options.budget}"]),
               *([] if options.test_spans is None else [f"test_spans={options.test_spans}"])]
  if options.dataset == "simulated":
    from pipelines import demo

    demo.prepare(os.path.join(folder, "simulated"))
    # As all figures of the benchmark before were taken.
    values = demo.config_values()
    values["log"]["drop_duplicates"] = True
    where = apply_overrides(values, Where("the simulated log's config"), parse_overrides(overrides))
    return with_data_dir(build_config(values, where), os.path.abspath(os.path.join(folder, "simulated")))
  path = options.config or EXAMPLES.get(options.dataset)
  if path is None:
    raise ConfigError("--config", rule="--dataset csv comes with a config.", received="none.",
                      remedy="copy examples/csv.yaml, and name it with --config.")
  return with_data_dir(load_config(path, overrides), os.path.abspath(options.data_dir))


def make_benchmark(options: argparse.Namespace, config: Any, folder: str) -> tuple[Any, tuple[str, ...]]:
  """The benchmark, and the fields that some variants are built without."""
  from benchmarks.fidelity.benchmark import Benchmark
  from benchmarks.fidelity.panel import make_panel, matching_fields
  from benchmarks.fidelity.samples import user_column
  from benchmarks.fidelity.selections import SELECTIONS
  from benchmarks.fidelity.sources import SAMPLES, UNIFORM, USERS, parse_sample, sample_source

  patterns = FEATURE_GROUPS.get(options.dataset, ()) if options.feature_group is None else options.feature_group
  group = matching_fields(config.features, patterns)
  _check_ablations(options.ablations or ())
  parts = set(PARTS) - set(options.without)
  members = make_panel(config.features, config.distill.proxies, group, with_large="large" in parts)
  selections, samples, num_seeds = SELECTIONS, SAMPLES, options.seeds
  if options.quick:
    members = tuple(member for member in members if member.name in QUICK_MEMBERS)
    selections, samples = ("random", "recent"), tuple(sample_source(UNIFORM, share) for share in QUICK_SHARES)
    num_seeds, parts = min(2, options.seeds), parts & {"baselines", "rivals"}
  if user_column(config) is None:
    samples = tuple(source for source in samples if parse_sample(source)[0] != USERS)
  seeds = tuple(config.seed + index for index in range(num_seeds))
  return Benchmark(
      config=config, folder=folder, members=members, seeds=seeds, ablation_members=ABLATION_MEMBERS,
      ablation_seeds=seeds[:options.ablation_seeds],
      ablation_steps=options.ablation_steps or max(1, config.distill.by_effort.outer_steps // 2),
      selections=selections if "baselines" in parts else (), samples=samples if "rivals" in parts else (),
      with_bounds="bounds" in parts, with_ablations="ablations" in parts, with_course="course" in parts,
      ablation_names=None if options.ablations is None else tuple(options.ablations),
      development=options.development), group


def _check_ablations(names: Sequence[str]) -> None:
  from benchmarks.fidelity.variants import ablations
  from diet_tf.errors import ConfigError

  known = [variant.name for variant in ablations(1)]
  for name in names:
    if name not in known:
      raise ConfigError("--ablations", rule="each name is one of the ablations.", received=repr(name),
                        remedy=f"use some of {', '.join(map(repr, known))}.")


def describe(options: argparse.Namespace, benchmark: Any) -> dict[str, Any]:
  """What the figures depend on, and what is only said beside them."""
  config = benchmark.config.to_dict()
  # The panel is the benchmark's own.
  for key in ("output", "name", "strategy", "panel"):
    config.pop(key)
  # Where the data lie is nobody's business but the machine's.
  config["log"] = {key: value for key, value in config["log"].items() if key not in ("pattern", "joins")}
  return {"dataset": options.dataset, "budget": benchmark.config.budget.fraction, "config": config,
          "seeds": list(benchmark.seeds), "ablation_seeds": list(benchmark.ablation_seeds),
          "ablation_steps": benchmark.ablation_steps, "ablation_members": list(benchmark.ablation_members),
          "members": [member.name for member in benchmark.members], "selections": list(benchmark.selections),
          "samples": list(benchmark.samples), "development": benchmark.development}


def check_folder(folder: str, settings: dict[str, Any]) -> None:
  """Writes the settings beside the results, or refuses to mix results of others; more members or rivals may join."""
  from diet_tf.errors import ConfigError
  from diet_tf.io import files

  path = os.path.join(folder, "settings.json")
  text = json.dumps({key: value for key, value in settings.items() if key not in MAY_JOIN}, indent=1, sort_keys=True)
  if not files.exists(path):
    files.make_folders(folder)
    files.write_atomically(path, text.encode())
    return
  there, now = (dict(_leaves(json.loads(one))) for one in (files.read_bytes(path).decode(), text))
  differing = [key for key in sorted({*there, *now}) if there.get(key) != now.get(key)]
  if differing:
    raise ConfigError(folder, rule="results of one folder are of one set of settings.",
                      received="; ".join(f"{key}: there {there.get(key)}, now {now.get(key)}" for key in differing[:5]),
                      remedy="name another folder with --work, or remove this one.")


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
  """The values of nested mappings with their keys joined by dots."""
  if isinstance(value, dict):
    for key, entry in value.items():
      yield from _leaves(entry, f"{place}.{key}" if place else key)
  else:
    yield place, value


def run(benchmark: Any, num_jobs: int, progress: Any) -> None:
  """Does what is not done yet."""
  from benchmarks.fidelity.distillations import BaselineRows, distillations
  from benchmarks.fidelity.encoded_log import development_spans, encode_log
  from benchmarks.fidelity.member_work import MemberWork
  from benchmarks.fidelity.workers import run_all

  encode_log(benchmark.config, benchmark.folder, progress=progress,
             spans=development_spans(benchmark.config) if benchmark.development else None)
  run_all(distillations(benchmark, benchmark.log()), benchmark, num_jobs, "distillations", progress)
  if benchmark.selections:
    run_all([BaselineRows(seed) for seed in benchmark.seeds], benchmark, num_jobs, "selections of rows", progress)
  work = [MemberWork(member.name) for member in benchmark.members]
  # Members with the most to do first, so that no process waits long for the last one.
  work.sort(key=lambda one: -len(one.groups(benchmark)))
  run_all(work, benchmark, num_jobs, "members of the panel", progress)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the benchmark and shows its tables; returns the exit code."""
  from diet_tf.cli.terminal import progress, quiet_third_parties, without_native_chatter
  from diet_tf.errors import DietError

  quiet_third_parties()
  options = parse(arguments)
  try:
    with without_native_chatter():
      return _main(options, progress)
  except DietError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _main(options: argparse.Namespace, shown_progress: Any) -> int:
  from benchmarks.fidelity.bars import DEFAULT_EFFORT, bars
  from benchmarks.fidelity.results import assemble
  from benchmarks.fidelity.tables import markdown, report

  started = time.monotonic()
  folder = options.work or os.path.join("diet_runs", "fidelity", _default_name(options))
  config = load(options, folder)
  benchmark, group = make_benchmark(options, config, folder)
  settings = describe(options, benchmark)
  check_folder(folder, settings)
  with shown_progress() as progress:
    run(benchmark, options.jobs, progress)
  result = assemble(benchmark, group, settings)
  has_bars = options.dataset == DATASET_WITH_BARS and options.config is None and not options.quick
  rows = bars(result["summary"], effort=getattr(config.distill, "effort", DEFAULT_EFFORT),
              development=options.development) if has_bars else []
  _write(options, folder, result, markdown(result, rows))
  print(report(result, rows))
  print(f"Results: {os.path.join(folder, 'result.json')} ({time.monotonic() - started:.0f} s this time)")
  return int(options.check and not passes_check(result))


def passes_check(result: dict[str, Any]) -> bool:
  """Whether at equal cost the memory beats its own start, the start random rows, and the memory soft-labelled ones."""
  means = {source: entry["mean"] for source, entry in result["summary"]["panel_mean_auc"].items()}
  memory, start = means["memory"], means["unrefined"]
  hard, soft = (means[f"random/{labels}/equal_cost"] for labels in ("hard", "soft"))
  print(f"Check: memory {memory:.4f} > its start {start:.4f} > random rows {hard:.4f}; memory > random rows with the "
        f"teacher's labels {soft:.4f}")
  return memory > start > hard and memory > soft


def _default_name(options: argparse.Namespace) -> str:
  parts = [options.dataset, *([] if options.budget is None else [f"{options.budget:g}"]),
           *(["development"] if options.development else []), *(["quick"] if options.quick else [])]
  return "-".join(parts)


def _write(options: argparse.Namespace, folder: str, result: dict[str, Any], tables: str) -> None:
  from benchmarks.fidelity.results import RESULT
  from diet_tf.io import files

  text = RESULT.bytes(result).decode()
  for path, content in ((os.path.join(folder, "result.json"), text), (options.json, text), (options.markdown, tables)):
    if path is not None:
      with files.writing(path):
        files.make_folders(files.parent(path) or ".")
        files.write_atomically(path, content.encode())
  if options.plots is not None:
    from benchmarks.fidelity.plots import write_plots

    write_plots(result, options.plots)


if __name__ == "__main__":
  sys.exit(main())
