"""The scripts of `diet completion`, run in a shell."""

from __future__ import annotations

import argparse
import pathlib
import shutil
import subprocess

import pytest

from diet_tf.cli import completion
from diet_tf.cli import main as cli
from diet_tf.cli.doctor import doctor_parser
from diet_tf.cli.memory import memory_parser

PARSERS = {"memory": memory_parser(), "doctor": doctor_parser()}
_ASK = """
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
_shtab_diet
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str, folder: pathlib.Path) -> list[str]:
  if shutil.which("bash") is None:
    pytest.skip("there is no bash")
  script = completion.completion_script("bash", PARSERS) + _ASK
  ended = subprocess.run(["bash", "-u", "-c", script, "bash", *words], capture_output=True, text=True, timeout=20,
                         check=True, cwd=folder)
  assert ended.stderr == ""
  return ended.stdout.split()


@pytest.mark.parametrize(("words", "expected"), [
    (("diet", ""), ["doctor", "memory"]), (("diet", "me"), ["memory"]), (("diet", "--ver"), ["--version"]),
    (("diet", "--debug", "do"), ["doctor"]),  # It takes no value.
    (("diet", "memory", ""), ["show", "export"]), (("diet", "memory", "export", "--fo"), ["--format"]),
    (("diet", "memory", "export", "uri", "--format", "p"), ["parquet"]),
    (("diet", "memory", "show", "memory", "--"), ["--help", "--json"]),
    (("diet", "doctor", "--extra", ""), ["tfx", "kubeflow", "s3", "cuda"]),
    (("diet", "doctor", "--store", ""), [])])
def test_what_may_follow(words: tuple[str, ...], expected: list[str], tmp_path: pathlib.Path):
  assert completed(*words, folder=tmp_path) == expected


@pytest.mark.parametrize(("words", "expected"), [
    (("diet", "odd", "--config", ""), ["folder", "shop.yaml"]), (("diet", "odd", "--config", "sh"), ["shop.yaml"]),
    (("diet", "odd", "--output", ""), ["folder"]), (("diet", "odd", "--store", "fo"), ["folder"]),
    (("diet", "odd", ""), ["folder", "shop.yaml"]), (("diet", "odd", "--name", ""), [])])
def test_paths_are_completed_where_an_argument_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path,
                                                      words: tuple[str, ...], expected: list[str]):
  parser = argparse.ArgumentParser()
  parser.add_argument("log", metavar="LOG")
  for option, metavar in (("--config", "FILE"), ("--output", "DIR"), ("--store", "URI"), ("--name", None)):
    parser.add_argument(option, metavar=metavar)
  monkeypatch.setitem(PARSERS, "odd", parser)
  (tmp_path / "shop.yaml").touch()
  (tmp_path / "folder").mkdir()
  assert sorted(completed(*words, folder=tmp_path)) == expected


def test_zsh_has_a_script_of_its_own():
  script = completion.completion_script("zsh", PARSERS)
  assert script.startswith("#compdef diet\n")
  for part in ("doctor", "show", "export", "--format", "(parquet csv numpy snapshot torch)", "_files -/"):
    assert part in script
  if shutil.which("zsh") is not None:
    subprocess.run(["zsh", "-n"], input=script, text=True, check=True, timeout=20)


def test_values_that_a_shell_would_read_are_quoted():
  parser = argparse.ArgumentParser()
  parser.add_argument("--way", choices=["$(touch x)", "b"])
  assert "choices=('$(touch x)' b)" in completion.completion_script("bash", {"odd": parser})


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
  monkeypatch.setattr("diet_tf.cli.terminal.quiet_third_parties", lambda: None)
  assert cli.main(["completion", "bash"]) == 0
  script = capsys.readouterr().out
  assert script.endswith("complete -o bashdefault -F _shtab_diet diet\n")
  # Those of the package itself, and those that plug in.
  for part in ("_shtab_diet_store_gc_option_strings=(", "_shtab_diet_run_option_strings=(",
               "_shtab_diet_run___runner_choices=(beam local)"):
    assert part in script


def test_a_command_that_cannot_be_imported_is_left_out():
  found = cli.parsers({"store": ("diet_tf.cli.store", "store"), "gone": ("diet_tf.no_such_module", "gone"),
                       "bare": ("diet_tf.errors", "bare")})
  assert list(found) == ["store"]
