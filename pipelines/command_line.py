"""The commands `diet run`, `diet report` and `diet demo`. TFX is imported once the arguments are understood."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from diet_tf.cli.terminal import progress, without_native_chatter
from diet_tf.errors import DataError, DietError, add_note
from diet_tf.io import files
from diet_tf.log.settings import AUTO_SPAN
from diet_tf.printable import printable
from pipelines.arguments import DEMO_OUTPUT, demo_parser, look_for_user_modules, report_parser, run_parser
from pipelines.spans import SpanPlan, parse_first, parse_request, plan_spans, resume_command, spans_after

if TYPE_CHECKING:
  from diet_tf.config.config import Config
  from diet_tf.fidelity.result import FidelityResult
  from diet_tf.store.store import Store
  from pipelines.workspace import SpanRecord, Workspace

# At most this many paths are named in a line.
_MAX_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Options:
  """What a command was asked for, beside its config.

  Attributes:
    store_uri: root of the store; None for the one in the output folder.
    runner: name of the TFX runner, "beam" or "local" (`pipelines.local.RUNNERS`).
    span: which spans are run, as `pipelines.spans.plan_spans` takes it: None for all that are not committed.
    first_span: number of the earliest span to run where `span` is None; None sets no bound.
    replace: whether committed spans are run again.
    accept_changes: whether the config may differ from that of the store's newest commit.
    evaluate: whether the panel is trained at the end.
    json_path: where the machine-readable results are written as well; None for nowhere.
    beam_pipeline_args: options of Beam for the components that run on it.
    command: the command line that was given, quoted for a shell; the report shows it.
    resumed_by: the command line that goes on with what this one began; empty where it is `command` itself.
    simulated: whether the log is the demo's, whose best possible AUC is known.
  """

  store_uri: str | None = None
  runner: str = "beam"
  span: int | str | None = None
  first_span: int | None = None
  replace: bool = False
  accept_changes: bool = False
  evaluate: bool = True
  json_path: str | None = None
  beam_pipeline_args: tuple[str, ...] = ()
  command: str = ""
  resumed_by: str = ""
  simulated: bool = False


def run(arguments: Sequence[str]) -> int:
  """`diet run`: distils the spans of a log; returns the exit code."""
  return _run_command(run_parser().parse_args(arguments), _command("run", arguments))


@without_native_chatter()
def _run_command(options: argparse.Namespace, command: str) -> int:
  config = _loaded(options, seed=options.seed, output=options.output)
  span, first_span = parse_request(options.span), parse_first(options.from_span)
  evaluate = (span is None or options.json is not None) if options.evaluate is None else options.evaluate
  return _run(config, options.data_dir, Options(
      store_uri=options.store, runner=options.runner, span=span, first_span=first_span, replace=options.replace,
      accept_changes=options.accept_changes, evaluate=evaluate, json_path=options.json,
      beam_pipeline_args=tuple(options.beam_arg), command=command))


def _loaded(options: argparse.Namespace, **given: object) -> Config:
  """The config of a command, whose classes can be imported.

  Args:
    options: arguments of the command.
    **given: values of other options than --set, which are what they are rather than YAML; None keeps the config's.
  """
  from diet_tf.config.config import load_config
  from diet_tf.config.yaml_file import parse_overrides

  overrides = {**parse_overrides(options.set), **{key: value for key, value in given.items() if value is not None}}
  config = load_config(options.config, overrides, user_code=options.user_code)
  look_for_user_modules(itertools.chain(*config.members().values()))
  return config


def report(arguments: Sequence[str]) -> int:
  """`diet report`: judges the newest memory and writes the report; returns the exit code."""
  return _report_command(report_parser().parse_args(arguments), _command("report", arguments))


@without_native_chatter()
def _report_command(options: argparse.Namespace, command: str) -> int:
  config = _loaded(options, output=options.output)
  wanted = Options(store_uri=options.store, json_path=options.json, beam_pipeline_args=tuple(options.beam_arg),
                   command=command)
  job = _opened(config, options.data_dir, wanted, distils=False)
  _check_memory_to_judge(job)
  _check_results_wanted(wanted, job.available, job.store.spans())
  _say_what_the_panel_cannot_tell(config)
  with _saying_how_to_go_on(lambda: command):
    result = _evaluate(job, wanted)
  if result is not None:
    _show(result, job.workspace)
  return 0


def _check_memory_to_judge(job: Job) -> None:
  committed = job.store.spans()
  if not committed:
    raise DataError(job.store.uri, rule="a report is of the newest memory of a store.",
                    received="a store without commits.", remedy="pass --store URI, or distil a span with diet run.")
  if not job.test_spans():
    raise DataError(job.config.log.pattern, rule="a memory is judged on spans after the last one that it has "
                    "seen.", received=f"a memory up to span {committed[-1]}, and a log up to span "
                    f"{max(job.available)}.",
                    remedy="wait for the next span, or name a log that has it (--config, --data-dir).")


def demo(arguments: Sequence[str]) -> int:
  """`diet demo`: the same on a simulated log that it writes first; returns the exit code."""
  return _demo_command(demo_parser().parse_args(arguments), _command("demo", arguments))


@without_native_chatter()
def _demo_command(options: argparse.Namespace, command: str) -> int:
  output = options.output or DEMO_OUTPUT
  _say("Starting TensorFlow and TFX.")
  from pipelines import demo as demo_module

  config = demo_module.demo_config(output, options.set)
  with _saying_how_to_go_on(lambda: command), progress() as shown:
    demo_module.prepare(output, progress=shown)
  return _run(config, output, Options(
      runner=options.runner, json_path=options.json, beam_pipeline_args=tuple(options.beam_arg), simulated=True,
      command=command, resumed_by=demo_module.resume_command(
          output, options.set, runner=options.runner, json_path=options.json, beam_arguments=options.beam_arg)))


def _command(name: str, arguments: Sequence[str]) -> str:
  return shlex.join(["diet", name, *arguments])


@dataclasses.dataclass(frozen=True)
class Job:
  """What a command works on.

  Attributes:
    config: the config of the run, whose paths can be opened from the current folder.
    workspace: the folder that everything but the store is written to.
    store: the store of the memories.
    available: numbers of the log's spans, ascending, at least one.
  """

  config: Config
  workspace: Workspace
  store: Store
  available: tuple[int, ...]

  def test_spans(self) -> tuple[int, ...]:
    """Numbers of the spans that the newest memory is judged on; empty if the log has none after it."""
    return spans_after(self.available, self.store.spans(), test_spans=self.config.test_spans)


def _opened(config: Config, data_dir: str, options: Options, *, distils: bool) -> Job:
  """The store, the workspace and the log of a config, all that can be known before the log is read being checked."""
  if not options.simulated:
    _say("Starting TensorFlow and TFX.")
  from diet_tf.store.store import Store
  from pipelines.data_folder import with_data_dir
  from pipelines.early_checks import check_run
  from pipelines.workspace import Workspace
  from tfx_components.log_gen import available_spans

  workspace = Workspace(_absolute(config.output))
  config = with_data_dir(config, data_dir)
  store = Store(_absolute(options.store_uri) if options.store_uri else workspace.store_uri)
  for note in check_run(config, workspace, store if distils else None, json_path=options.json_path,
                        evaluates=options.evaluate):
    _say(note)
  available = available_spans(config.log)
  if not available:
    raise DataError(config.log.pattern, rule="it matches the files of at least one span.", received="none.",
                    remedy="check log.pattern of the config, and --data-dir.")
  _say_what_is_of_no_span(config.log.pattern)
  return Job(config, workspace, store, tuple(available))


def _say_what_is_of_no_span(pattern: str) -> None:
  from diet_tf.log.span_patterns import has_span, paths_without_span

  left_out = paths_without_span(pattern) if has_span(pattern) else []
  if left_out:
    _say(f"Left out, since a partition without a value is of no span: {', '.join(left_out[:_MAX_NAMED])}"
         f"{' ...' if len(left_out) > _MAX_NAMED else ''} ({len(left_out):,} in all).")


def _run(config: Config, data_dir: str, options: Options) -> int:
  job = _opened(config, data_dir, options, distils=True)
  store = job.store
  plan = plan_spans(job.available, store.known_spans(), test_spans=config.test_spans, request=options.span,
                    replace=options.replace, first=options.first_span)
  for note in (*plan.notes, *_of_other_settings(job, plan, options)):
    _say(note)
  _check_results_wanted(options, job.available, [*store.spans(), *plan.spans])
  if options.evaluate:
    _say_what_the_panel_cannot_tell(config)
  # The data of the span's commit before it is run; a run is also cut between a commit and the end of its pipeline.
  before: dict[int, str | None] = {}
  ended: list[int] = []

  def command() -> str:
    done = [*ended, *(span for span in before if span not in ended and _committed_data(store, span) != before[span])]
    return resume_command(shlex.split(options.resumed_by or options.command), plan.spans, done, request=options.span,
                          replace=options.replace)

  with _saying_how_to_go_on(command):
    for number, span in enumerate(plan.spans, 1):
      _say(f"Span {span} ({number} of {len(plan.spans)})")
      before[span] = _committed_data(store, span)
      _distil(job, span, options)
      ended.append(span)
    result = _evaluate(job, options) if options.evaluate else None
  if result is not None:
    _show(result, job.workspace)
  return 0


def _of_other_settings(job: Job, plan: SpanPlan, options: Options) -> list[str]:
  from pipelines.early_checks import committed_otherwise

  # Of what is run, MemoryLoader asks what it grows from.
  skipped = [span for span in job.store.spans() if options.span in (None, AUTO_SPAN, span)]
  return [] if plan.spans else committed_otherwise(job.config, job.store, skipped)


@contextlib.contextmanager
def _saying_how_to_go_on(command: Callable[[], str]) -> Iterator[None]:
  """Adds to an error, or to what cuts the block, the command that goes on from there."""
  try:
    yield
  except (Exception, KeyboardInterrupt) as error:
    add_note(error, f"To go on: {command()}")
    raise


def _committed_data(store: Store, span: int) -> str | None:
  """The digest of what is committed of a span; None if nothing is, or nothing that can be read."""
  try:
    return store.read(span).data
  except (DietError, OSError):
    return None


def _absolute(path: str) -> str:
  """The absolute path, since what records it is read from other folders too; a URI stays as it is."""
  return path if files.is_remote(path) else os.path.abspath(path)


def _check_results_wanted(options: Options, available: Sequence[int], committed: Sequence[int]) -> None:
  """Refuses results that cannot be had before hours are spent."""
  if options.json_path is None:
    return
  if not committed or max(available, default=-1) <= max(committed):
    raise DataError("--json", rule="results are figures on a span later than those that are distilled.",
                    received=f"newest span distilled: {max(committed, default=None)}, newest of the log: "
                    f"{max(available, default=None)}.", remedy="set test_spans to 1 or more, or leave out --json.")


def _distil(job: Job, span: int, options: Options) -> None:
  # The first span of a command waits for TFX: what starting up takes is part of what the memory costs.
  started = time.monotonic()
  from pipelines.local import run_span
  from pipelines.retention import apply_retention
  from tfx_components.progress import shown_by

  with progress() as shown, shown_by(shown):
    record = run_span(job.config, span, job.workspace, store_uri=job.store.uri, runner=options.runner,
                      replace=options.replace, accept_changes=options.accept_changes,
                      beam_pipeline_args=options.beam_pipeline_args, started=started)
  _say(_outcome(record))
  removed = apply_retention(job.config.retention, job.workspace, job.store)
  if removed.num_bytes:
    _say(f"By retention of the config: {removed.num_commits:,} old commits and {removed.num_folders:,} folders of "
         f"artifacts are removed, {removed.num_bytes:,} bytes.")


def _outcome(record: SpanRecord) -> str:
  from pipelines.evaluation import read_stage_record

  text = f"Span {record.span} committed after {record.seconds:.0f} s"
  known = read_stage_record(record)
  if known is None:
    return f"{text}."
  stage, rows = known.summary, known.rows
  actions = ", ".join(f"{name} {count:,}" for name, count in stage.actions.items())
  chosen = (stage.verdict or {}).get("chosen")
  judged = f"; the gate chose the {chosen} memory" if chosen else ""
  if stage.light is not None:
    judged = f"; a light stage without refinement: {stage.light.removesuffix('.')}"
  counted = "" if rows is None else "\nWarning: ".join([f" {rows.sentence()}", *rows.remarks])
  return f"{text}: {stage.num_slots:,} slots for {stage.num_examples:,} new examples ({actions}){judged}.{counted}"


def _evaluate(job: Job, options: Options) -> FidelityResult | None:
  from pipelines.evaluation import Evaluation
  from pipelines.runs import living_run

  test_spans = job.test_spans()
  if not test_spans:
    _say("No span is later than those of the memory: there is nothing to test it on yet.")
    return None
  bayes_auc = None
  if options.simulated:
    from pipelines.demo import bayes_auc as known_auc

    bayes_auc = known_auc(test_spans)
  _say(f"Evaluation on span {', '.join(map(str, test_spans))}")
  start = time.monotonic()
  # Meanwhile no neighbour removes the artifacts that are read.
  with progress() as shown, living_run(job.workspace, f"evaluation-{uuid.uuid4().hex}"):
    evaluation = Evaluation(job.config, job.workspace, job.store, options.beam_pipeline_args, shown)
    result = evaluation.run(test_spans, bayes_auc=bayes_auc, commands=[options.command])
  _say(f"Evaluated in {time.monotonic() - start:.0f} s.")
  if options.json_path is not None:
    with files.writing(options.json_path):
      files.make_folders(files.parent(options.json_path))
      files.write_atomically(options.json_path, result.to_json().encode())
  return result


def _say_what_the_panel_cannot_tell(config: Config) -> None:
  from diet_tf.fidelity.verdict import shortcomings

  for shortcoming in shortcomings(len(config.panel.members), len(config.panel.seeds)):
    _say(shortcoming)


def _show(result: FidelityResult, workspace: Workspace) -> None:
  print(f"\n{printable(result.table())}\n")
  print(f"Memory (TFRecords, manifest): {result.memory_uri}")
  print(f"Report:                       {result.report_uri}")
  print(f"Results:                      {workspace.results_path}", flush=True)


def _say(text: str) -> None:
  """A line about what is going on, beside the progress: on standard error, so that results can be redirected."""
  print(printable(text), file=sys.stderr, flush=True)
