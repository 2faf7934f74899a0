"""The scripts of `diet completion`, run in a shell."""

from __future__ import annotations

import argparse
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
_diet
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str) -> list[str]:
  if shutil.which("bash") is None:
    pytest.skip("there is no bash")
  script = completion.completion_script("bash", PARSERS) + _ASK
  ended = subprocess.run(["bash", "-u", "-c", script, "bash", *words], capture_output=True, text=True, timeout=20,
                         check=True)
  assert ended.stderr == ""
  return ended.stdout.split()


@pytest.mark.parametrize(("words", "expected"), [
    (("diet", ""), ["doctor", "memory"]), (("diet", "me"), ["memory"]), (("diet", "--ver"), ["--version"]),
    (("diet", "--debug", "do"), []),  # After an option, a value might follow.
    (("diet", "memory", ""), ["show", "export"]), (("diet", "memory", "export", "--fo"), ["--format"]),
    (("diet", "memory", "export", "uri", "--format", "p"), ["parquet"]),
    (("diet", "memory", "show", "memory", "--"), ["--help", "--json"]),
    (("diet", "doctor", "--extra", ""), ["tfx", "kubeflow", "s3", "cuda"]),
    (("diet", "doctor", "--store", ""), [])])
def test_what_may_follow(words: tuple[str, ...], expected: list[str]):
  assert completed(*words) == expected


def test_zsh_takes_the_same_with_a_head_of_its_own():
  bash, zsh = (completion.completion_script(shell, PARSERS) for shell in completion.SHELLS)
  assert zsh.endswith(bash) and "bashcompinit" in zsh and "bashcompinit" not in bash


def test_values_that_a_shell_would_read_are_quoted():
  parser = argparse.ArgumentParser()
  parser.add_argument("--way", choices=["$(touch x)", "b"])
  assert "choices='$(touch x) b'" in completion.completion_script("bash", {"odd": parser})


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
  monkeypatch.setattr("diet_tf.cli.terminal.quiet_third_parties", lambda: None)
  assert cli.main(["completion", "bash"]) == 0
  script = capsys.readouterr().out
  assert "complete -o default -F _diet diet" in script and "'diet store gc'" in script and "'diet run'" in script


def test_a_command_that_cannot_be_imported_is_left_out():
  found = cli.parsers({"store": ("diet_tf.cli.store", "store"), "gone": ("diet_tf.no_such_module", "gone"),
                       "bare": ("diet_tf.errors", "bare")})
  assert list(found) == ["store"]
