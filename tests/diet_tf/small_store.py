"""A store of small memories, each grown from the one before."""

from __future__ import annotations

import pathlib

import numpy as np

from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.store.commit import Commit
from diet_tf.store.store import Store
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec(fields=(Field("user", "user", hash_ids=10),), label=Label("click"))


def make_memory(span: int, previous: Memory | None, num_slots: int = 2, spec: FeatureSpec = SPEC) -> Memory:
  """A memory of a span that is not saved yet."""
  slots = small_slots(np.ones([num_slots, 1]), labels=1, born_spans=1, influences=span, spec=spec)
  lineage = [] if previous is None else [*previous.manifest.lineage,
                                         {"span": previous.manifest.span, "digest": previous.digest}]
  return Memory.create(slots, spec, Recipe(), span=span, num_examples_seen=10 * span, budget={}, lineage=lineage)


class SmallStore:
  """A store with one commit for each span.

  Args:
    root: of the store.
    folder: for the memories before they are committed.
  """

  def __init__(self, root: str, folder: pathlib.Path, spans: range = range(1, 5)) -> None:
    self.store = Store(root)
    self.folder = folder
    self.memories: dict[int, Memory] = {}
    for span in spans:
      self.commit(span)

  def commit(self, span: int, *, num_slots: int = 2, previous: Memory | None = None, replace: bool = False,
             run_id: str | None = None) -> Commit:
    """Commits a memory of the span that grew from the newest below it; `previous` claims that it grew from another."""
    parent = self.store.newest(below=span)
    before = self.memories[parent.span] if parent is not None else None
    memory = make_memory(span, previous or before, num_slots)
    path = self.folder / f"memory-{span}-{len(list(self.folder.iterdir()))}"
    self.memories[span] = save_memory(str(path), memory)
    return self.store.commit(span, {"memory": str(path)}, parent=parent, settings={"feature_spec": SPEC.to_dict()},
                             run_id=run_id or f"run-{span}", replace=replace)

  def revise(self, num_slots: int = 3) -> Commit:
    """A revision of the newest commit, with as many slots; it grew from the same memory."""
    newest = self.store.newest()
    assert newest is not None
    memory = make_memory(newest.span, self.memories.get(newest.parent if newest.parent is not None else -1), num_slots)
    path = self.folder / f"revision-{len(list(self.folder.iterdir()))}"
    self.memories[newest.span] = save_memory(str(path), memory)
    return self.store.revise(newest, {"memory": str(path)}, revision={"distill": {"outer_steps": 9}}, run_id="refine")
