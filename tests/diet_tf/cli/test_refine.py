"""`diet refine`: a revision of the newest commit, from what the commit has alone."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import yaml

from diet_tf.cli import main as cli
from diet_tf.cli import refine as refine_module
from diet_tf.errors import ConfigError, StoreError
from diet_tf.memory.memory import save_memory
from diet_tf.store.commit import Commit
from diet_tf.store.locks import refining_lock
from diet_tf.store.memories import load_memory
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.diet_tf.small_draft import SETTINGS, draft
from tests.diet_tf.small_log import SPEC

STEPS = ("--set", "distill.outer_steps=4")


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
  """A store with one commit, as MemoryCommitter leaves it."""
  commit_draft(tmp_path)
  return Store(str(tmp_path / "store"))


def commit_draft(folder: pathlib.Path, *, carries: bool = True) -> Commit:
  outcome, teacher = draft()
  parts = {name: str(folder / "parts" / name) for name in ("memory", "teacher", "carried")}
  save_memory(parts["memory"], outcome.memory)
  teacher.save(parts["teacher"])
  outcome.carried.write(parts["carried"], SPEC)
  if not carries:
    del parts["carried"]
  settings = {**json.loads(SETTINGS.to_json()), "feature_spec": SPEC.to_dict(), "seed": 3}
  return Store(str(folder / "store")).commit(1, parts, parent=None, settings=settings, run_id="run-1")


def refined(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
  assert cli.main(["refine", *arguments, "--json"]) == 0
  return json.loads(capsys.readouterr().out)


def test_the_newest_memory_is_refined_and_committed_as_a_revision(store: Store, capsys):
  before = store.newest()
  told = refined(capsys, "--store", store.uri, *STEPS)
  after = store.newest()
  assert (told["span"], told["revised"], told["data"], told["outer_steps"]) == (1, before.data, after.data, 4)
  assert told["verdict"]["chosen"] == "refined"  # Not worse than the memory before by more than noise.
  assert after.revises == before.data and after.settings["revision"]["distill"]["outer_steps"] == 4
  # All but the memory is what it was, and the next span compares its config with what the span was made with.
  assert {path: info for path, info in after.files.items() if not path.startswith("memory/")} == {
      path: info for path, info in before.files.items() if not path.startswith("memory/")}
  assert after.settings["distill"] == before.settings["distill"]
  old, new = load_memory(store.uri, span=1, data=before.data), load_memory(store.uri)
  assert old.manifest.refinement().span is None and new.manifest.refinement().span == 1
  assert (old.slots.labels != new.slots.labels).any()
  check_store(store).require_sound()
  # The same from the same; and once more from the revision.
  again = Store(f"{store.uri}-again")
  commit_draft(pathlib.Path(again.uri).parent / "again")
  again = Store(str(pathlib.Path(store.uri).parent / "again" / "store"))
  assert refined(capsys, "--store", again.uri, *STEPS)["data"] == after.data
  assert refined(capsys, "--store", store.uri, *STEPS)["revised"] == after.data


def test_the_effort_is_that_of_the_command_the_config_or_the_commit(store: Store, tmp_path: pathlib.Path, monkeypatch):
  asked = []
  monkeypatch.setattr(refine_module, "refine_newest",
                      lambda store, newest, stage, *rest: asked.append(stage) or (_ for _ in ()).throw(StoreError(
                          "stop", rule="stop", received="stop", remedy="stop")))
  config = tmp_path / "config.yaml"
  config.write_text(yaml.safe_dump({
      "name": "x", "log": {"pattern": "{SPAN}.csv"}, "output": str(tmp_path), "teacher": {"members": ["lr"]},
      "features": {"label": "click", "fields": [{"name": "user", "hash": 9}]},
      "distill": {"outer_steps": 33, "proxies": ["fm"]}}))
  for arguments in (("--store", store.uri), ("--store", store.uri, "--effort", "fidelity"),
                    ("--config", str(config)), ("--config", str(config), "--effort", "fidelity"),
                    ("--config", str(config), "--effort", "fidelity", *STEPS)):
    assert cli.main(["refine", *arguments]) == StoreError.exit_code
  assert [stage.settings.distill.by_effort.outer_steps for stage in asked] == [0, 200, 33, 200, 4]
  assert [stage.settings.distill.proxies[0] for stage in asked] == ["lr", "lr", "fm", "fm", "fm"]
  # All else is the commit's.
  assert {stage.settings.teacher for stage in asked} == {SETTINGS.teacher} and asked[0].spec == SPEC
  assert {(stage.seed, stage.span) for stage in asked} == {(3, 1)}


def test_what_is_worse_is_not_committed(store: Store, capsys, monkeypatch):
  from diet_tf.distillation import revision
  from diet_tf.distillation.gate import Verdict

  worse = Verdict("start", {"refined": 0.7, "start": 0.6}, {"start": 0.1}, {"start": 0.01})
  monkeypatch.setattr(revision, "judge", lambda *args, **kwargs: worse)
  before = store.newest()
  assert cli.main(["refine", "--store", store.uri, *STEPS]) == 0
  out = capsys.readouterr().out
  assert "the memory before is better beyond noise, and stays" in out and "0.60000 before, 0.70000 after" in out
  assert store.newest() == before and len(store.names()) == 1


def test_a_refinement_that_is_cut_leaves_no_trace(store: Store, monkeypatch):
  from diet_tf.distillation import revision

  def cut(*args, **kwargs):
    raise KeyboardInterrupt

  before = {path: path.read_bytes() for path in pathlib.Path(store.uri).rglob("*") if path.is_file()}
  monkeypatch.setattr(revision, "judge", cut)
  assert cli.main(["refine", "--store", store.uri, *STEPS]) == cli.EXIT_INTERRUPTED
  left = {path: path.read_bytes() for path in pathlib.Path(store.uri).rglob("*") if path.is_file()}
  assert {path.name for path in set(left) - set(before)} <= {".refining"}
  assert all(left[path] == content for path, content in before.items())


def test_two_at_once_are_refused(store: Store, capsys):
  with refining_lock(store.paths):
    assert cli.main(["refine", "--store", store.uri, *STEPS]) == StoreError.exit_code
  assert "one process at a time refines" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "code", "said"), [
    ((), ConfigError.exit_code, "pass --store URI, or --config FILE"),
    (("--set", "gate.z=2"), ConfigError.exit_code, "takes settings of the section distill"),
    (("--set", "distill.outer_step=2"), ConfigError.exit_code, "did you mean 'outer_steps'"),
    (("--set", "distill.outer_steps=0"), ConfigError.exit_code, "at least one outer step"),
    (("--set", "distill.proxies=[evil:Class]"), ConfigError.exit_code, "families of the panel")])
def test_what_cannot_be_done_is_refused(store: Store, arguments, code, said, capsys):
  given = ("--store", store.uri, *arguments) if arguments else ()
  assert cli.main(["refine", *given]) == code
  assert said in " ".join(capsys.readouterr().err.split())
  assert len(store.names()) == 1


def test_a_commit_without_carried_rows_is_refined_with_its_next_span(tmp_path: pathlib.Path, capsys):
  commit_draft(tmp_path, carries=False)
  assert cli.main(["refine", "--store", str(tmp_path / "store"), *STEPS]) == StoreError.exit_code
  assert "run the next span" in capsys.readouterr().err


def test_a_damaged_commit_is_not_refined(store: Store, capsys):
  path = pathlib.Path(store.path(store.newest(), "carried/rows.npz"))
  path.write_bytes(path.read_bytes()[:-1])
  assert cli.main(["refine", "--store", store.uri, *STEPS]) == 4
  assert str(path) in capsys.readouterr().err and np.all(store.spans() == [1])
