"""Which examples and slots are harmful by their influence: wrong labels, bots, and what has gone out of date.

What is written names single examples by their ids, unless they are to be withheld.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from diet_tf.memory.slots import Slots
from diet_tf.report.histogram import INFLUENCE_EDGES, Histogram

# Examples and slots that are listed.
MOST_LISTED = 10


@dataclasses.dataclass(frozen=True)
class HarmfulExample:
  """An example of negative influence.

  Attributes:
    example_id: its id in the span's examples.
    label: its click, 0 or 1.
    probability: the teacher's probability of a click, in (0, 1).
    influence: its influence, below 0.
  """

  example_id: int
  label: float
  probability: float
  influence: float


@dataclasses.dataclass(frozen=True)
class HarmfulSlot:
  """A slot of the memory before the span, of negative influence on it.

  Attributes:
    slot_id: its id.
    born_span: number of the span that it was added in.
    label: its soft label, in [0, 1].
    influence: its influence, below 0.
  """

  slot_id: int
  born_span: int
  label: float
  influence: float


@dataclasses.dataclass(frozen=True)
class InfluenceDiagnosis:
  """The influences of a span's examples, and what is most harmful among them and the slots.

  Attributes:
    num_examples: number of the span's examples that are not held back.
    num_scored: number of these whose influence was computed, drawn by example id.
    examples: the scored examples of least influence, the least first; None where they are withheld, or where the
      labels are not known.
    slots: the slots of the memory before of least influence, the least first.
  """

  num_examples: int
  num_scored: int
  examples: tuple[HarmfulExample, ...] | None
  slots: tuple[HarmfulSlot, ...]


def diagnose(score_files: Iterable[str], holdback_fraction: float, slots: Slots | None, slot_influences: np.ndarray, *,
             withheld: bool) -> tuple[InfluenceDiagnosis, Histogram]:
  """The diagnosis of a span, and the distribution of the influence of its scored examples.

  Args:
    score_files: files of the span's scores.
    holdback_fraction: share of the examples that is held back; the reference set is no part of the diagnosis.
    slots: slots of the memory before the span; None in the first stage.
    slot_influences: `[num_slots]` their influences.
    withheld: whether no single example may be shown.
  """
  # They bring TensorFlow along, which a report that is read does without.
  from diet_tf.distillation.scoring import read_scores
  from diet_tf.log.examples import is_held_back

  histogram, num_examples, num_scored = Histogram.of(np.zeros(0), INFLUENCE_EDGES), 0, 0
  least: list[HarmfulExample] = []
  labels_known = True
  for path in score_files:
    scores = read_scores(path)
    kept = ~np.asarray(is_held_back(scores["example_ids"], holdback_fraction))
    scored = {name: column[kept & scores["is_scored"]] for name, column in scores.items()}
    num_examples, num_scored = num_examples + int(kept.sum()), num_scored + len(scored["influences"])
    histogram += Histogram.of(scored["influences"], INFLUENCE_EDGES)
    labels_known = labels_known and "labels" in scored
    if not withheld and labels_known:
      least = sorted(least + _harmful_examples(scored), key=_by_influence)[:MOST_LISTED]
  examples = tuple(least) if not withheld and labels_known else None
  return InfluenceDiagnosis(num_examples, num_scored, examples, _harmful_slots(slots, slot_influences)), histogram


def _by_influence(example: HarmfulExample) -> tuple[float, int]:
  return example.influence, example.example_id


def _harmful_examples(scored: Mapping[str, np.ndarray]) -> list[HarmfulExample]:
  found = []
  for row in _least(scored["influences"], scored["example_ids"]):
    probability = 1 / (1 + np.exp(-float(scored["teacher_logits"][row])))
    found.append(HarmfulExample(int(scored["example_ids"][row]), float(scored["labels"][row]), float(probability),
                                float(scored["influences"][row])))
  return found


def _harmful_slots(slots: Slots | None, influences: np.ndarray) -> tuple[HarmfulSlot, ...]:
  return () if slots is None else tuple(
      HarmfulSlot(int(slots.slot_ids[row]), int(slots.born_spans[row]), float(slots.labels[row]),
                  float(influences[row])) for row in _least(influences, slots.slot_ids))


def _least(influences: np.ndarray, ids: np.ndarray) -> list[int]:
  """The rows of the least influences below 0, at most `MOST_LISTED`; of equal ones those of the lower ids."""
  order = np.lexsort((ids, influences))[:MOST_LISTED]
  return order[influences[order] < 0].tolist()
