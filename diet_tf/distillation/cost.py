"""What the parts of a stage cost, in floating-point operations of forward and backward passes.

The operations of a forward pass are counted as those of the panel's trainings are (`diet_tf.training.flops`), so that a
stage can be set against them: optimisers, look-ups in tables and input pipelines count on neither side. With `F` the
operations of one example forwards,

- a training takes `3 F` an example: forwards, and back by weights and by inputs;
- a score at a checkpoint takes `2 F`: forwards, and back to the embeddings alone;
- an inner step of refinement takes `12 F` a slot: `3 F` forwards, the same again on the way back, where the gradient is
  made anew, and `6 F` for the product of its derivative with the adjoints (reverse mode takes twice what it reverses);
  where the weights before each step are not kept, but the steps made again, `3 F` more;
- the outer batch takes `3 F` an example.

Wall time has more to it, of which none is counted here: tracing, small operations, Adam's moments and their adjoints,
reading and writing.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from diet_tf.distillation.centres import (
  MAX_EXACT_CENTRES,
  NUM_JOINT_ITERATIONS,
  NUM_SEARCHED_CELLS,
  POINTS_PER_CELL,
)
from diet_tf.distillation.influence import MAX_REFERENCE_EXAMPLES
from diet_tf.distillation.settings import StageSettings
from diet_tf.distillation.squash import SquashSettings
from diet_tf.log.features import FeatureSpec
from diet_tf.log.row_layout import RowLayout
from diet_tf.memory.slots import Slots
from diet_tf.models.member_checks import num_weights
from diet_tf.training.bilevel import KEPT_BYTES
from diet_tf.training.compact import CompactIds
from diet_tf.training.flops import INPUT_GRADIENT_FACTOR, TRAINING_FACTOR, forward_flops
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.memory_needs import BYTES_PER_NUMBER

# Of a forward pass, for a slot in an inner step: the step, the same gradient again, and its derivative's product.
INNER_STEP_FACTOR = TRAINING_FACTOR + TRAINING_FACTOR + 2 * TRAINING_FACTOR
# What the parts of a stage are called, where their operations and where their seconds are noted.
SCORES_PART, ADDRESSING_PART, REFINEMENT_PART, GATE_PART = "teacher and scores", "addressing", "refinement", "gate"


def training_flops(forward: float, num_examples: float) -> float:
  """Operations of training on some examples: `3 F` each.

  Args:
    forward: operations of one example forwards, F.
    num_examples: number of examples, all passes together.
  """
  return TRAINING_FACTOR * forward * num_examples


def teacher_flops(members: Iterable[float], num_rows: int) -> float:
  """Operations of the teacher's pass over a span: each member learns from each row, those held back included.

  Args:
    members: operations of a row forwards, of each member.
    num_rows: number of rows of the span.
  """
  return sum(training_flops(forward, num_rows) for forward in members)


def scoring_flops(members: Sequence[float], slots: Sequence[float], num_checkpoints: int, *, num_rows: int,
                  num_influences: int, num_reference_rows: int, num_slots: int) -> float:
  """Operations of scoring a span: the logit of the whole teacher, and `2 F` of the first member at each checkpoint.

  The influence of some rows, and of the old slots, is computed once; reference gradients are measured on rows that are
  held back, and on the slots once more. The whole teacher's logits of the slots are computed before and after its pass.

  Args:
    members: operations of a row forwards, of each member of the teacher.
    slots: operations of a slot forwards, of each member of the teacher.
    num_checkpoints: number of checkpoints.
    num_rows: number of rows whose logit is computed.
    num_influences: number of rows whose influence is computed.
    num_reference_rows: number of rows of the reference set.
    num_slots: number of slots of the memory before.
  """
  at_checkpoint = (num_influences + num_reference_rows) * members[0] + 2 * num_slots * slots[0]
  return INPUT_GRADIENT_FACTOR * num_checkpoints * at_checkpoint + num_rows * sum(members) + 2 * num_slots * sum(slots)


def squash_flops(member: float, num_coordinates: int, settings: SquashSettings, *, num_rows: int,
                 num_clusters: int) -> float:
  """Operations of clustering a span in the teacher's space.

  Each row of the sample takes `2 F` for the Jacobian, `2 D^2` for the covariance of its D coordinates, and, as each row
  of the span does, `2 D C` for its C components. A distance (`num_distances`) takes `2 (C + 1)`.

  Args:
    member: operations of a row forwards, of the teacher's first member.
    num_coordinates: fields times the width of an embedding, D.
    settings: settings of the squash.
    num_rows: number of rows of the span that are not held back.
    num_clusters: number of clusters; 0 where no slot is added.
  """
  if settings.clusters == "random" or not num_clusters:
    return 0.0
  num_components = min(settings.num_components, num_coordinates)
  sample = min(num_rows, settings.num_sample_rows(num_clusters))
  fitted = INPUT_GRADIENT_FACTOR * member + 2 * num_coordinates**2
  placed = 2 * num_coordinates * num_components
  compared = num_distances(min(num_clusters, sample), sample, num_rows, settings.num_iterations)
  return sample * fitted + (sample + num_rows) * placed + 2 * (num_components + 1) * compared


def num_distances(num_centres: int, sample: int, num_rows: int, num_iterations: int) -> float:
  """The number of distances between a row and a centre: of the sample in each iteration, and of each row of the span.

  With two levels (`diet_tf.distillation.centres`), of `c = sqrt(k)` cells for k centres: the coarse centres are fitted
  on a part of the sample, the centres of each cell among its own rows, and then, as for each row of the span, looked
  for in some cells.

  Args:
    num_centres: number of centres, k.
    sample: number of rows that they are fitted on.
    num_rows: number of rows of the span that are assigned to them.
    num_iterations: Lloyd iterations, on each level.
  """
  if num_centres <= MAX_EXACT_CENTRES:
    return float(num_centres * (num_iterations * sample + num_rows))
  cells = round(num_centres**0.5)
  coarse = (num_iterations * min(sample, POINTS_PER_CELL * cells) + sample) * cells
  within = num_iterations * sample * num_centres / cells
  looked_for = cells + min(NUM_SEARCHED_CELLS, cells) * num_centres / cells
  return coarse + within + (NUM_JOINT_ITERATIONS * sample + num_rows) * looked_for


def outer_step_flops(row: float, slot: float, num_slot_passes: int, outer_batch_size: int, *,
                     made_again: bool = False) -> float:
  """Operations of one outer step with one proxy: an inner training, the outer batch, and the way back through both.

  Args:
    row: operations of the proxy on a row forwards.
    slot: those on a slot.
    num_slot_passes: number of slots times epochs: the slots of all inner steps together.
    outer_batch_size: examples of the outer batch.
    made_again: whether steps are made again on the way back, see `diet_tf.training.bilevel`.
  """
  per_slot = INNER_STEP_FACTOR + (TRAINING_FACTOR if made_again else 0.0)
  return per_slot * slot * num_slot_passes + training_flops(row, outer_batch_size)


def gate_flops(members: Iterable[tuple[float, float]], num_seeds: int, slot_passes: Iterable[int],
               num_rows: int) -> float:
  """Operations of the gate: each member is trained on each candidate from each seed, and judged on the rows.

  Args:
    members: operations of a slot and of a row forwards, of each member.
    num_seeds: initial weights per member.
    slot_passes: per candidate, the number of its slots times the epochs of its recipe.
    num_rows: number of held-back rows that are predicted.
  """
  passes = list(slot_passes)
  return num_seeds * sum(sum(training_flops(slot, count) + row * num_rows for count in passes)
                         for slot, row in members)


@dataclasses.dataclass(frozen=True)
class StageWork:
  """How much of everything a stage has computed on.

  Attributes:
    num_rows: rows of the span, those held back included.
    num_held_back: rows that are held back.
    num_scored: rows whose logits by the teacher are computed.
    num_old_slots: slots of the memory before; 0 in the first stage.
    num_added: slots that were squashed from the span.
    slots: slots that were refined.
    proxies: name of the proxy of each outer step.
    slot_passes: per candidate of the gate, the number of its slots times the epochs of its recipe.
    num_judged: held-back rows that the gate judged on.
    num_carried: carried rows, which the teacher labels where the memory is refined.
    num_devices: devices that each outer step trained a proxy on.
    num_influences: rows whose influence is computed.
    num_weighed: slots, old and new, whose cost of removal was measured.
  """

  num_rows: int
  num_held_back: int
  num_scored: int
  num_old_slots: int
  num_added: int
  slots: Slots
  proxies: Sequence[str]
  slot_passes: Sequence[int]
  num_judged: int
  num_carried: int = 0
  num_devices: int = 1
  num_influences: int = 0
  num_weighed: int = 0


def stage_flops(work: StageWork, spec: FeatureSpec, settings: StageSettings) -> dict[str, float]:
  """Operations of each part of a stage, by the names that its seconds are noted under.

  Args:
    work: how much of everything the stage has computed on.
    spec: feature spec of the rows.
    settings: settings of the stage.
  """
  shape = (work.slots.max_ids_per_field, work.slots.max_ids)
  teacher = [forward_flops(name, spec.names) for name in settings.teacher.members]
  layout = RowLayout.of(spec)
  rows = [member.of_rows(layout) for member in teacher]
  reference = teacher[0]
  # What is scored and squashed is padded; only refinement and gate cut the padding away.
  padded_slots = [member.bag + member.place * (work.slots.max_ids - 1) for member in teacher]
  scores = teacher_flops(rows, work.num_rows) + scoring_flops(
      rows, padded_slots, settings.teacher.num_checkpoints, num_rows=work.num_scored,
      num_influences=work.num_influences, num_reference_rows=min(work.num_held_back, MAX_REFERENCE_EXAMPLES),
      num_slots=work.num_old_slots)
  addressing = squash_flops(reference.of_rows(layout), reference.num_coordinates, settings.squash,
                            num_rows=work.num_rows - work.num_held_back, num_clusters=work.num_added)
  distill = settings.distill
  # Replayed and carried rows are labelled by the teacher.
  labelled = (distill.replay_rows if work.num_old_slots else 0) + work.num_carried
  refinement = sum(rows) * labelled if work.proxies else 0.0
  for name, count in collections.Counter(work.proxies).items():
    proxy = forward_flops(name, spec.names)
    refinement += count * work.num_devices * outer_step_flops(
        proxy.of_rows(layout), proxy.slot(*shape), len(work.slots) * distill.inner.epochs, distill.outer_batch_size,
        made_again=_are_steps_made_again(name, spec, work.slots, distill.inner))
  judges = [forward_flops(name, spec.names) for name in settings.gate.members]
  on_judges = [(judge.slot(*shape), judge.of_rows(layout)) for judge in judges]
  gate = gate_flops(on_judges, settings.gate.num_seeds, work.slot_passes, work.num_judged)
  if work.num_weighed:
    num_slot_passes = work.num_weighed * distill.inner.epochs
    addressing += sum(outer_step_flops(row, slot, num_slot_passes, distill.outer_batch_size) for slot, row in on_judges)
  return {SCORES_PART: scores, ADDRESSING_PART: addressing, REFINEMENT_PART: refinement, GATE_PART: gate}


def _are_steps_made_again(member: str, spec: FeatureSpec, slots: Slots, inner: InnerSettings) -> bool:
  """Whether the weights before each step of an inner training are too many to be kept."""
  compact = CompactIds.of(spec, slots)
  num_steps = inner.num_steps(len(slots))
  # More than an embedding of 64 and a network of a million weights is what no proxy has: few slots need no count.
  if num_steps * BYTES_PER_NUMBER * (64 * sum(compact.spec.num_ids) + 1_000_000) <= KEPT_BYTES:
    return False
  count = num_weights(member, compact.spec)
  return count is not None and num_steps * BYTES_PER_NUMBER * count > KEPT_BYTES
