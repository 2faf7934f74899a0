"""Labels of unrefined slots go with the teacher: what it learns from a span changes what it would say of earlier ones.

A slot is squashed with the labels of the teacher of its own span, which had seen less of the log. Rows of earlier spans
are not read again, but the teacher answers for the slots themselves: by as much as its pass over a span raises its
logit of a slot's bags, the logit of the slot's label rises too. Refined labels stay: they were learned for what the
training on all slots makes of them, and are no probabilities of the teacher any more.
"""

from __future__ import annotations

import numpy as np

from diet_tf.distillation.learned_memory import MAX_LABEL_LOGIT
from diet_tf.memory.slots import Slots
from diet_tf.pointwise_metrics import click_probabilities


def following(slots: Slots, drifts: np.ndarray) -> Slots:
  """The slots with labels `sigmoid(logit(label) + drift)`.

  A drift takes no label beyond the bound of a refined one, `MAX_LABEL_LOGIT`; a label that lies there already comes no
  farther. Labels of 0 and 1, and those without a drift, are left as they are.

  Args:
    slots: slots of the memory before a span.
    drifts: `[num_slots]` by how much the teacher's logit of each slot rose.
  """
  labels = slots.labels.astype(np.float64)
  with np.errstate(divide="ignore"):
    logits = np.log(labels) - np.log1p(-labels)
  moved = np.clip(logits + drifts, np.minimum(logits, -MAX_LABEL_LOGIT), np.maximum(logits, MAX_LABEL_LOGIT))
  return slots.replace(labels=np.where(drifts == 0, labels, click_probabilities(moved)))
