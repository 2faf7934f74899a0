"""Efforts: named points on the curve of cost against fidelity, and what each decides where a config does not say.

A memory that was never refined orders architectures well, and costs little; the last points of recovery are what is
dear (docs/method.md, "What grows with the spans before"). One setting moves along: each effort is a row of `EFFORTS`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

EffortName = Literal["draft", "ranking", "fidelity"]


@dataclasses.dataclass(frozen=True)
class Effort:
  """What an effort decides of the refinement.

  Attributes:
    outer_steps: updates of the slots when the memory is refined; 0 never refines it.
    refine_growth: share by which the memory grows before the whole of it is refined again; 0 refines it at every span.
    rate_learning_rate: initial learning rate of the outer Adam on the recipe.
  """

  outer_steps: int
  refine_growth: float
  rate_learning_rate: float


EFFORTS: dict[EffortName, Effort] = {
    "draft": Effort(outer_steps=0, refine_growth=1.0, rate_learning_rate=0.03),
    "ranking": Effort(outer_steps=60, refine_growth=1.0, rate_learning_rate=0.03),
    "fidelity": Effort(outer_steps=200, refine_growth=1.0, rate_learning_rate=0.03),
}


def resolved_effort(name: EffortName, outer_steps: int | None, refine_growth: float | None,
                    rate_learning_rate: float | None) -> Effort:
  """The effort of that name, in which values that are given win.

  Args:
    name: key of `EFFORTS`.
    outer_steps: see `Effort`; None takes the effort's, here and below.
    refine_growth: see `Effort`.
    rate_learning_rate: see `Effort`.
  """
  effort = EFFORTS[name]
  return Effort(effort.outer_steps if outer_steps is None else outer_steps,
                effort.refine_growth if refine_growth is None else refine_growth,
                effort.rate_learning_rate if rate_learning_rate is None else rate_learning_rate)
