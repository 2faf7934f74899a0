"""The command `diet completion`: a script for a shell, made once from the arguments of all commands.

The script holds everything that it completes, so that a key press starts no Python: a program that is asked each time
(as argcomplete's are) would have to import the commands first.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Mapping, Sequence

from diet_tf.cli.help import ExamplesHelp

SHELLS = ("bash", "zsh")
_EXAMPLES = """examples:
  diet completion bash > ~/.local/share/bash-completion/completions/diet
  diet completion zsh >> ~/.zshrc"""
# zsh runs completions that are written for bash.
_ZSH_HEAD = "autoload -U +X bashcompinit compinit && compinit && bashcompinit\n"
_SCRIPT = """# Completion of 'diet', made by 'diet completion'; make it anew after an upgrade.
_diet() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" place="diet" choices="" index
  for ((index = 1; index < COMP_CWORD; index++)); do
    case "$place ${{COMP_WORDS[index]}}" in
      {places}) place="$place ${{COMP_WORDS[index]}}" ;;
    esac
  done
  case "$place $before" in
{values}
  esac
  if [[ -z "$choices" && "$current" == -* ]]; then
    case "$place" in
{options}
    esac
  elif [[ -z "$choices" && "$before" != -* ]]; then
    case "$place" in
{actions}
    esac
  fi
  COMPREPLY=($(compgen -W "$choices" -- "$current"))
}}
complete -o default -F _diet diet
"""


@dataclasses.dataclass(frozen=True)
class Place:
  """What may follow a command.

  Attributes:
    actions: that it has.
    options: its long options.
    values: of options with a closed list of values.
  """

  actions: tuple[str, ...]
  options: tuple[str, ...]
  values: Mapping[str, tuple[str, ...]]


def completion_parser() -> argparse.ArgumentParser:
  """The arguments of `diet completion`."""
  parser = argparse.ArgumentParser(
      prog="diet completion", description="Print a script that completes commands, options and their values.",
      epilog=_EXAMPLES, formatter_class=ExamplesHelp)
  parser.add_argument("shell", choices=SHELLS)
  return parser


def completion(arguments: Sequence[str]) -> int:
  """`diet completion bash|zsh`; returns the exit code."""
  from diet_tf.cli.main import installed_commands, parsers

  shell = completion_parser().parse_args(arguments).shell
  print(completion_script(shell, parsers(installed_commands())), end="")
  return 0


def completion_script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
  """The script of a shell.

  Args:
    shell: one of `SHELLS`.
    parsers: of the commands, by name.
  """
  places = {"diet": Place(tuple(sorted(parsers)), ("--help", "--version", "--debug"), {})}
  for name, parser in parsers.items():
    places.update(_places(f"diet {name}", parser))

  def case(pattern: str, words: Sequence[str]) -> str:
    return f"    {shlex.quote(pattern)}) choices={shlex.quote(' '.join(words))} ;;"

  script = _SCRIPT.format(
      places="|".join(shlex.quote(place) for place in places if place != "diet"),
      values="\n".join(case(f"{place} {option}", words) for place, known in places.items()
                       for option, words in known.values.items()),
      options="\n".join(f"  {case(place, known.options)}" for place, known in places.items()),
      actions="\n".join(f"  {case(place, known.actions)}" for place, known in places.items() if known.actions))
  return (_ZSH_HEAD if shell == "zsh" else "") + script


def _places(name: str, parser: argparse.ArgumentParser) -> dict[str, Place]:
  """The place of a command and of each of its actions."""
  found: dict[str, Place] = {}
  actions: list[str] = []
  options: list[str] = []
  values: dict[str, tuple[str, ...]] = {}
  for action in parser._actions:  # argparse has no public way to ask.
    long_options = [option for option in action.option_strings if option.startswith("--")]
    options += long_options
    if isinstance(action, argparse._SubParsersAction):
      actions += action.choices
      for choice, below in action.choices.items():
        found.update(_places(f"{name} {choice}", below))
    elif action.choices is not None:
      words = tuple(map(str, action.choices))
      values.update(dict.fromkeys(long_options, words))
      actions += words if not long_options else ()
  return {name: Place(tuple(actions), tuple(options), values), **found}
