"""When the whole of a memory was last refined, and by how much it has grown since."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from diet_tf.io.documents import is_count


@dataclasses.dataclass(frozen=True)
class LastRefinement:
  """The last refinement of a memory, as its manifest notes it where stages came after it that did not refine.

  Attributes:
    span: number of the span whose stage refined the memory; None if none did yet.
    num_slots: number of slots that it had then; 0 if none refined it.
    num_examples_seen: number of examples of all spans up to then; 0 if none refined it.
    num_added: number of slots that were added since, in the places of old ones too; of a memory at its cap, at least as
      many as the examples since then would have had without it.
  """

  span: int | None
  num_slots: int
  num_examples_seen: int
  num_added: int

  @property
  def growth(self) -> float:
    """Slots that were added since as a share of those of then; infinite where the memory was never refined."""
    return self.num_added / self.num_slots if self.num_slots else float("inf")

  def to_dict(self) -> dict[str, int | None]:
    """The note as JSON values."""
    return dataclasses.asdict(self)

  @staticmethod
  def is_note(value: Mapping[str, Any], span: object) -> bool:
    """Whether a mapping is what `to_dict` gives, of a memory of that span."""
    if set(value) != {field.name for field in dataclasses.fields(LastRefinement)}:
      return False
    counts = [entry for key, entry in value.items() if key != "span"]
    if not all(map(is_count, counts)):
      return False
    return value["span"] is None or is_count(value["span"]) and is_count(span) and value["span"] <= span
