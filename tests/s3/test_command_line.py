"""The command line with its store, its log, or both on a real S3 server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

from diet_tf.errors import ConfigError, DataError, StoreError
from diet_tf.io import files
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tests.pipelines.conftest import TinyLog
from tests.s3.object_store import SECRET_KEY


def diet(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run([sys.executable, "-m", "diet_tf.cli", *arguments], env=dict(environment), capture_output=True,
                        text=True, timeout=500, check=False)


def upload(folder: str, uri: str, names: Sequence[str]) -> None:
  for name in names:
    files.copy(files.join(folder, name), files.join(uri, name))


def committed(uri: str) -> list[int]:
  return [commit.span for commit in check_store(Store(uri)).require_sound()]


@pytest.mark.slow(seconds=60)
def test_spans_of_a_log_on_s3_into_a_store_on_s3(elsewhere, uri, environment, tmp_path):
  (tmp_path / "log").mkdir()
  log, store = TinyLog(tmp_path / "log"), f"{uri}/store"
  elsewhere(upload, str(log.folder), f"{uri}/log", ["span-0.csv", "span-1.csv", "span-2.csv"])

  def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return diet(environment, "run", "--config", log.config_path, "--data-dir", f"{uri}/log", "--store", store,
                "--output", str(tmp_path / "out"), *arguments)

  first = run("--span", "auto")
  assert first.returncode == 0, first.stderr
  assert "Span 0 committed" in first.stderr and elsewhere(committed, store) == [0]
  rest = run("--json", str(tmp_path / "results.json"))
  assert rest.returncode == 0, rest.stderr
  assert "Committed before: 0" in rest.stderr and elsewhere(committed, store) == [0, 1]
  assert store in rest.stdout and json.loads((tmp_path / "results.json").read_text())["records"]["test"] == 1500

  shown = diet(environment, "memory", "show", store, "--json")
  assert shown.returncode == 0, shown.stderr
  assert json.loads(shown.stdout)["span"] == 1 and json.loads(shown.stdout)["uri"].startswith(store)
  absent = run("--span", "9")
  assert absent.returncode == DataError.exit_code and "span 9" in absent.stderr
  refused = run("--span", "tomorrow")
  assert refused.returncode == ConfigError.exit_code
  for output in (first, rest, shown, absent):
    assert "pure virtual" not in output.stderr and SECRET_KEY not in output.stdout + output.stderr


def test_exit_codes_are_those_of_the_command(uri, environment):
  nothing = diet(environment, "memory", "show", f"{uri}/store")
  assert nothing.returncode == StoreError.exit_code, nothing.stderr
  assert "no such folder" in nothing.stderr and "pure virtual" not in nothing.stderr
  traced = diet(environment, "--debug", "memory", "show", f"{uri}/store")
  assert traced.returncode == 1 and "Traceback" in traced.stderr


def test_what_others_clean_up_at_the_end_is_cleaned_up(tmp_path, environment, uri):
  code = ("import atexit, sys\nfrom diet_tf.cli import main as cli, memory as memory_commands\n"
          "def show(arguments):\n"
          "  from diet_tf.io import files\n"
          "  print(files.exists(arguments[1]), end='')\n"
          "  atexit.register(lambda: open(sys.argv[4], 'w').write('cleaned'))\n"
          "  return 7\n"
          "memory_commands.memory = show\ncli.run_process()\n")
  ended = subprocess.run([sys.executable, "-c", code, "memory", "show", uri, str(tmp_path / "end")], env=environment,
                         capture_output=True, text=True, timeout=60, check=False)
  assert ended.returncode == 7, ended.stderr
  assert (tmp_path / "end").read_text() == "cleaned"
