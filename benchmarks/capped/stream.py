"""Several rules over one log: each keeps a memory of its own, all hear the same teacher and get the same new slots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from benchmarks.capped.logs import SpannedLog
from benchmarks.capped.rules import RULES
from benchmarks.capped.training import SlotTraining
from diet_tf import metrics
from diet_tf.distillation.addressing import count_ids
from diet_tf.distillation.centres import find_centres
from diet_tf.distillation.clusters import TeacherSpace, nearest_centre
from diet_tf.distillation.influence import InfluenceScorer, slot_features
from diet_tf.distillation.refinement import replay
from diet_tf.distillation.squash import SquashSettings, squash
from diet_tf.distillation.teacher import Teacher, TeacherSettings
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import is_held_back, rows_dataset
from diet_tf.log.hashing import mix
from diet_tf.memory.slots import Slots

PANEL = ("lr", "fm", "dnn", "dcn_v2")
PROXIES = ("dnn", "fm")
NUM_WEIGHTS = 1
MAX_SLOTS = 384
NUM_NEW = 64
GROUP_SLOTS = 16
OUTER_ROWS = 2048
_SETTINGS = SquashSettings()


@dataclasses.dataclass(frozen=True)
class Judged:
  """What a memory was worth after a span.

  Attributes:
    rule: name of the rule.
    span: number of the span.
    divergence: mean over the panel of KL from the teacher on the next span, in nats.
    auc: the panel's mean AUC on the clicks of the next span.
    recovery: mean over the panel of (AUC - 0.5) / (the teacher's AUC - 0.5).
    log_loss: the panel's mean cross-entropy with the clicks of the next span, in nats.
  """

  rule: str
  span: int
  divergence: float
  auc: float
  recovery: float
  log_loss: float


class Tools:
  """What is traced once for a log.

  Args:
    log: the log.
  """

  def __init__(self, log: SpannedLog) -> None:
    self.max_ids = log.spec.ids_per_slot(_SETTINGS.ids_per_slot)
    shape = _full_slots(self.max_ids)
    self.trainings = {member: SlotTraining(member, log.spec, shape) for member in PANEL}


def _full_slots(max_ids: tuple[int, ...]) -> Slots:
  """As many slots as are ever trained on, with all the ids that they may have."""
  num_slots = 2 * MAX_SLOTS
  places = np.arange(max(max_ids))[None, :] < np.array(max_ids)[:, None]
  weights = places / places.sum(axis=1, keepdims=True)
  return Slots(np.zeros((num_slots, *weights.shape)), np.repeat(weights[None], num_slots, axis=0),
               *(np.ones(num_slots) for _ in range(6)))


@dataclasses.dataclass
class StageEvidence:
  """The evidence of one stage of one rule, see `diet_tf`'s rules; computed when asked for."""

  old: Slots
  new: Slots
  span: int
  seed: int
  max_ids: tuple[int, ...]
  stage: TaughtSpan
  tools: Tools

  @property
  def pool(self) -> Slots:
    """Old slots and new ones, each part weighing by its number."""
    return Slots.concatenate([part.replace(sample_weights=part.sample_weights / part.sample_weights.mean())
                              for part in (self.old, self.new)])

  def influences(self) -> np.ndarray:
    """See `Evidence`."""
    return self.stage.influences(self.pool)

  def overlaps(self) -> np.ndarray:
    """See `Evidence`."""
    return self.stage.counts.overlap(self.old)

  def positions(self) -> np.ndarray:
    """See `Evidence`."""
    return self.stage.places(self.pool)

  def removal_costs(self, without: np.ndarray | None = None, proxies: Sequence[str] | None = None,
                    rows: str = "span") -> np.ndarray:
    """See `Evidence`."""
    pool = self.pool
    if without is not None:
      pool = pool.replace(sample_weights=np.where(without, 0, pool.sample_weights))
    judged = {"span": self.stage.outer, "held_back": self.stage.held_back, "future": self.stage.future}.get(rows)
    if judged is None:
      judged = self.stage.with_replay(self.old, float(rows.removeprefix("replay ")), self.seed)
    return np.mean([self.tools.trainings[member].removal_costs(pool, self.seed + 100, judged)
                    for member in proxies or PROXIES], axis=0)

  def retrained_costs(self) -> np.ndarray:
    """See `Evidence`."""
    judged = self.stage.held_back
    order = np.argsort(self.removal_costs(rows="held_back")[:len(self.old)], kind="stable")
    result = np.zeros(len(self.old))
    for group in np.array_split(order, len(order) // GROUP_SLOTS):
      weights = np.array(self.pool.sample_weights)
      weights[group] = 0
      result[group] = self._loss(self.pool.replace(sample_weights=weights), judged)
    return result

  def _loss(self, slots: Slots, rows: EncodedRows) -> float:
    return _divergence(rows.labels, self.tools.trainings[PROXIES[0]].logits(slots, self.seed, rows.ids))


def _divergence(probabilities: np.ndarray, logits: np.ndarray) -> float:
  """The mean of KL(probability || logit) in nats."""
  p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
  cross = np.logaddexp(0, logits.astype(np.float64)) - p * logits
  return float(np.mean(cross + p * np.log(p) + (1 - p) * np.log(1 - p)))


class TaughtSpan:
  """A span after the teacher's pass.

  Args:
    teacher: the teacher after the pass over the rows that are not held back.
    rows: these rows, with the teacher's logits.
    held_back: the others, with clicks and the teacher's logits before it saw them.
    future: a part of the next span, labelled alike, which no rule but an oracle may see.
    tools: what was traced before.
    seed: seed of the clusters.
    span: number of the span.
  """

  def __init__(self, teacher: Teacher, rows: EncodedRows, held_back: EncodedRows, future: EncodedRows, tools: Tools,
               seed: int, span: int) -> None:
    self.rows, self.held_back, self.future = rows, _softly(held_back), future
    self.held_back_clicks, self.counts = held_back.labels, count_ids(teacher.spec.num_ids, [rows.ids])
    self._teacher, self._tools, self._seed, self._span = teacher, tools, seed, span
    order = np.argsort(mix(rows.example_ids, seed + 1))[:OUTER_ROWS]
    self.outer = rows.take(order).with_columns(labels=_probabilities(rows.teacher_logits[order]))
    self._member = teacher.load_checkpoint(teacher.checkpoints[-1])
    self._space = TeacherSpace(self._member, rows, _SETTINGS.num_components)
    self._points = self._space(rows)
    self._new: dict[int, Slots] = {}

  def new_slots(self, num_slots: int) -> Slots:
    """At most so many slots squashed from the span."""
    if num_slots not in self._new:
      centres = find_centres(self._points, np.ones(len(self._points)), num_slots,
                            num_iterations=_SETTINGS.num_iterations, seed=self._seed)
      slots = squash(lambda: [self.rows], nearest_centre(self._space, centres), num_slots, self._tools.max_ids,
                     _SETTINGS, span=self._span, first_slot_id=self._span << 20, seed=self._seed)
      self._new[num_slots] = slots.take(np.argsort(mix(slots.slot_ids, self._seed), kind="stable"))
    return self._new[num_slots]

  def influences(self, slots: Slots) -> np.ndarray:
    """`[num_slots]` at the teacher's checkpoints, with the held-back clicks as reference."""
    teacher, total = self._teacher, np.zeros(len(slots))
    held_back = {"ids": tf.constant(self.held_back.ids[..., None]),
                 "weights": tf.ones([*self.held_back.ids.shape, 1])}
    clicks = tf.constant(self.held_back_clicks)
    # The last one is loaded last: it is the space of the clusters.
    for checkpoint in teacher.checkpoints:
      scorer = InfluenceScorer(teacher.load_checkpoint(checkpoint), teacher.settings.learning_rate)
      scorer.fit_reference([(held_back, clicks, tf.ones_like(clicks))])
      total += scorer.score(slot_features(slots), tf.constant(slots.labels))[0]
    return total

  def with_replay(self, slots: Slots, share: float, seed: int) -> EncodedRows:
    """Rows of the span, and that share of rows drawn from slots, all with the teacher's probabilities as labels."""
    num_replayed = round(share * OUTER_ROWS)
    ids = replay(slots, num_replayed, seed)
    labels = _probabilities(_logits(self._teacher, EncodedRows(ids)))
    new = self.outer.take(slice(0, OUTER_ROWS - num_replayed))
    return EncodedRows(np.concatenate([new.ids, ids]), np.concatenate([new.labels, labels]))

  def places(self, slots: Slots) -> np.ndarray:
    """`[num_slots, d]` places of bags in the teacher's space."""
    space = self._space
    embeddings, _ = self._member.embed(slot_features(slots))
    flat = embeddings.numpy().reshape(len(slots), -1)
    labels = np.clip(slots.labels, 1e-4, 1 - 1e-4)
    logits = np.log(labels / (1 - labels))[:, None] * space._logit_scale
    return np.concatenate([((flat - space._mean) * space._scale) @ space._components, logits], axis=1)


def _probabilities(logits: np.ndarray) -> np.ndarray:
  return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def taught_spans(log: SpannedLog, tools: Tools, seed: int) -> Iterator[tuple[int, TaughtSpan, EncodedRows, float]]:
  """Per span: its number, the span after the teacher's pass, the rows to judge on, and the teacher's AUC on these.

  The rows to judge on have clicks, and the logits of the teacher after the span, which has not seen them.
  """
  teacher = Teacher(log.spec, TeacherSettings(), seed=1000 * seed)
  for span, rows in enumerate(log.spans[:-1]):
    held = np.asarray(is_held_back(rows.example_ids, 0.1))
    kept, held_back = rows.take(~held), rows.take(held)
    teacher.advance(rows_dataset(kept, teacher.settings.batch_size), len(kept))
    kept = kept.with_columns(teacher_logits=_logits(teacher, kept), influences=np.zeros(len(kept), np.float32))
    held_back = held_back.with_columns(teacher_logits=_logits(teacher, held_back))
    later = log.spans[span + 1]
    later = later.with_columns(teacher_logits=_logits(teacher, later))
    is_judged = mix(later.example_ids, 77) % np.uint64(4) > 0
    future = later.take(~is_judged)
    judged = later.take(is_judged)
    taught = TaughtSpan(teacher, kept, held_back, _softly(future), tools, seed * 100 + span, span)
    yield span, taught, judged, metrics.auc(judged.labels, judged.teacher_logits)
    teacher.advance(rows_dataset(held_back, teacher.settings.batch_size), len(held_back), keep_checkpoints=False)


def _softly(rows: EncodedRows) -> EncodedRows:
  return rows.with_columns(labels=_probabilities(rows.teacher_logits))


def _logits(teacher: Teacher, rows: EncodedRows) -> np.ndarray:
  return np.concatenate([teacher.logits(rows.ids[start:start + 4096]).numpy() for start in range(0, len(rows), 4096)])


def run(log: SpannedLog, tools: Tools, names: Sequence[str], seed: int,
        tell: Callable[[Judged], None]) -> None:
  """Runs rules over the log, and judges their memories a few times after the cap is reached.

  Args:
    log: the log.
    tools: what is traced once for it.
    names: names of rules of `RULES`; "name @ 32" gives a span 32 places in place of `NUM_NEW`, and "name @ mass" a
      share by its rows among all that were seen.
    seed: seed of the teacher, clusters, rules and initial weights.
    tell: callback that is told each figure.
  """
  memories: dict[str, Slots] = {}
  num_spans = len(log.spans) - 1
  judged_spans = {round(log.num_free_spans - 1 + share * (num_spans - log.num_free_spans))
                  for share in (0.25, 0.5, 0.75, 1)}
  for span, taught, judged, teacher_auc in taught_spans(log, tools, seed):
    for name in names:
      memories[name] = _next(name, memories.get(name), taught, tools, log, span, seed)
      if span in judged_spans:
        tell(judge(name, span, memories[name], judged, teacher_auc, tools, seed))


def first_memory(log: SpannedLog, tools: Tools, seed: int) -> tuple[Slots, EncodedRows]:
  """The memory when its cap is reached, and all rows so far with the teacher's probabilities as labels."""
  memory, parts = None, []
  for span, taught, _, _ in taught_spans(log, tools, seed):
    memory = _next("random", memory, taught, tools, log, span, seed)
    parts.append(_softly(taught.rows))
    if span == log.num_free_spans - 1:
      break
  assert memory is not None
  return memory, EncodedRows.concatenate(parts)


def _next(name: str, old: Slots | None, taught: TaughtSpan, tools: Tools, log: SpannedLog, span: int,
          seed: int) -> Slots:
  rule, _, places = name.partition(" @ ")
  if span < log.num_free_spans:
    end, start = (round(MAX_SLOTS * number / log.num_free_spans) for number in (span + 1, span))
    new = taught.new_slots(MAX_SLOTS - (0 if old is None else len(old)) if span == log.num_free_spans - 1
                           else end - start)
    return new if old is None else Slots.concatenate([old, new])
  num_new = (round(MAX_SLOTS / (span + 1)) if places == "mass" else int(places or NUM_NEW))
  assert old is not None
  evidence = StageEvidence(old, taught.new_slots(num_new), span, seed * 1000 + span, tools.max_ids, taught, tools)
  return RULES[rule](evidence)


def judge(name: str, span: int, slots: Slots, rows: EncodedRows, teacher_auc: float, tools: Tools,
          seed: int) -> Judged:
  """What a memory is worth on rows with clicks and the teacher's logits."""
  slots = slots.replace(sample_weights=slots.sample_weights / slots.sample_weights.mean())
  probabilities = _probabilities(rows.teacher_logits)
  found = []
  for member in PANEL:
    for index in range(NUM_WEIGHTS):
      logits = tools.trainings[member].logits(slots, 10 * seed + index, rows.ids)
      auc = metrics.auc(rows.labels, logits)
      found.append((_divergence(probabilities, logits), auc, (auc - 0.5) / (teacher_auc - 0.5),
                    metrics.log_loss(rows.labels, logits)))
  return Judged(name, span, *np.mean(found, axis=0).tolist())
