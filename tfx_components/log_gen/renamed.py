"""Columns under other names than those of the files: one name for what files, or rows, call differently."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from tfx_components.log_gen.columns import Column, first_of
from tfx_components.log_gen.pieces import Block, Wanted


def names_after(names: Iterable[str], renames: Mapping[str, str]) -> tuple[str, ...]:
  """The names of a file's columns as the config has them."""
  return tuple(renames.get(name, name) for name in names)


def wanted_before(wanted: Wanted, renames: Mapping[str, str]) -> Wanted:
  """What is wanted, by the names that files may have."""
  def before(names: frozenset[str]) -> frozenset[str]:
    return names | {name for name, new in renames.items() if new in names}

  if wanted.only is None:
    return dataclasses.replace(wanted, inside=wanted.inside | renames.keys())
  return dataclasses.replace(wanted, only=before(wanted.only), inside=before(wanted.inside))


def renamed_block(block: Block, renames: Mapping[str, str]) -> Block:
  """The block with the names that the config has; of a row that has a value by several names, the first in order holds.
  """
  columns: dict[str, Column] = {name: column for name, column in block.columns.items() if name not in renames}
  for name, new in renames.items():
    if name in block.columns:
      column = block.columns[name]
      columns[new] = first_of(columns[new], column) if new in columns else column
  return dataclasses.replace(block, columns=columns, names=frozenset(names_after(block.names, renames)))
