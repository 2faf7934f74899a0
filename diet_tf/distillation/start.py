"""The start of a stage: which old slots stay, and which new ones are squashed from the span, under the budget."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from diet_tf.distillation import squash as squash_module
from diet_tf.distillation.addressing import (
  Action,
  Addressing,
  Replacement,
  address,
  count_ids,
  needs_overlaps,
  replacement,
)
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.centres import find_centres
from diet_tf.distillation.clusters import TeacherSpace, influence_weights, nearest_centre, random_clusters
from diet_tf.distillation.drift import following
from diet_tf.distillation.growth import Growth, growth_of
from diet_tf.distillation.refinement import initial_recipe
from diet_tf.distillation.removal import in_whole_batches, removal_costs
from diet_tf.distillation.settings import Stage, StageSettings
from diet_tf.distillation.span import ScoredSpan
from diet_tf.distillation.span_size import check_num_examples
from diet_tf.distillation.squash import ClusterOf, SquashSettings, UserRule
from diet_tf.distillation.stage_sample import StageSample
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import DataError
from diet_tf.log.encoded_rows import EncodedRows, RowStream, sample_of
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.last_refinement import LastRefinement
from diet_tf.memory.memory import Memory
from diet_tf.memory.privacy import NO_RULES, PrivacySettings
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.scored_sample import ScoredSample
from diet_tf.memory.slots import Slots
from diet_tf.models import RankingModel
from diet_tf.progress import Progress, silent
from diet_tf.training.inner_settings import InnerSettings


@dataclasses.dataclass(frozen=True)
class Start:
  """The memory that refinement begins with.

  Attributes:
    slots: kept old slots and new ones, in the order of training.
    actions: `[len(slots)]` int8 of `Action`: FREEZE, UPDATE or ADD.
    recipe: recipe that refinement starts from, fitted to the number of slots.
    counts: slots per action, the replaced ones included.
    num_examples_seen: examples of all spans so far.
    scored_sample: the scored sample of the spans so far, which all memories of the stage have; None without one.
    growth: whether the stage refines the memory.
  """

  slots: Slots
  actions: np.ndarray
  recipe: Recipe
  counts: Mapping[str, int]
  num_examples_seen: int
  scored_sample: ScoredSample | None = None
  growth: Growth = Growth()


def num_weighed(settings: StageSettings, num_old: int, start: Start) -> int:
  """The number of slots, old and new, whose cost of removal a stage measured: 0 where it did not."""
  is_capped = settings.budget.is_capped(start.num_examples_seen)
  if num_old and is_capped and settings.addressing.at_cap == "removal" and start.counts["replace"]:
    return num_old + start.counts["add"]
  return 0


def num_slots_within(budget: BudgetSettings, num_examples_seen: int, inner: InnerSettings) -> int:
  """The largest number of slots within the budget that fills whole batches of the inner loop.

  Raises:
    DataError: if the budget does not hold one batch.
  """
  check_num_examples("budget", num_examples_seen, num_examples_seen=0, budget=budget,
                     batch_size=inner.least_batch_size)
  return _in_batches(budget.num_slots(num_examples_seen), inner)


def _in_batches(num_slots: int, inner: InnerSettings) -> int:
  batch_size = inner.batch_size_for(num_slots)
  return num_slots // batch_size * batch_size


def sampled(stream: RowStream, num_rows: int, seed: int) -> EncodedRows:
  """At most `num_rows` rows of a span, those first in the stage's pseudo-random order, in the order of the stream.

  Raises:
    DataError: the stream has no rows.
  """
  rows = sample_of(stream(), num_rows, functools.partial(mix, seed=seed))
  if rows is None:
    raise DataError("span", rule="holds at least one example that is not held back.", received="none.",
                    remedy="check the span's log, or lower influence.holdback_fraction.")
  return rows


def outer_examples(stream: RowStream, max_rows: int, seed: int) -> EncodedRows:
  """A bounded sample of the span, labelled with the teacher's probabilities."""
  rows = sampled(stream, max_rows, seed)
  probabilities = 1 / (1 + np.exp(-rows.teacher_logits.astype(np.float64)))
  return EncodedRows(rows.ids, probabilities.astype(np.float32))


def choose_addressing(stage: Stage, previous: Memory, scored: ScoredSpan, added: Slots | None, num_slots: int,
                      replaced: Replacement) -> Addressing:
  """The actions on the old slots.

  Args:
    stage: the stage's settings, seed and span.
    previous: the memory before the stage.
    scored: the span after the teacher's pass.
    added: slots that were squashed from the span; None if there are none.
    num_slots: the budget.
    replaced: how many old slots are replaced, and by which rule.
  """
  settings, slots, overlaps, costs = stage.settings.addressing, previous.slots, None, None
  if needs_overlaps(settings, replaced):
    overlaps = count_ids(stage.spec.num_ids, (batch.ids for batch in scored.rows()),
                         RowLayout.of(stage.spec)).overlap(slots)
  if replaced.rule == "removal" and replaced.number:
    costs = _removal_costs(stage, previous, scored.rows, added)
  return address(slots, scored.slot_influences, num_slots, replaced, settings, seed=stage.stage_seed,
                 overlaps=overlaps, removal_costs=costs)


def _removal_costs(stage: Stage, previous: Memory, stream: RowStream, added: Slots | None) -> np.ndarray:
  """`[num_old_slots]` costs of removal in a training on old and new slots together, none of which has gone yet."""
  settings, slots, actions = stage.settings, previous.slots, np.full(len(previous.slots), Action.FREEZE)
  if added is not None:
    slots = Slots.concatenate([added, slots])
    actions = np.concatenate([np.full(len(added), Action.ADD), actions])
  slots, _ = _in_order(slots, actions, stage)
  filled = in_whole_batches(slots, -len(slots) % settings.distill.inner.batch_size_for(len(slots)))
  recipe = initial_recipe(settings.distill, len(filled), previous.recipe)
  rows = outer_examples(stream, settings.distill.outer_batch_size, stage.stage_seed)
  costs = removal_costs(filled, rows, recipe, stage.spec, settings.gate.members, seed=stage.stage_seed)
  return costs[:len(previous.slots)]  # Old slots come first in the order of training.


def new_slots(stream: RowStream, member: RankingModel, num_slots: int, spec: FeatureSpec, settings: SquashSettings, *,
              span: int, first_slot_id: int, seed: int, progress: Progress = silent,
              privacy: PrivacySettings = NO_RULES) -> Slots:
  """At most `num_slots` slots squashed from the span, see `diet_tf.distillation.squash`."""
  cluster_of, centres = ((random_clusters(num_slots, seed), None) if settings.clusters == "random" else
                         _teacher_clusters(stream, member, num_slots, settings, seed))
  users = UserRule(privacy.user_column(spec.names), privacy.min_users_per_id) if privacy.counts_users else None
  return squash_module.squash(stream, cluster_of, num_slots, spec.ids_per_slot(settings.ids_per_slot), settings,
                              span=span, first_slot_id=first_slot_id, seed=seed, progress=progress, users=users,
                              centres=centres, layout=RowLayout.of(spec))


def _teacher_clusters(stream: RowStream, member: RankingModel, num_clusters: int, settings: SquashSettings,
                      seed: int) -> tuple[ClusterOf, np.ndarray]:
  """Clusters of examples that the teacher sees alike, and `[num_clusters, d]` centres, found on a bounded sample."""
  rows = sampled(stream, settings.num_sample_rows(num_clusters), seed)
  space = TeacherSpace(member, rows, settings.num_components)
  weights = influence_weights(rows.influences, settings) if settings.influence_exponent else np.ones(len(rows))
  centres = find_centres(space(rows), weights, min(num_clusters, len(rows)), num_iterations=settings.num_iterations,
                         seed=seed)
  return nearest_centre(space, centres), centres.points


def begin(stage: Stage, previous: Memory | None, scored: ScoredSpan, teacher: Teacher,
          progress: Progress = silent) -> Start:
  """The start of a stage: old slots addressed, and after them new ones squashed from the span.

  Args:
    stage: the stage's settings, seed and span.
    previous: the memory before the stage; None in the first.
    scored: the span after the teacher's pass.
    teacher: the teacher after that pass.
    progress: callback that is told, after each batch of squash, how many rows were read.

  Raises:
    DataError: the budget or the span is too small for one training batch, or the span has too few users.
  """
  settings, influences = stage.settings, scored.slot_influences
  if previous is not None and settings.addressing.labels_follow_teacher and scored.slot_drifts is not None:
    drifts = np.where(_are_unrefined(previous.slots, previous.manifest.refinement()), scored.slot_drifts, 0)
    previous = dataclasses.replace(previous, slots=following(previous.slots, drifts))
  sample = StageSample(stage, scored.rows)
  scored = dataclasses.replace(scored, rows=sample.stream)
  seen = scored.num_examples + (previous.manifest.num_examples_seen if previous else 0)
  inner = settings.distill.inner
  num_slots = num_slots_within(settings.budget, seen, inner)
  num_old = len(previous.slots) if previous else 0
  replaced = replacement(num_old, num_slots, settings.budget.num_slots_of_span(scored.num_examples),
                         settings.budget.is_capped(seen), settings.addressing)
  num_added = num_slots - (num_old - replaced.number)
  added = _squashed(stage, previous, scored, teacher, num_added, progress) if num_added > 0 else None
  decided = (Addressing(np.zeros(0, np.int8), num_added, np.zeros(0)) if previous is None else
             choose_addressing(stage, previous, scored, added, num_slots, replaced))
  parts, actions = [], []
  if added is not None:
    decided, added = _in_whole_batches(decided, added, inner)
    # A cluster of the whole log weighs by its examples, so that old and new slots stand for equal numbers of them.
    parts.append(added)
    actions.append(np.full(len(added), Action.ADD, np.int8))
  if previous is not None:
    kept = np.flatnonzero(decided.old_actions != Action.REPLACE)
    parts.append(previous.slots.replace(influences=influences).take(kept))
    actions.append(decided.old_actions[kept])
  chosen = np.concatenate(actions)
  last = previous.manifest.refinement() if previous else None
  growth = growth_of(last, _news(int((chosen == Action.ADD).sum()), scored.num_examples, seen, settings.budget),
                     settings.distill.by_effort)
  joined = Slots.concatenate(parts)
  chosen = _as_refined(chosen, joined, last, growth)
  slots, all_actions = _in_order(joined, chosen, stage)
  counts = {action.name.lower(): int((all_actions == action).sum()) for action in Action}
  counts["replace"] = int((decided.old_actions == Action.REPLACE).sum())
  recipe = initial_recipe(settings.distill, len(slots), previous.recipe if previous else None)
  return Start(slots, all_actions, recipe, counts, seen, sample.scored(previous, teacher), growth)


def _news(num_added: int, num_examples: int, num_examples_seen: int, budget: BudgetSettings) -> int:
  """The slots that a span adds; at the cap, at least those that its examples would have had without it.

  A memory that takes in no slots any more is still to learn from the spans.
  """
  return max(num_added, budget.num_slots_of_span(num_examples)) if budget.is_capped(num_examples_seen) else num_added


def _as_refined(actions: np.ndarray, slots: Slots, last: LastRefinement | None, growth: Growth) -> np.ndarray:
  """The actions as the stage carries them out: a light one moves no old slot, another one all that were never moved."""
  actions = actions.copy()
  if growth.light is not None:
    actions[actions == Action.UPDATE] = Action.FREEZE
  elif last is not None:
    actions[(actions == Action.FREEZE) & _are_unrefined(slots, last)] = Action.UPDATE
  return actions


def _are_unrefined(slots: Slots, last: LastRefinement) -> np.ndarray:
  """`[num_slots]` bool, true for slots that came after the last refinement, and are as they were squashed."""
  return slots.born_spans > (-1 if last.span is None else last.span)


def _squashed(stage: Stage, previous: Memory | None, scored: ScoredSpan, teacher: Teacher, num_added: int,
              progress: Progress) -> Slots:
  """At most `num_added` new slots of the span, numbered on from the memory before."""
  first_id = int(previous.slots.slot_ids.max()) + 1 if previous else 0
  return new_slots(scored.rows, teacher.load_checkpoint(teacher.checkpoints[-1]), num_added, teacher.spec,
                   stage.settings.squash, span=stage.span, first_slot_id=first_id, seed=stage.stage_seed,
                   progress=progress, privacy=stage.settings.privacy)


def _in_order(slots: Slots, actions: np.ndarray, stage: Stage) -> tuple[Slots, np.ndarray]:
  """New slots and old ones, weighed to a mean of 1 and in the order of training, with their actions."""
  slots = slots.replace(sample_weights=slots.sample_weights / slots.sample_weights.mean(),
                        updated_spans=np.where(actions == Action.FREEZE, slots.updated_spans, stage.span))
  # Old slots were learned for their places in the order, so they keep them; new ones follow in a random order.
  num_new = int((actions == Action.ADD).sum())
  order = np.concatenate([np.arange(num_new, len(slots)),
                          np.argsort(mix(slots.slot_ids[:num_new], stage.stage_seed), kind="stable")])
  return slots.take(order), actions[order]


def _in_whole_batches(decided: Addressing, added: Slots, inner: InnerSettings) -> tuple[Addressing, Slots]:
  """The decision and the new slots, changed so that all slots fill whole batches.

  Clusters may run empty. Places that there is no new slot for go back to the replaced slots of most worth, which
  are frozen; if those are too few to fill a batch, the new slots of least mass are left out. Where batches have become
  larger than those that the old slots filled, and new slots are too few, old ones of least worth are replaced too.
  """
  replaced = np.flatnonzero(decided.old_actions == Action.REPLACE)
  spared = replaced[np.argsort(-decided.worth[replaced], kind="stable")[:decided.num_added - len(added)]]
  actions = decided.old_actions.copy()
  actions[spared] = Action.FREEZE
  total = int((actions != Action.REPLACE).sum()) + len(added)
  surplus = total - _in_batches(total, inner)
  if surplus == total:
    raise DataError("span", rule="its clusters and the slots before it fill at least one training batch.",
                    received=f"{total} slots, batch size {inner.least_batch_size}.",
                    remedy="lower distill.inner.batch_size, or privacy.min_users_per_id, for which small clusters are "
                    "joined, or begin with a longer span.")
  kept = np.flatnonzero(actions != Action.REPLACE)
  left_out = max(0, surplus - len(added))
  actions[kept[np.argsort(decided.worth[kept], kind="stable")[:left_out]]] = Action.REPLACE
  by_mass = np.lexsort((added.slot_ids, added.sample_weights))
  return dataclasses.replace(decided, old_actions=actions), added.take(np.sort(by_mass[surplus - left_out:]))
