"""Members that are classes of the user's own: a config that names one runs whatever its module does when imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diet_tf.errors import ConfigError


def imports_code(member: str) -> bool:
  """Whether a member is `module:Class`, as itself or within its brackets; no family of the panel has a colon."""
  return ":" in member


def refuse_user_code(members: Mapping[str, Sequence[str]]) -> None:
  """Refuses members that would be imported, before anything of theirs is.

  Args:
    members: names of architectures as `diet_tf.models.build_model` takes them, by the key or argument that they are of.

  Raises:
    ConfigError: one names `module:Class`, as itself or within its brackets.
  """
  for key, names in members.items():
    for name in names:
      if imports_code(name):
        raise ConfigError(key, rule="with --no-user-code, members are families of the panel.",
                          received=f"{name!r}, which imports code.",
                          remedy="leave the member out, or --no-user-code where you trust the code.")
