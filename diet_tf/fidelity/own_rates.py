"""Learning rates that members have chosen for themselves on a memory, as figures; without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from diet_tf.memory.tuning import RateFactors


@dataclasses.dataclass(frozen=True)
class OwnRates:
  """Factors of the recipe's rates that a member has chosen on a memory, and what that took beside its trainings.

  Attributes:
    overall: factor of all rates.
    linear: further factor of the rate of linear weights.
    trainings: number of trainings that choosing took.
    examples: number of slots that were trained on in these.
    flops: floating-point operations of these trainings and of judging them, estimated.
    seconds: wall time of the same, without building and tracing.
    source: "scored rows", or "slots" where the rows to choose by were drawn from the memory's own slots.
  """

  overall: float
  linear: float
  trainings: int
  examples: int
  flops: float
  seconds: float
  source: str


def rates_text(chosen: Mapping[str, OwnRates | None], *, wanted: bool) -> str:
  """Which factors the members have chosen and what it took, in a sentence, or why none has.

  Args:
    chosen: what each member has chosen, by its name.
    wanted: whether they were to choose.
  """
  found = {name: rates for name, rates in chosen.items() if rates is not None}
  if not found:
    why = "it has no scored rows to choose others by" if wanted else "panel.tune is false"
    return f"On the memory each model is trained by the recipe's learning rates: {why}."
  counts = [rates.trainings for rates in found.values()]
  listed = "; ".join(f"{name} {RateFactors(rates.overall, rates.linear)}" for name, rates in found.items())
  on = "rows drawn from its slots" if next(iter(found.values())).source == "slots" else "its scored rows"
  return (f"On the memory each model has its own factor of the recipe's learning rates, chosen on {on} by "
          f"{min(counts)} to {max(counts)} trainings, which the costs count: {listed}.")
