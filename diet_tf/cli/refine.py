"""The command `diet refine`: the newest memory of a store refined once more, as a revision of its commit."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diet_tf.cli.help import ExamplesHelp, add_user_code, path_text
from diet_tf.cli.terminal import progress, without_native_chatter
from diet_tf.config.user_code import imports_code
from diet_tf.errors import ConfigError, FormatError, StoreError
from diet_tf.io import files
from diet_tf.io.json_files import without_nan
from diet_tf.printable import printable
from diet_tf.progress import Progress, silent

if TYPE_CHECKING:
  from diet_tf.config.config import Config
  from diet_tf.distillation.revision import Revision
  from diet_tf.distillation.settings import Stage
  from diet_tf.store.commit import Commit
  from diet_tf.store.store import Store

EFFORTS = ("ranking", "fidelity")
# The part of a commit that the next span's teacher goes on from.
TEACHER_PART = "teacher"
_EXAMPLES = """examples:
  diet refine --store diet_runs/demo/store --effort fidelity
  diet refine --config shop.yaml --effort fidelity --json"""


def refine_parser() -> argparse.ArgumentParser:
  """The arguments of `diet refine`."""
  parser = argparse.ArgumentParser(
      prog="diet refine", description="Refine the newest memory of a store once more, say before a search, on the rows "
      "that its commit carries. What comes of it is committed as a revision of the span, unless it is worse; the "
      "commit before it is kept, and the next span goes on from the revision.",
      epilog=_EXAMPLES, formatter_class=ExamplesHelp)
  parser.add_argument("--store", type=path_text, metavar="URI", help="the store (default: that of the config)")
  parser.add_argument("--config", type=path_text, metavar="FILE", help="a config, whose section distill, strategy and "
                      "store are used; without it the settings are those of the newest commit")
  parser.add_argument("--effort", choices=EFFORTS, help="how far to refine; without it as the config or the newest "
                      "commit says")
  parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting of the "
                      "section distill, as in --set distill.outer_steps=100; may be repeated")
  parser.add_argument("--output", type=path_text, metavar="DIR", help="the folder of the runs, where the config's "
                      "store is below another one than the config says")
  parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
  add_user_code(parser)
  return parser


@without_native_chatter()
def refine(arguments: Sequence[str]) -> int:
  """`diet refine`; returns the exit code."""
  options = refine_parser().parse_args(arguments)
  config = _config(options)
  from diet_tf.store.locks import refining_lock
  from diet_tf.store.store import Store

  store = Store(options.store or (files.join(config.output, "store") if config is not None else ""))
  store.require_commits()
  store.require_writable()
  with refining_lock(store.paths), progress() as shown:
    newest = store.read(max(store.spans(), default=0))
    outcome = refine_newest(store, newest, _stage(store, newest, config, options),
                            "auto" if config is None else config.strategy, shown)
  _show(store, outcome, as_json=options.json)
  return 0


@dataclasses.dataclass(frozen=True)
class Refinement:
  """What a refinement of the newest memory came to.

  Attributes:
    revision: the refined memory and the gate's verdict on it.
    before: the commit that was refined.
    commit: the revision's commit; None where the memory was worse than before.
  """

  revision: Revision
  before: Commit
  commit: Commit | None


def refine_newest(store: Store, newest: Commit, stage: Stage, strategy: str = "auto",
                  shown: Progress = silent) -> Refinement:
  """Refines the memory of a store's newest commit, and commits what is no worse as a revision of it.

  The store is as it was until the last step, the commit; whoever dies before it leaves no trace.

  Args:
    store: the store, whose `refining_lock` is held.
    newest: its newest commit.
    stage: settings to refine by, of the commit's feature spec and span.
    strategy: where proxies are trained; see `diet_tf.training.devices`.
    shown: callback that is told of each outer step.

  Raises:
    FormatError: a file of the commit is not as it was committed.
    StoreError: another process has committed meanwhile.
  """
  import tensorflow as tf

  from diet_tf.distillation.carried_rows import CARRIED_PART, CarriedRows
  from diet_tf.distillation.refinement_checkpoints import Checkpoints
  from diet_tf.distillation.refinement_needs import refinement_needs, require_memory_for_proxies
  from diet_tf.distillation.revision import revise
  from diet_tf.distillation.teacher import Teacher
  from diet_tf.memory.memory import save_memory
  from diet_tf.store.memories import load_memory
  from diet_tf.store.store import MEMORY_PART
  from diet_tf.training.devices import make_strategy
  from diet_tf.training.memory_needs import machine_memory_bytes, trains_on_gpu

  _require_sound(store, newest)
  tf.config.experimental.enable_op_determinism()
  tf.random.set_seed(stage.seed)
  names = sorted({path.split("/", 1)[0] for path in newest.files})
  parts = {name: store.path(newest, name) for name in names}
  memory = load_memory(parts[MEMORY_PART], spec=stage.spec)
  if CARRIED_PART not in parts:
    raise StoreError(f"span {newest.span} in {store.uri}", rule="its commit carries rows to refine on.",
                     received="none: it is of release 0.1, or under privacy.min_users_per_id.",
                     remedy="run the next span; under a rule on users, memories are refined with their span alone.")
  carried = CarriedRows.read(parts[CARRIED_PART], stage.spec)
  if not trains_on_gpu(strategy):
    # It counts weights in a graph of its own, after which Keras calls no model that was there before.
    require_memory_for_proxies(refinement_needs(stage.spec, stage.settings.distill, memory.slots),
                               machine_memory_bytes())
  teacher = Teacher.load(parts[TEACHER_PART], stage.spec, stage.settings.teacher)
  checkpoints = Checkpoints(files.join(store.paths.unfinished, f"revision-{newest.span}.npz"),
                            stage.settings.distill.checkpoint_seconds)
  revision = revise(stage, memory, carried, teacher, strategy=make_strategy(strategy), progress=shown,
                    checkpoints=checkpoints if stage.settings.distill.checkpoint_seconds else None)
  if not revision.is_better:
    checkpoints.remove()
    return Refinement(revision, newest, None)
  with tempfile.TemporaryDirectory(prefix="diet-refine-") as folder:
    save_memory(files.join(folder, MEMORY_PART), revision.memory)
    distill = json.loads(stage.settings.to_json())["distill"]
    commit = store.revise(newest, {**parts, MEMORY_PART: files.join(folder, MEMORY_PART)},
                          revision={"distill": distill}, run_id="diet refine")
  checkpoints.remove()
  return Refinement(revision, newest, commit)


def _require_sound(store: Store, commit: Commit) -> None:
  problems = store.data_problems(commit)
  if problems:
    raise FormatError(f"span {commit.span} in {store.uri}", rule="what is refined is as it was committed.",
                      received="\n  ".join(problems), remedy="see diet store verify; restore the named files, or run "
                      "the span again with --replace.")


def _config(options: argparse.Namespace) -> Config | None:
  if options.config is None:
    if options.store is None:
      raise ConfigError("diet refine", rule="it is told the store, or a config that says where it is.",
                        received="neither.", remedy="pass --store URI, or --config FILE.")
    return None
  from diet_tf.config.config import load_config

  return load_config(options.config, {} if options.output is None else {"output": options.output},
                     user_code=options.user_code)


def _stage(store: Store, newest: Commit, config: Config | None, options: argparse.Namespace) -> Stage:
  """What the newest memory is refined by: its commit's settings, but for the section `distill` as it is asked for."""
  from diet_tf.config.yaml_file import parse_overrides
  from diet_tf.distillation.refinement import DistillSettings
  from diet_tf.distillation.settings import Stage, StageSettings
  from diet_tf.memory.manifest import read_manifest
  from diet_tf.settings import build
  from diet_tf.store.store import MEMORY_PART

  sections = [field.name for field in dataclasses.fields(StageSettings)]
  committed = {name: newest.settings[name] for name in sections if name in newest.settings}
  settings = StageSettings.from_json(json.dumps(committed, default=dict))
  distill = settings.distill if config is None else config.distill
  values: dict[str, Any] = dataclasses.asdict(distill)
  if options.effort is not None:
    values |= {"effort": options.effort, **dict.fromkeys(("outer_steps", "refine_growth", "rate_learning_rate"))}
  for key, value in parse_overrides(options.set).items():
    _set(values, key, value)
  settings = dataclasses.replace(settings, distill=build(DistillSettings, values, "distill"))
  if config is None or not options.user_code:
    _refuse_user_code(settings.members())
  spec = read_manifest(store.path(newest, MEMORY_PART)).spec()
  return Stage(spec, settings, int(newest.settings.get("seed", 0)), newest.span)


def _refuse_user_code(members: Mapping[str, Sequence[str]]) -> None:
  """Refuses members that would be imported: who can write to a store must not choose what code is run here."""
  for key, names in members.items():
    for name in filter(imports_code, names):
      raise ConfigError(key, rule="without a config of yours that is trusted, members are families of the panel.",
                        received=f"{name!r}, which imports code.",
                        remedy="pass --config FILE, without --no-user-code, where you trust the code.")


def _set(values: dict[str, Any], key: str, value: Any) -> None:
  """Sets what a dotted key of the section `distill` names."""
  section, *names = key.split(".")
  if section != "distill" or not names:
    raise ConfigError(key, rule="diet refine takes settings of the section distill.", received=f"--set {key}=...",
                      remedy="see docs/configuration.md; all others are those of the newest commit.")
  for name in names[:-1]:
    values = values.setdefault(name, {})
  values[names[-1]] = value


def _show(store: Store, outcome: Refinement, *, as_json: bool) -> None:
  before, commit, revision = outcome.before, outcome.commit, outcome.revision
  verdict = revision.verdict
  if as_json:
    print(json.dumps({
        "uri": store.uri, "span": before.span, "revised": before.data, "data": None if commit is None else commit.data,
        "outer_steps": len(revision.losses), "num_judged": revision.num_judged,
        "verdict": without_nan(dataclasses.asdict(verdict))}, indent=2, sort_keys=True))
    return
  losses = ", ".join(f"{verdict.losses[name]:.5f} {said}" for name, said in (("start", "before"), ("refined", "after")))
  came = (f"its revision {commit.data[:12]} is committed, and {before.data[:12]} is kept" if commit is not None else
          "the memory before is better beyond noise, and stays")
  print(printable(f"Span {before.span}: {came}. Loss on {revision.num_judged:,} rows that were kept from "
                  f"{len(revision.losses):,} outer steps: {losses}."))
