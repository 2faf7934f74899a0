from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from diet_tf.cli import main as cli
from diet_tf.errors import ConfigError, DataError, DietError, add_note
from diet_tf.io.record_frames import ShardInfo
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.salt import Salt
from diet_tf.memory.manifest import Manifest, read_manifest, write_manifest
from diet_tf.memory.recipe import Recipe
from diet_tf.store.store import Store

SPEC = FeatureSpec((Field("user", "user", hash_ids=100), Field("[bold]tab", "tab", vocabulary_ids=9)), Label("click"))

# The command line reads the manifest alone, so that any bytes will do for a shard.
SHARD = bytes(1234)
SHARD_DIGEST = hashlib.sha256(SHARD).hexdigest()


@pytest.fixture
def memory(tmp_path: pathlib.Path) -> pathlib.Path:
  folder = tmp_path / "memory"
  folder.mkdir()
  (folder / "slots-0.gz").write_bytes(SHARD)
  write_manifest(str(folder), Manifest(
      feature_spec=SPEC.to_dict(), feature_spec_digest=SPEC.digest(), span=3, num_slots=20, num_examples_seen=2000,
      max_ids={"user": 8, "[bold]tab": 4}, budget={"fraction": 0.01}, recipe=Recipe(step_multipliers=(1.0, 0.5)),
      lineage=({"span": 2, "digest": "d" * 64},), shards=(ShardInfo("slots-0.gz", SHARD_DIGEST, 1234, 5678, 20),),
      settings_digest="e" * 64, versions={"diet-tf": "0.1.0"}))
  return folder


@pytest.fixture(autouse=True)
def _leave_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
  # What the command silences for good is the other tests' business.
  monkeypatch.setattr("diet_tf.cli.terminal.quiet_third_parties", lambda: None)


class Point:
  """Stands for an entry point."""

  def __init__(self, name: str, load: Callable[[], cli.Command]) -> None:
    self.name, self.load = name, load


def _plug_in(monkeypatch: pytest.MonkeyPatch, load: Callable[[], cli.Command]) -> None:
  monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Point("run", load)])


def _diet(*arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run([sys.executable, "-m", "diet_tf.cli", *arguments], capture_output=True, text=True, timeout=60,
                        check=False)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]):
  assert cli.main([]) == 0
  text = capsys.readouterr().out
  assert "memory" in text
  with pytest.raises(SystemExit) as caught:
    cli.main(["--help"])
  assert caught.value.code == 0
  assert capsys.readouterr().out == text


def test_version(capsys: pytest.CaptureFixture[str]):
  with pytest.raises(SystemExit):
    cli.main(["--version"])
  assert capsys.readouterr().out == "diet-tf 0.1.0\n"


def test_memory_show_json(memory: pathlib.Path, capsys: pytest.CaptureFixture[str]):
  assert cli.main(["memory", "show", str(memory), "--json"]) == 0
  value = json.loads(capsys.readouterr().out)
  assert value["num_slots"] == 20
  assert value["recipe"]["step_multipliers"] == [1.0, 0.5]
  assert value["lineage"] == [{"span": 2, "digest": "d" * 64}]
  assert value["shards"][0]["sha256"] == SHARD_DIGEST
  assert len(value["digest"]) == 64


def test_memory_show_takes_the_newest_commit_of_a_store(memory: pathlib.Path, tmp_path: pathlib.Path,
                                                        capsys: pytest.CaptureFixture[str]):
  store = Store(str(tmp_path / "store"))
  commit = store.commit(3, {"memory": str(memory)}, parent=None, settings={"seed": 0}, run_id="test")
  assert cli.main(["memory", "show", store.uri, "--json"]) == 0
  assert json.loads(capsys.readouterr().out)["uri"] == store.path(commit, "memory")


def test_memory_show_tables(memory: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setenv("COLUMNS", "200")
  assert cli.main(["memory", "show", str(memory)]) == 0
  text = capsys.readouterr().out
  for part in ("2,000", "100.0", "1,234", "[bold]tab 4, user 8", "embedding 0.01", "2, from 0.5 to 1", "slots-0.gz"):
    assert part in text


def test_memory_show_says_that_nothing_holds_of_users(memory: pathlib.Path, capsys: pytest.CaptureFixture[str],
                                                      monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setenv("COLUMNS", "200")
  assert cli.main(["memory", "show", str(memory)]) == 0
  text = capsys.readouterr().out
  assert "none: rare ids stand in slots by themselves" in text and "without a salt: user" in text
  assert cli.main(["memory", "show", str(memory), "--json"]) == 0
  shown = json.loads(capsys.readouterr().out)["privacy"]
  assert shown["user_field"] is None and shown["min_users"] == 1 and shown["salted_fields"] == []


def test_memory_show_says_what_holds(memory: pathlib.Path, capsys: pytest.CaptureFixture[str],
                                     monkeypatch: pytest.MonkeyPatch):
  salted = SPEC.with_salt(Salt("SALT", "0123456789abcdef"))
  rules = [{"born_span": span, "user_field": "user", "min_users": users} for span, users in ((2, 7), (3, 5))]
  write_manifest(str(memory), dataclasses.replace(
      read_manifest(str(memory)), feature_spec=salted.to_dict(), feature_spec_digest=salted.digest(),
      users_per_id=tuple(rules)))
  monkeypatch.setenv("COLUMNS", "200")
  assert cli.main(["memory", "show", str(memory)]) == 0
  text = capsys.readouterr().out
  assert "at least 5 users (field user) behind every id weight and every slot" in text
  assert "with a secret salt: user" in text
  assert cli.main(["memory", "show", str(memory), "--json"]) == 0
  value = json.loads(capsys.readouterr().out)
  assert value["users_per_id"] == rules and value["format_version"] == 2
  assert (value["privacy"]["min_users"], value["privacy"]["salt_check"]) == (5, "0123456789abcdef")


def test_light_commands_are_fast_and_import_no_tensorflow(memory: pathlib.Path):
  code = ("import sys\nfrom diet_tf.cli import main as cli\ncode = cli.main(sys.argv[1:])\n"
          "assert 'tensorflow' not in sys.modules and 'tfx' not in sys.modules\nsys.exit(code)")
  started = time.monotonic()
  subprocess.run([sys.executable, "-c", code, "memory", "show", str(memory)], check=True, timeout=60)
  assert time.monotonic() - started < 3


def test_missing_memory_is_one_message(tmp_path: pathlib.Path):
  result = _diet("memory", "show", str(tmp_path / "none"))
  assert result.returncode == 5
  assert "Traceback" not in result.stderr
  for word in ("none", "rule:", "received:", "remedy:"):
    assert word in result.stderr
  assert "Traceback" in _diet("memory", "show", str(tmp_path / "none"), "--debug").stderr


def test_unknown_command(capsys: pytest.CaptureFixture[str]):
  assert cli.main(["memroy"]) == ConfigError.exit_code
  assert "did you mean 'memory'?" in capsys.readouterr().err


def test_plug_in_gets_the_rest_and_its_code_is_returned(monkeypatch: pytest.MonkeyPatch):
  received: list[str] = []

  def command(arguments: Sequence[str]) -> int:
    received.extend(arguments)
    return 4

  _plug_in(monkeypatch, lambda: command)
  assert cli.main(["run", "--config", "a.yaml", "--help", "--debug"]) == 4
  assert received == ["--config", "a.yaml", "--help"]


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
  def load() -> cli.Command:
    raise ModuleNotFoundError("No module named 'tfx'", name="tfx.orchestration")

  _plug_in(monkeypatch, load)
  assert cli.main(["run"]) == ConfigError.exit_code
  error = capsys.readouterr().err
  assert "pip install 'diet-tf[tfx]'" in error
  assert "'tfx' is missing" in error


@pytest.mark.parametrize(("error", "code"), [
    (DataError("span 3", rule="r.", received="x \x1b[31m.", remedy="y."), 3),
    (ConfigError("key", rule="r.", received="x.", remedy="y."), 2),
    (ZeroDivisionError("boom \x1b[31m"), cli.EXIT_UNEXPECTED),
    (KeyboardInterrupt(), cli.EXIT_INTERRUPTED),
])
def test_errors_become_a_message_and_an_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                                  error: BaseException, code: int):
  def command(arguments: Sequence[str]) -> int:
    raise error

  _plug_in(monkeypatch, lambda: command)
  assert cli.main(["run"]) == code
  printed = capsys.readouterr().err
  assert printed
  assert "Traceback" not in printed and "\x1b" not in printed
  if not isinstance(error, KeyboardInterrupt):
    with pytest.raises(type(error)):
      cli.main(["run", "--debug"])


@pytest.mark.parametrize("error", [DataError("span 3", rule="r.", received="x.", remedy="y."), RuntimeError("boom"),
                                   KeyboardInterrupt()])
@pytest.mark.parametrize("debug", [False, True])
def test_how_to_go_on_is_the_last_that_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                               error: BaseException, debug: bool):
  def command(arguments: Sequence[str]) -> int:
    add_note(error, "To go on: diet run \x1b --span 3")
    raise error

  _plug_in(monkeypatch, lambda: command)
  with contextlib.suppress(DietError, RuntimeError):
    cli.main(["run", *["--debug"] * debug])
  lines = capsys.readouterr().err.splitlines()
  assert lines[-1] == "To go on: diet run \\x1b --span 3" and "run the command again" not in "".join(lines)


@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGTERM, cli.EXIT_TERMINATED, "Terminated"),
                                                      (signal.SIGINT, cli.EXIT_INTERRUPTED, "Interrupted")])
def test_signals_that_end_a_command(number: signal.Signals, code: int, word: str):
  # What a shell starts in the background ignores SIGINT, and so would the command here.
  script = ("import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from diet_tf.cli import doctor, main as cli\n"
            "def wait(arguments):\n  print('ready', flush=True)\n  time.sleep(60)\n"
            "doctor.doctor = wait\nsys.argv[1:] = ['doctor']\ncli.run_process()")
  with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        text=True) as process:
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
  assert process.returncode == code
  assert said == f"\n{word}. What is committed is whole; run the command again to go on.\n"
