"""One stage: (memory, span, teacher) -> memory. The work depends on the span, the budget and K, not on spans before."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from diet_tf.distillation import squash as squash_module
from diet_tf.distillation.addressing import Action, Addressing, AddressingSettings, address, count_ids
from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.clusters import TeacherSpace, fit_centres, influence_weights, nearest_centre, random_clusters
from diet_tf.distillation.refinement import DistillSettings, OuterExamples, Refined, initial_recipe, refine, replay
from diet_tf.distillation.scored_examples import Passes, sample
from diet_tf.distillation.squash import SquashSettings, UserRule
from diet_tf.distillation.teacher import Teacher
from diet_tf.errors import DataError
from diet_tf.log.features import FeatureSpec
from diet_tf.log.hashing import mix
from diet_tf.memory.memory import Memory
from diet_tf.memory.privacy import NO_RULES, PrivacySettings
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.models import RankingModel
from diet_tf.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class Start:
  """The memory that refinement begins with.

  Attributes:
    slots: kept old slots and new ones, in the order of training.
    actions: `[len(slots)]` int8 of `Action`: FREEZE, UPDATE or ADD.
    recipe: to train on it with.
    counts: slots per action, the replaced ones included.
    num_examples_seen: examples of all spans so far.
  """

  slots: Slots
  actions: np.ndarray
  recipe: Recipe
  counts: Mapping[str, int]
  num_examples_seen: int


def num_slots_within(budget: BudgetSettings, num_examples_seen: int, batch_size: int) -> int:
  """The largest multiple of the batch size within the budget.

  Raises:
    DataError: if the budget does not hold one batch.
  """
  allowed = budget.num_slots(num_examples_seen)
  if allowed < batch_size:
    raise DataError("budget", rule="the memory holds at least one training batch of slots.",
                    received=f"{allowed} slots for {num_examples_seen} examples, batch size {batch_size}.",
                    remedy="raise budget.fraction, lower distill.inner.batch_size, or begin with a longer span.")
  return allowed // batch_size * batch_size


def choose_addressing(previous: Memory | None, influences: np.ndarray, passes: Passes, spec: FeatureSpec,
                      num_slots: int, settings: AddressingSettings, *, seed: int) -> Addressing:
  """The actions on the old slots, and how many new ones are made."""
  if previous is None:
    return Addressing(np.zeros(0, np.int8), num_slots)
  counts = count_ids(spec.num_ids, (batch.ids for batch in passes()))
  return address(previous.slots, influences, counts.overlap(previous.slots), num_slots, settings, seed=seed)


def new_slots(passes: Passes, member: RankingModel, num_slots: int, spec: FeatureSpec, settings: SquashSettings, *,
              span: int, first_slot_id: int, seed: int, progress: Progress = silent,
              privacy: PrivacySettings = NO_RULES) -> Slots:
  """At most `num_slots` slots squashed from the span, see `diet_tf.distillation.squash`."""
  cluster_of, centres = ((random_clusters(num_slots, seed), None) if settings.clusters == "random" else
                         _teacher_clusters(passes, member, num_slots, settings, seed))
  users = UserRule(privacy.user_column(spec.names), privacy.min_users_per_id) if privacy.counts_users else None
  return squash_module.squash(passes, cluster_of, num_slots, spec.ids_per_slot(settings.ids_per_slot), settings,
                              span=span, first_slot_id=first_slot_id, seed=seed, progress=progress, users=users,
                              centres=centres)


def _teacher_clusters(passes: Passes, member: RankingModel, num_clusters: int, settings: SquashSettings,
                      seed: int) -> tuple[squash_module.ClusterOf, np.ndarray]:
  """Clusters of examples that the teacher sees alike, and `[num_clusters, d]` centres, found on a bounded sample."""
  num_rows = min(settings.max_sample_rows, settings.sample_rows_per_slot * num_clusters)
  examples = sample(passes, num_rows, seed)
  space = TeacherSpace(member, examples, settings.num_components)
  centres = fit_centres(space(examples), influence_weights(examples.influences, settings),
                        min(num_clusters, len(examples)), num_iterations=settings.num_iterations, seed=seed)
  return nearest_centre(space, centres), centres


def begin(previous: Memory | None, influences: np.ndarray, passes: Passes, num_examples: int, teacher: Teacher,
          budget: BudgetSettings, addressing: AddressingSettings, squash: SquashSettings, distill: DistillSettings, *,
          span: int, seed: int, progress: Progress = silent, privacy: PrivacySettings = NO_RULES) -> Start:
  """The start of a stage: old slots addressed, and after them new ones squashed from the span.

  Args:
    previous: the memory before the stage, or None in the first.
    influences: `[len(previous)]` of its slots on the stage's reference set.
    passes: the span's examples that are not held back, with scores.
    num_examples: of the span, those held back included.
    teacher: after the span's pass.
    budget, addressing, squash, distill: settings.
    span: its number.
    seed: of the stage.
    progress: called along the way.
    privacy: how many users have to stand behind the new slots.

  Raises:
    DataError: if the budget or the span is too small for one training batch, or the span has too few users.
  """
  spec = teacher.spec
  seen = num_examples + (previous.manifest.num_examples_seen if previous else 0)
  batch_size = distill.inner.batch_size
  num_slots = num_slots_within(budget, seen, batch_size)
  decided = choose_addressing(previous, influences, passes, spec, num_slots, addressing, seed=seed)
  first_id = int(previous.slots.slot_ids.max()) + 1 if previous else 0
  parts, actions = [], []
  if decided.num_added > 0:
    member = teacher.load_checkpoint(teacher.checkpoints[-1])
    added = new_slots(passes, member, decided.num_added, spec, squash, span=span, first_slot_id=first_id, seed=seed,
                      progress=progress, privacy=privacy)
    decided, added = _in_whole_batches(decided, added, influences, batch_size)
    # A cluster of the whole log weighs by its examples, so that old and new slots stand for equal numbers of them.
    parts.append(added)
    actions.append(np.full(len(added), Action.ADD, np.int8))
  if previous is not None:
    kept = np.flatnonzero(decided.old_actions != Action.REPLACE)
    parts.append(previous.slots.replace(influences=influences).take(kept))
    actions.append(decided.old_actions[kept])
  slots, all_actions = Slots.concatenate(parts), np.concatenate(actions)
  slots = slots.replace(sample_weights=slots.sample_weights / slots.sample_weights.mean(),
                        updated_spans=np.where(all_actions == Action.FREEZE, slots.updated_spans, span))
  # Old slots were learned for their places in the order, so they keep them; new ones follow in a random order.
  num_new = int((all_actions == Action.ADD).sum())
  order = np.concatenate([np.arange(num_new, len(slots)), np.argsort(mix(slots.slot_ids[:num_new], seed),
                                                                     kind="stable")])
  counts = {**decided.counts(), "add": int((all_actions == Action.ADD).sum())}
  recipe = initial_recipe(distill, len(slots), previous.recipe if previous else None)
  return Start(slots.take(order), all_actions[order], recipe, counts, seen)


def _in_whole_batches(decided: Addressing, added: Slots, influences: np.ndarray,
                      batch_size: int) -> tuple[Addressing, Slots]:
  """The decision and the new slots, changed so that all slots fill whole batches.

  Clusters may run empty. Places that there is no new slot for go back to the replaced slots of most influence, which
  are frozen; if those are too few to fill a batch, the new slots of least mass are left out.
  """
  replaced = np.flatnonzero(decided.old_actions == Action.REPLACE)
  spared = replaced[np.argsort(-influences[replaced], kind="stable")[:decided.num_added - len(added)]]
  actions = decided.old_actions.copy()
  actions[spared] = Action.FREEZE
  total = int((actions != Action.REPLACE).sum()) + len(added)
  surplus = total % batch_size
  if surplus > len(added) or surplus == total:
    raise DataError("span", rule="its clusters and the slots before it fill at least one training batch.",
                    received=f"{total} slots, batch size {batch_size}.",
                    remedy="lower distill.inner.batch_size, or privacy.min_users_per_id, for which small clusters are "
                    "joined, or begin with a longer span.")
  by_mass = np.lexsort((added.slot_ids, added.sample_weights))
  return Addressing(actions, decided.num_added), added.take(np.sort(by_mass[surplus:]))


def outer_examples(passes: Passes, max_rows: int, seed: int) -> OuterExamples:
  """A bounded sample of the span with the teacher's probabilities as targets."""
  rows = sample(passes, max_rows, seed)
  return OuterExamples(rows.ids, (1 / (1 + np.exp(-rows.teacher_logits.astype(np.float64)))).astype(np.float32))


def replayed_examples(previous: Memory, teacher: Teacher, num_rows: int, seed: int) -> OuterExamples:
  """Rows drawn from the old slots, labelled by the teacher."""
  ids = replay(previous.slots, num_rows, seed)
  parts = [tf.sigmoid(teacher.logits(ids[start:start + 8192])).numpy() for start in range(0, num_rows, 8192)]
  return OuterExamples(ids, np.concatenate(parts))


def refine_start(start: Start, previous: Memory | None, passes: Passes, teacher: Teacher, settings: DistillSettings, *,
                 seed: int, strategy: tf.distribute.Strategy | None = None, progress: Progress = silent) -> Refined:
  """The start after bi-level refinement; frozen slots keep ids, id weights and labels."""
  new = outer_examples(passes, settings.max_pool_rows, seed)
  old, old_share = None, 0.0
  if previous is not None and settings.replay_rows:
    old = replayed_examples(previous, teacher, settings.replay_rows, seed)
    old_share = previous.manifest.num_examples_seen / start.num_examples_seen
  return refine(start.slots, start.actions != Action.FREEZE, new, old, old_share, teacher.spec, start.recipe, settings,
                seed=seed, strategy=strategy, progress=progress)


def stage_seed(seed: int, span: int) -> int:
  """A seed for a stage: a fixed function of the run's seed and the span's number."""
  mixed = int(mix(np.asarray([span]), seed)[0])
  return mixed % (1 << 31)


def learning_curve(refined: Refined, num_points: int = 200) -> list[tuple[int, float]]:
  """The outer loss along the refinement, averaged over `num_points` stretches of outer steps."""
  if not len(refined.losses):
    return []
  stretches = np.array_split(np.arange(len(refined.losses)), min(num_points, len(refined.losses)))
  return [(int(stretch[-1]) + 1, float(refined.losses[stretch].mean())) for stretch in stretches
          if math.isfinite(float(refined.losses[stretch].mean()))]
