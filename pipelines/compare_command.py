"""The command `diet compare`: architectures ranked on a memory. TFX is imported only where a raw log is read."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diet_tf.cli.help import ExamplesHelp, add_user_code, path_text
from diet_tf.cli.terminal import print_columns, progress, without_native_chatter
from diet_tf.config.user_code import refuse_user_code
from diet_tf.errors import ConfigError
from diet_tf.fidelity.grouping import require_group_field
from diet_tf.fidelity.panel_metrics import AUC, PanelMetric, require_metrics
from diet_tf.io import files
from diet_tf.io.write_access import require_writable_folder
from diet_tf.log.examples import example_arrays
from diet_tf.memory.manifest import Manifest, read_manifest
from diet_tf.printable import printable
from diet_tf.store.store import memory_folder
from pipelines.arguments import look_for_user_modules

if TYPE_CHECKING:
  from diet_tf.progress import Progress
  from pipelines.unseen_rows import UnseenRows

_EXAMPLES = """examples:
  diet compare lr dnn dcn_v2 --store diet_runs/demo/store
  diet compare my_models:Pooled "dnn(embedding_dim=16)" deepfm --store diet_runs/shop/store \\
    --config shop.yaml --data-dir logs
  diet compare dlrm autoint --store s3://diet/store --log 's3://logs/day={SPAN}.parquet' --test-span 20220501
  diet compare dnn fm --store diet_runs/demo/store --seeds 10 --json > ranking.json
  diet compare lr dnn dcn_v2 --store diet_runs/demo/store --metric gauc --metric ndcg@10 --group user_id

A module:Class is looked for on PYTHONPATH and in the current folder."""


def compare_parser() -> argparse.ArgumentParser:
  """The arguments of `diet compare`."""
  parser = argparse.ArgumentParser(
      prog="diet compare", description="Rank architectures by training each on a memory, by its recipe, and judging it "
      "on rows of the log that the memory has not seen.", epilog=_EXAMPLES,
      formatter_class=ExamplesHelp)
  parser.add_argument("members", nargs="+", metavar="MEMBER", help="a family of the panel (lr, fm, dnn, dcn_v2, ...), "
                      "one with settings such as 'dnn(embedding_dim=16)', or a Keras model of yours as module:Class")
  parser.add_argument("--store", type=path_text, required=True, metavar="URI",
                      help="the store of memories (its newest commit), or the "
                      "folder of one memory")
  parser.add_argument("--seeds", type=int, default=5, metavar="N", help="trainings of each (default: %(default)s)")
  parser.add_argument("--metric", action="append", default=[], metavar="NAME",
                      help="rank by this metric: auc, gauc, ndcg@K, recall@K, log_loss, ece, calibration or rmse; may "
                      "be repeated, and the first ranks (default: panel.metric of --config, or auc)")
  parser.add_argument("--group", metavar="FIELD", help="the field whose ids tell users or requests apart, for gauc, "
                      "ndcg@K and recall@K (default: panel.group of --config)")
  parser.add_argument("--no-tune", action="store_true", help="train all by the recipe's learning rates; otherwise each "
                      "architecture chooses a factor of them on the memory's scored rows, by 2 to 5 more trainings")
  rows = parser.add_argument_group("held-out rows", "by default the newest span that a run has left beside the store")
  rows.add_argument("--config", type=path_text, metavar="FILE", help="read the log that this config names")
  rows.add_argument("--data-dir", type=path_text, default=".", metavar="DIR",
                    help="what paths in the config are relative to")
  rows.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting of the config")
  rows.add_argument("--log", type=path_text, metavar="PATTERN",
                    help="read this log, with {SPAN} for the number of a span, instead of "
                    "the config's, or without a config")
  rows.add_argument("--test-span", type=int, action="append", default=[], metavar="N",
                    help="judge on this span of the log; may be repeated (default: the newest)")
  rows.add_argument("--examples", type=path_text, metavar="FOLDER",
                    help="judge on these encoded rows, as LogGen writes them")
  rows.add_argument("--output", type=path_text, metavar="DIR",
                    help="where spans of the log are encoded, and kept for the next "
                    "comparison (default: the config's output, or the folder of the store)")
  parser.add_argument("--strategy", default="auto", choices=("auto", "cpu", "gpu", "mirrored"),
                      help="where to train (default: all GPUs that there are)")
  parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
  add_user_code(parser)
  return parser


def compare(arguments: Sequence[str]) -> int:
  """`diet compare`; returns the exit code."""
  return _compare(compare_parser().parse_args(arguments))


@without_native_chatter()
def _compare(options: argparse.Namespace) -> int:
  _check_options(options)
  if not options.user_code:
    refuse_user_code({"MEMBER": options.members})
  manifest = read_manifest(memory_folder(options.store))
  look_for_user_modules(options.members)
  print("Starting TensorFlow.", file=sys.stderr, flush=True)
  import tensorflow as tf

  from diet_tf.fidelity import comparison
  from diet_tf.memory.tuning import DEFAULT_TUNING
  from diet_tf.store.memories import load_memory
  from diet_tf.training.devices import make_strategy

  tf.config.experimental.enable_op_determinism()
  tf.random.set_seed(0)
  strategy = make_strategy(options.strategy)
  memory = load_memory(options.store)
  by, group = _judged_by(options)
  require_metrics(by, group, ("--metric", "--group"))
  require_group_field(group, memory.spec, "--group")
  comparison.check_members(options.members, memory.spec, options.strategy)
  with progress() as shown:
    rows = unseen_rows_wanted(options, manifest, shown)
    examples = example_arrays(rows.shards, memory.spec)
    result = comparison.compare(memory, examples, options.members, num_seeds=options.seeds, progress=shown,
                                strategy=strategy, tuning=None if options.no_tune else DEFAULT_TUNING, by=by,
                                group=group)
  if options.json:
    print(result.to_json())
    return 0
  print_columns(result.columns, result.rows(), whole={*result.columns} - {"architecture"})
  judged = f"Held-out rows: {f'span {_listed(rows.spans)} of ' if rows.spans else ''}{rows.source}"
  print(printable("\n".join(["", *result.notes(), judged])))
  return 0


def _judged_by(options: argparse.Namespace) -> tuple[tuple[str, ...], str | None]:
  """The names of the metrics, and of the field that groups rows: the options' own, or else those of their config."""
  by, group = tuple(options.metric), options.group
  if options.config and not (by and group):
    from diet_tf.config.config import load_config

    panel = load_config(options.config, options.set, user_code=options.user_code).panel
    by = by or (panel.metric, *panel.more_metrics)
    if any(PanelMetric.of(name, "--metric").within_groups for name in by):
      # The group of the config is for its own metrics, of which the command may name none.
      group = group or panel.group
  return by or (AUC,), group


def unseen_rows_wanted(options: argparse.Namespace, manifest: Manifest, shown: Progress) -> UnseenRows:
  """The rows that the options ask for.

  Args:
    options: the arguments of the command, as `compare_parser` reads them.
    manifest: manifest of the memory.
    shown: callback that is told about finished pieces of work.

  Raises:
    ConfigError: nothing says where they are.
  """
  from pipelines import unseen_rows

  if options.examples:
    return unseen_rows.from_folder(options.examples, manifest)
  if options.config or options.log:
    return _from_log(options, manifest, shown)
  found = unseen_rows.from_workspace(options.store, manifest)
  if found is None:
    raise ConfigError("held-out rows", rule="architectures are judged on rows that the memory has not seen.",
                      received=f"no encoded span later than {manifest.span} beside the store.",
                      remedy="pass --config FILE with --data-dir, --log PATTERN, or --examples FOLDER.")
  return found


def _from_log(options: argparse.Namespace, manifest: Manifest, shown: Progress) -> UnseenRows:
  from diet_tf.log.settings import LogSettings
  from pipelines import unseen_rows

  beside = None if files.is_remote(options.store) else files.parent(options.store)
  if options.config:
    from diet_tf.config.config import load_config
    from pipelines.data_folder import with_data_dir

    config = load_config(options.config, options.set, user_code=options.user_code)
    if options.log:
      config = dataclasses.replace(config, log=dataclasses.replace(config.log, pattern=options.log))
    config = with_data_dir(config, options.data_dir)
    log, features, output = config.log, config.features, options.output or config.output
  else:
    log, features, output = LogSettings(options.log), manifest.spec(), options.output or beside or "diet_runs/compare"
  require_writable_folder(output)
  return unseen_rows.from_log(log, features, manifest, options.store, output, spans=options.test_span, progress=shown)


def _check_options(options: argparse.Namespace) -> None:
  if options.seeds < 1:
    raise ConfigError("--seeds", rule="it is at least 1.", received=str(options.seeds), remedy="use 5.")
  for name in options.metric:
    PanelMetric.of(name, "--metric")
  from_log = bool(options.config or options.log)
  if options.examples and from_log:
    raise ConfigError("--examples", rule="held-out rows come from one place.", received="--examples with a log.",
                      remedy="leave out --examples, or --config and --log.")
  if options.test_span and not from_log:
    raise ConfigError("--test-span", rule="it names a span of a log.", received="neither --config nor --log.",
                      remedy="pass --config FILE with --data-dir, or --log PATTERN.")
  if options.set and not options.config:
    raise ConfigError("--set", rule="it overrides a setting of a config.", received="no --config.",
                      remedy="pass --config FILE.")


def _listed(spans: Sequence[int]) -> str:
  return ", ".join(map(str, spans))
