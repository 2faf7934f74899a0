"""How many examples a span must have, so that a stage can be run on it: told before anything is learned."""

from __future__ import annotations

import math

from diet_tf.distillation.budget import BudgetSettings
from diet_tf.errors import DataError


def least_examples(budget: BudgetSettings, batch_size: int) -> int:
  """The fewest examples, of all spans so far, for which the budget holds one training batch of slots.

  Args:
    budget: the budget.
    batch_size: slots of the smallest training batch, `InnerSettings.least_batch_size`.

  Raises:
    DataError: the memory never holds a batch.
  """
  if budget.max_slots is not None and budget.max_slots < batch_size:
    raise DataError("budget.max_slots", rule="the memory holds at least one training batch of slots.",
                    received=f"{budget.max_slots}, batch size {batch_size}.",
                    remedy="raise it, or lower distill.inner.batch_size.")
  # From here on upwards: what is rounded may be one off.
  number = max(1, math.floor((batch_size - 0.5) / budget.fraction) - 1)
  while budget.num_slots(number) < batch_size:
    number += 1
  return number


def check_num_examples(subject: str, num_examples: int, *, num_examples_seen: int, budget: BudgetSettings,
                       batch_size: int) -> None:
  """Refuses a span whose examples, with those seen before, are too few for one training batch of slots.

  Args:
    subject: the span, for the message.
    num_examples: number of the span's examples.
    num_examples_seen: number of examples of all spans before.
    budget: the budget.
    batch_size: slots of the smallest training batch, `InnerSettings.least_batch_size`.

  Raises:
    DataError: they are too few.
  """
  least, num_all = least_examples(budget, batch_size), num_examples + num_examples_seen
  if num_all >= least:
    return
  fraction = math.ceil(1000 * batch_size / num_all) / 1000 if num_all else math.inf
  raised = f"raise budget.fraction to {fraction:g}, " if fraction <= 1 else ""
  raise DataError(subject, rule=f"the memory holds at least one training batch of {batch_size} slots, which takes "
                  f"{least:,} examples at budget.fraction {budget.fraction:g}.",
                  received=f"{num_all:,} examples, which give {budget.num_slots(max(1, num_all)):,} slots.",
                  remedy="make spans longer (log.span_seconds, or more files a span), "
                  f"{raised}or lower distill.inner.batch_size.")
