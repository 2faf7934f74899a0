"""What a refinement will take in memory and time, told before it begins; more memory than there is refuses it.

Memory is counted: what is allocated follows from the slots, the ids in them and the weights of the proxies. Time is an
estimate, by rates that were measured on two cores of a server with four proxies on 544 slots of 36 fields.
"""

from __future__ import annotations

import dataclasses
import math

from diet_tf.distillation.refinement import DistillSettings
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.memory.slots import Slots
from diet_tf.models.member_checks import num_weights
from diet_tf.training.bilevel import KEPT_BYTES
from diet_tf.training.compact import CompactIds
from diet_tf.training.memory_needs import BYTES_PER_NUMBER, gigabytes

# A process with TensorFlow, TFX and Beam, before it holds a table.
PROCESS_BYTES = 800_000_000
# Of each proxy: its weights and their moments.
_PROXY_COPIES = 3
# Of the one whose turn it is: shifted initial weights, the moments and adjoints of all three in the steps backwards
# before and after, and what is on the way.
_TURN_COPIES = 14
# Of the ids and id weights of the slots: what was read, its compact form, the learned tensors with moments and sums,
# what a step makes of them, and gradients.
_SLOT_COPIES = 22
# Seconds of an outer step of one proxy: of each inner step, of each of its weights in it, and of each place of its
# batch; and of tracing, once a process and proxy.
_SECONDS_PER_STEP = 1.5e-3
_SECONDS_PER_WEIGHT = 1e-8
_SECONDS_PER_PLACE = 2.5e-7
_SECONDS_OF_TRACING = 3.0


@dataclasses.dataclass(frozen=True)
class RefinementNeeds:
  """What a refinement will take.

  Attributes:
    num_slots: slots that are refined.
    num_fields: fields of a slot.
    num_ids: distinct ids in them, over all fields.
    num_weights: weights of the largest proxy; 0 where none can be counted.
    num_steps: inner steps of a training.
    outer_steps: outer steps.
    num_bytes: bytes in memory at the peak.
    seconds: estimate of the wall time on two cores.
  """

  num_slots: int
  num_fields: int
  num_ids: int
  num_weights: int
  num_steps: int
  outer_steps: int
  num_bytes: int
  seconds: float

  def __str__(self) -> str:
    return (f"refining {self.num_slots:,} slots of {self.num_fields} fields with {self.num_ids:,} ids, in "
            f"{self.outer_steps:,} outer steps through trainings of {self.num_steps:,} steps and proxies of up to "
            f"{self.num_weights:,} weights, will take about {gigabytes(self.num_bytes)} of memory and, by an estimate "
            f"for two cores, {max(1, round(self.seconds / 60)):,} min.")


def refinement_needs(spec: FeatureSpec, settings: DistillSettings, slots: Slots) -> RefinementNeeds:
  """What the refinement of slots will take.

  Args:
    spec: feature spec of the slots.
    settings: settings of the refinement.
    slots: slots that it begins with, whole batches of them.
  """
  compact = CompactIds.of(spec, slots)
  found = {name: num_weights(name, compact.spec) for name in dict.fromkeys(settings.proxies)}
  counts = {name: count for name, count in found.items() if count is not None}
  largest, num_steps = max(counts.values(), default=0), settings.inner.num_steps(len(slots))
  segment = math.ceil(math.sqrt(num_steps))
  keeps_each_step = num_steps * BYTES_PER_NUMBER * largest <= KEPT_BYTES
  stored = num_steps + 2 * segment if keeps_each_step else 4 * segment
  numbers = (sum(counts.values()) * (settings.num_initialisations + _PROXY_COPIES) + largest * (stored + _TURN_COPIES)
             + slots.ids.size * _SLOT_COPIES)
  places = settings.inner.batch_size_for(len(slots)) * sum(slots.max_ids_per_field)
  # Where steps are made again, a step forwards more: a third of one forwards and backwards.
  per_step = (1 if keeps_each_step else 4 / 3) * (
      _SECONDS_PER_STEP + _SECONDS_PER_PLACE * places
      + _SECONDS_PER_WEIGHT * sum(counts.get(name, largest) for name in settings.proxies) / len(settings.proxies))
  seconds = settings.by_effort.outer_steps * num_steps * per_step + _SECONDS_OF_TRACING * len(found)
  return RefinementNeeds(len(slots), len(spec.fields), sum(map(len, compact.occurring)), largest, num_steps,
                         settings.by_effort.outer_steps, PROCESS_BYTES + BYTES_PER_NUMBER * numbers, seconds)


def require_memory_for_proxies(needs: RefinementNeeds, limit_bytes: int | None) -> None:
  """Refuses a refinement that needs more memory than there is.

  Args:
    needs: what it needs.
    limit_bytes: the memory that there is; None checks nothing.

  Raises:
    ConfigError: it is not enough.
  """
  if limit_bytes is not None and needs.num_bytes > limit_bytes:
    raise ConfigError("distill.proxies", rule="what refinement holds of slots and proxies fits into memory.",
                      received=f"{needs.num_weights:,} weights for {needs.num_steps:,} steps on {needs.num_slots:,} "
                      f"slots, {gigabytes(needs.num_bytes)} with all that is kept; there are {gigabytes(limit_bytes)}.",
                      remedy="lower budget.max_slots, squash.ids_per_slot or distill.num_initialisations, or use "
                      "proxies with a smaller embedding_dim.")
