"""The command `diet store`."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import pytest

from diet_tf.cli import main as cli
from diet_tf.errors import ConfigError, FormatError, StoreError
from diet_tf.io import files
from diet_tf.store.garbage import collect_garbage
from diet_tf.store.verification import check_store
from tests.diet_tf.small_store import SmallStore


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv("COLUMNS", "200")
  # What the command silences for good is the other tests' business.
  monkeypatch.setattr("diet_tf.cli.terminal.quiet_third_parties", lambda: None)


@pytest.fixture
def small(tmp_path: pathlib.Path) -> SmallStore:
  (tmp_path / "memories").mkdir()
  made = SmallStore(str(tmp_path / "store"), tmp_path / "memories", range(1, 4))
  made.commit(3, num_slots=1234, replace=True, run_id="nightly \x1b[31m[bold]run")
  return made


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
  assert cli.main(["store", *arguments]) == 0
  return capsys.readouterr().out


def test_verify_counts_what_it_checked(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  assert "4 commits, 8 files, " in printed(capsys, "verify", small.store.uri)
  value = json.loads(printed(capsys, "verify", small.store.uri, "--json"))
  assert (value["num_commits"], value["num_files"], value["problems"]) == (4, 8, [])


def test_verify_of_a_broken_store_names_it_and_fails(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  path = small.store.path(small.store.read(2), "memory/manifest.json")
  files.write_atomically(path, b"{}")
  assert cli.main(["store", "verify", small.store.uri]) == FormatError.exit_code
  captured = capsys.readouterr()
  assert captured.out == "" and path in captured.err
  assert cli.main(["store", "verify", small.store.uri, "--json"]) == FormatError.exit_code
  problems = json.loads(capsys.readouterr().out)["problems"]
  assert any(path in problem for problem in problems) and all(problem.startswith("span 2") for problem in problems)


def test_log_lists_the_newest_first(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  text = printed(capsys, "log", small.store.uri)
  lines = text.splitlines()
  assert lines[0].split() == ["span", "parent", "created", "slots", "refined", "data", "run", "bytes",
                              "pinned"]
  assert [line.split()[0] for line in lines[1:]] == ["3", "3", "2", "1"]
  newest = small.store.read(3)
  for part in (newest.data[:12], "1,234", f"{newest.num_bytes:,}", newest.created, "nightly \\x1b[31m[bold]run"):
    assert part in lines[1]
  assert "(replaced)" in lines[2] and "(replaced)" not in lines[1]
  assert "\x1b" not in text


def test_log_as_json(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  collect_garbage(small.store, 2)
  value = json.loads(printed(capsys, "log", small.store.uri, "--json"))
  commits = value["commits"]
  keys = ("span", "parent", "parent_removed", "replaced", "num_slots")
  assert [tuple(one[key] for key in keys) for one in commits] == [(3, 2, False, False, 1234), (2, 1, True, False, 2)]
  assert commits[0]["data"] == small.store.read(3).data and commits[0]["num_bytes"] == small.store.read(3).num_bytes
  assert "1 (removed)" in printed(capsys, "log", small.store.uri)


def test_log_tells_a_revision_from_what_was_replaced(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  before = small.store.read(3)
  revision = small.revise()
  lines = printed(capsys, "log", small.store.uri).splitlines()
  assert [re.split(r"\t|  ", line)[0] for line in lines[1:4]] == ["3 (revision)", "3 (revised)", "3 (replaced)"]
  commits = json.loads(printed(capsys, "log", small.store.uri, "--json"))["commits"]
  assert [(one["replaced"], one["revised"], one["revises"]) for one in commits[:3]] == [
      (False, False, before.data), (True, True, None), (True, False, None)]
  assert commits[0]["data"] == revision.data and commits[0]["refined_span"] == 3


def test_log_of_a_damaged_memory_leaves_its_slots_out(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  files.write_atomically(small.store.path(small.store.read(1), "memory/manifest.json"), b"{}")
  value = json.loads(printed(capsys, "log", small.store.uri, "--json"))
  assert [one["num_slots"] for one in value["commits"]] == [1234, 2, 2, None]


def test_gc_removes_what_its_dry_run_tells(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  root = pathlib.Path(small.store.uri)
  before = {path for path in root.rglob("*") if path.is_file()}
  told = json.loads(printed(capsys, "gc", small.store.uri, "--keep", "1", "--dry-run", "--json"))
  text = printed(capsys, "gc", small.store.uri, "--keep", "1", "--dry-run")
  assert f"3 commits, 3 data folders and 0 leftovers, {told['num_bytes']:,} bytes would go; 1 commits stay." in text
  assert {path for path in root.rglob("*") if path.is_file()} == before
  text = printed(capsys, "gc", small.store.uri, "--keep", "1")
  gone = {path for path in before if not path.exists()}
  assert sum(1 for path in gone if path.parent.name == "commits") == 3
  for path in told["commits"] + told["data"]:
    assert f"removed {path}\n" in text and not pathlib.Path(path).exists()
  assert small.store.spans() == [3]
  check_store(small.store).require_sound()


@pytest.mark.parametrize("keep", ["0", "-3"])
def test_gc_that_keeps_nothing_is_refused(small: SmallStore, capsys: pytest.CaptureFixture[str], keep: str):
  assert cli.main(["store", "gc", small.store.uri, f"--keep={keep}"]) == ConfigError.exit_code
  assert "at least 1 commit" in capsys.readouterr().err
  assert small.store.spans() == [1, 2, 3]


@pytest.mark.parametrize("action", [["verify"], ["log"], ["gc", "--keep", "1"], ["gc", "--keep", "1", "--dry-run"]])
def test_store_that_is_none_is_a_clear_error(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str],
                                             action: list[str]):
  for uri in (tmp_path, tmp_path / "none"):
    assert cli.main(["store", action[0], str(uri), *action[1:]]) == StoreError.exit_code
    assert "at least one commit" in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", [["verify"], ["log"], ["gc", "--keep", "1"]])
def test_nothing_slow_is_imported(small: SmallStore, action: list[str]):
  code = ("import sys\nfrom diet_tf.cli import main as cli\ncode = cli.main(sys.argv[1:])\n"
          "slow = {'tensorflow', 'tfx', 'numpy', 'jinja2'} & set(sys.modules)\nassert not slow, slow\nsys.exit(code)")
  subprocess.run([sys.executable, "-c", code, "store", action[0], small.store.uri, *action[1:]], check=True, timeout=60)


def test_a_pin_is_shown_with_its_note_until_it_is_removed(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  uri, data = small.store.uri, small.store.read(1).data
  said = printed(capsys, "pin", uri, "1", "--note", "model \x1b[31mv12 [bold] in production")
  assert f"Span 1 ({data[:12]}) is pinned" in said and "model \\x1b[31mv12 [bold] in production" in said
  assert [line.split("\t")[-1] for line in printed(capsys, "log", uri).splitlines()] == [
      "pinned", "-", "-", "-", "model \\x1b[31mv12 [bold] in production"]
  assert [one["pinned"] for one in json.loads(printed(capsys, "log", uri, "--json"))["commits"]] == [
      None, None, None, "model \x1b[31mv12 [bold] in production"]
  assert "2 commits stay, 1 of them pinned." in printed(capsys, "gc", uri, "--keep", "1")
  assert [line.split("\t")[0] for line in printed(capsys, "log", uri).splitlines()[1:]] == ["3", "1"]
  shown = json.loads(printed(capsys, "unpin", uri, "1", "--json"))
  assert shown["removed"] and [pin["data"] for pin in shown["pins"]] == [data]
  assert json.loads(printed(capsys, "gc", uri, "--keep", "1", "--json"))["kept"] == [3]


def test_a_replaced_commit_is_pinned_by_what_the_log_shows(small: SmallStore, capsys: pytest.CaptureFixture[str]):
  replaced = next(one["data"] for one in json.loads(printed(capsys, "log", small.store.uri, "--json"))["commits"]
                  if one["replaced"])
  printed(capsys, "pin", small.store.uri, "3", "--data", replaced[:12])
  rows = [line.split("\t") for line in printed(capsys, "log", small.store.uri).splitlines()]
  assert [(row[0], row[-1]) for row in rows[1:3]] == [("3", "-"), ("3 (replaced)", "yes")]
  assert cli.main(["store", "unpin", small.store.uri, "2"]) == StoreError.exit_code
