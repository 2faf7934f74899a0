"""Several runs in one output folder: what each finds of its own, and what is cleared of those that were killed."""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from diet_tf.config.config import load_config
from diet_tf.errors import FormatError
from diet_tf.io import files
from pipelines import local, runs
from pipelines.data_folder import with_data_dir
from pipelines.evaluation import Evaluation, read_stage_record
from pipelines.run_metadata import RunMetadata
from pipelines.workspace import SpanRecord, Workspace
from tests.diet_tf.small_report import make_result, make_stages
from tests.pipelines.output_folder import COMPLETE, FAILED, RUNNING, OutputFolder


@pytest.fixture
def site(tmp_path) -> OutputFolder:
  return OutputFolder(tmp_path / "out [old] #3")


def killed(workspace: Workspace, run_id: str) -> None:
  """Lets a process of its own begin a run, and kills it."""
  script = ("import sys, time\nfrom pipelines import runs\nfrom pipelines.workspace import Workspace\n"
            "with runs.living_run(Workspace(sys.argv[1]), sys.argv[2]):\n"
            "  print('ready', flush=True)\n  time.sleep(99)")
  with subprocess.Popen([sys.executable, "-c", script, workspace.output, run_id], stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL) as process:
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)


def test_what_a_killed_run_left_is_cleared_by_the_next_and_nothing_else(site: OutputFolder):
  ours = site.execute("finished", "LogGen")
  dead = site.execute("dead", "LogGen", RUNNING)
  alive = site.execute("alive", "LogGen", RUNNING)
  killed(site.workspace, "dead")
  assert site.state(dead) == RUNNING and site.are_there("LogGen", dead)
  with runs.living_run(site.workspace, "alive"):
    assert runs.living_runs(site.workspace) == {"alive"}
    # Cleared as the run began.
    assert site.state(dead) == FAILED and not site.are_there("LogGen", dead)
    # A neighbour that comes and goes touches neither the living run nor what has ended.
    with runs.living_run(site.workspace, "neighbour"):
      assert runs.living_runs(site.workspace) == {"alive", "neighbour"}
    assert runs.living_runs(site.workspace) == {"alive"}
    assert site.state(alive) == RUNNING and site.are_there("LogGen", alive)
    assert site.state(ours) == COMPLETE and site.are_there("LogGen", ours)
  assert files.names_in(site.workspace.runs_folder) == [".lock"]


@pytest.mark.parametrize("cause", [ValueError("no"), KeyboardInterrupt()])
def test_a_run_that_ends_early_clears_what_it_left(site: OutputFolder, cause: BaseException):
  with pytest.raises(type(cause)), runs.living_run(site.workspace, "cut"):
    number = site.execute("cut", "LogGen", RUNNING)
    raise cause
  assert site.state(number) == FAILED and not site.are_there("LogGen", number)
  assert runs.living_runs(site.workspace) == set()


def test_runs_of_earlier_releases_are_dead_once_nothing_was_heard_of_them_for_a_day(site: OutputFolder, monkeypatch):
  number = site.execute("of an earlier release", "LogGen", RUNNING)
  with runs.living_run(site.workspace, "one"):
    assert site.state(number) == RUNNING
  now = time.time()
  monkeypatch.setattr(time, "time", lambda: now + runs.GRACE_SECONDS + 5)
  with runs.living_run(site.workspace, "two"):
    assert site.state(number) == FAILED and not site.are_there("LogGen", number)


def test_working_folders_go_only_while_nobody_is_alive(site: OutputFolder):
  folder = site.folder / "pipeline" / "LogGen" / ".system" / "stateful_working_dir" / "some-name"
  folder.mkdir(parents=True)
  killed(site.workspace, "dead")
  with runs.living_run(site.workspace, "one"):
    assert not folder.exists()
    folder.mkdir()
    with runs.living_run(site.workspace, "two"):
      assert folder.exists()


def test_half_written_files_and_encodings_of_dead_processes_go(site: OutputFolder):
  examples = site.folder / "examples" / "5"
  for name in ("half", "being-written", "whole"):
    (examples / name).mkdir(parents=True)
    (examples / f"{name}.lock").touch()
  (examples / "whole" / "log_summary.json").write_text("{}")
  for path in (site.folder / "results.json.a1.partial", site.folder / "results.json.b2.partial"):
    path.write_text("{")
  os.utime(site.folder / "results.json.a1.partial", (0, 0))
  lock = runs.lock_file(str(examples / "being-written.lock"), wait=False)
  with runs.living_run(site.workspace, "one"):
    assert sorted(path.name for path in examples.iterdir() if path.is_dir()) == ["being-written", "whole"]
    assert [path.name for path in site.folder.glob("*.partial")] == ["results.json.b2.partial"]
  os.close(lock)


def test_a_file_system_without_locks_takes_nobody_for_dead(site: OutputFolder, monkeypatch):
  number = site.execute("dead", "LogGen", RUNNING)
  killed(site.workspace, "dead")
  monkeypatch.setattr(runs, "lock_file", lambda *arguments, **options: None)
  with runs.living_run(site.workspace, "one"):
    assert site.state(number) == RUNNING and site.are_there("LogGen", number)


def test_a_run_is_asked_for_its_own_outputs_whatever_is_newest(site: OutputFolder):
  site.execute("first", "LogGen", outputs=("Examples", "Schema"))
  site.execute("second", "LogGen", outputs=("Examples",))
  site.execute("first", "SchemaGen", outputs=("Other",))
  metadata = RunMetadata(site.workspace.metadata_path)
  for run_id in ("first", "second"):
    assert metadata.output_uri(run_id, "Examples").endswith(f"LogGen/{run_id}/Examples")
  for run_id, kind in (("third", "Examples"), ("second", "Schema")):
    with pytest.raises(FormatError, match=f"{run_id} has made one artifact of the type {kind}"):
      metadata.output_uri(run_id, kind)


def test_neighbouring_runs_remember_their_own_examples(site: OutputFolder, tiny_log, monkeypatch):
  config = with_data_dir(load_config(tiny_log.config_path), str(tiny_log.folder))

  def run(span: int) -> None:
    local.run_span(config, span, site.workspace, store_uri=site.workspace.store_uri)

  def pipeline(pipeline, runner, *, run_id):
    span = int(run_id.split("-")[1])
    if span == 2:
      site.execute(run_id, "LogGen", outputs=("Examples",))
    if span < 3:
      run(span + 1)  # A neighbour begins and ends while this run is at work.
    if span != 2:
      site.execute(run_id, "LogGen", outputs=("Examples",))
    site.execute(run_id, "FidelityEvaluator", outputs=("tfx_components.FidelityReport",))

  monkeypatch.setattr(local, "run_pipeline", pipeline)
  run(1)
  records = [site.workspace.read_record(span) for span in (1, 2, 3)]
  assert len({record.run_id for record in records}) == 3
  for record in records:
    assert record.run_id in record.examples and record.run_id in record.verdict
    assert record.run_id.startswith(f"tiny-{record.span}-")


def test_results_are_known_again_by_their_digest(tmp_path):
  workspace = Workspace(str(tmp_path))
  evaluation = Evaluation(None, workspace, None)
  ours, theirs = (make_result().replace(spans=(span,)).to_json().encode() for span in (1, 2))
  key = tmp_path / "results.key"
  for content, known, expected in (
      (ours, f"key {hashlib.sha256(ours).hexdigest()}", (1,)),
      # A neighbour has written its results between ours and our key.
      (theirs, f"key {hashlib.sha256(ours).hexdigest()}", None),
      (ours, f"other {hashlib.sha256(ours).hexdigest()}", None),
      # As an earlier release wrote it.
      (ours, "key", (1,)), (ours, "", None), (b"{}", "key", None)):
    pathlib.Path(workspace.results_path).write_bytes(content)
    key.write_text(f"{known}\n")
    found = evaluation._known_result("key")
    assert (None if found is None else found.spans) == expected


def test_a_stage_of_another_span_is_not_taken_for_this_one_s(tmp_path):
  stage = make_stages()[2]
  stage.write(str(tmp_path / "stage.json"))
  span = stage.summary.span
  for remembered, expected in ((span, span), (span + 1, None)):
    found = read_stage_record(SpanRecord(remembered, "run", "digest", "examples", str(tmp_path), 1.0))
    assert (None if found is None else found.summary.span) == expected
