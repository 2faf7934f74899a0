"""The distillations that the benchmark compares: ours, its upper and lower bounds, and its ablations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from benchmarks.fidelity.folds import Targets
from diet_tf.distillation.settings import StageSettings
from diet_tf.log.features import FeatureSpec

# What the stages of a distillation are made of: a span each, all spans at once, or the newest span alone.
Stages = Literal["stream", "whole", "last"]


@dataclasses.dataclass(frozen=True)
class Variant:
  """One way of distilling.

  Attributes:
    name: name of the variant, for tables and files.
    stages: word for what each stage is made of.
    changes: values of the settings that differ, by "section.key".
    ids_per_slot: K of every field, in place of those that the fields have; None keeps them.
    reference: name of the variant that an ablation is compared with; None for no ablation.
    targets: whose probabilities slots and outer batches are labelled with, see `benchmarks.fidelity.folds`.
  """

  name: str
  stages: Stages = "stream"
  changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  ids_per_slot: int | None = None
  reference: str | None = None
  targets: Targets = "teacher"

  def groups(self, spans: Sequence[int]) -> list[list[int]]:
    """The spans of each stage."""
    return {"stream": [[span] for span in spans], "whole": [list(spans)], "last": [[spans[-1]]]}[self.stages]

  def settings(self, base: StageSettings) -> StageSettings:
    """The settings of its stages."""
    changes = dict(self.changes)
    if self.ids_per_slot is not None:
      changes["squash.ids_per_slot"] = self.ids_per_slot
    for key, value in changes.items():
      base = _changed(base, key.split("."), value)
    return base

  def spec(self, base: FeatureSpec) -> FeatureSpec:
    """The feature spec with its K."""
    if self.ids_per_slot is None:
      return base
    return dataclasses.replace(base, fields=tuple(dataclasses.replace(field, ids_per_slot=None)
                                                  for field in base.fields))


def _changed(settings: Any, path: Sequence[str], value: Any) -> Any:
  name, *rest = path
  return dataclasses.replace(settings, **{name: _changed(getattr(settings, name), rest, value) if rest else value})


MEMORY = Variant("memory")
UNREFINED = Variant("unrefined", changes={"distill.outer_steps": 0})


def static_variant(num_slots: int, num_examples: int) -> Variant:
  """As many slots, made of the newest span alone, by a teacher that has seen no other, in one stage."""
  # Half a slot more, since the number is rounded down to whole batches.
  return Variant("static", "last", {"budget.fraction": min(1.0, (num_slots + 0.5) / num_examples)})


def from_scratch_variant(outer_steps: int, num_examples: int) -> Variant:
  """As many slots, made of all spans at once: what a method that sees each span once is measured against.

  Its samples hold the whole log, as those of the stream's stages together may.
  """
  return Variant("from_scratch", "whole", {"distill.outer_steps": outer_steps,
                                           "distill.max_pool_rows": num_examples,
                                           "squash.max_sample_rows": num_examples})


def ablations(outer_steps: int) -> tuple[Variant, ...]:
  """The ablations, each after the reference that it is compared with.

  What concerns the start, the slots and their refinement is compared on one distillation of all spans at once; what
  concerns addressing, on the stream. All have as many slots and outer steps as their reference.

  Args:
    outer_steps: number of outer steps of every stage.
  """
  steps = {"distill.outer_steps": outer_steps}
  whole, stream = "whole log, as it is", "stream, as it is"
  of_whole: list[tuple[str, dict[str, Any], int | None]] = [
      ("influence in the start", {"squash.influence_exponent": 0.5}, None),
      ("random clusters in the start", {"squash.clusters": "random"}, None),
      ("labels only", {"distill.learned": ("labels",)}, None),
      ("one proxy (dnn)", {"distill.proxies": ("dnn",)}, None),
      ("recipe not learned", {"distill.learn_recipe": False}, None),
      *((f"K = {count}", {}, count) for count in (1, 4, 8, 16)),
  ]
  of_stream: list[tuple[str, dict[str, Any]]] = [
      ("half updated, by influence", {"addressing.update_fraction": 0.5}),
      ("half updated, at random", {"addressing.update_fraction": 0.5, "addressing.rule": "random"}),
      ("none updated", {"addressing.update_fraction": 0.0}),
      ("no replay", {"distill.replay_rows": 0}),
  ]
  return (Variant(whole, "whole", steps),
          *(Variant(name, "whole", {**steps, **changes}, count, whole) for name, changes, count in of_whole),
          Variant("labels out of fold", "whole", steps, None, whole, "out_of_fold"),
          Variant("labels of half teachers in fold", "whole", steps, None, whole, "in_fold"),
          Variant(stream, "stream", steps),
          *(Variant(name, "stream", {**steps, **changes}, None, stream) for name, changes in of_stream))
