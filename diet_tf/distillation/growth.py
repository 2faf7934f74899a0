"""When the whole of a memory is refined again: once it has grown by a share, as a log-structured store compacts.

With any growth refinements come ever more rarely, and the work of all of them together is a
constant per row of the log. The stages in between are light: their new slots enter as they were squashed.
"""

from __future__ import annotations

import dataclasses

from diet_tf.distillation.effort import Effort
from diet_tf.memory.last_refinement import LastRefinement


@dataclasses.dataclass(frozen=True)
class Growth:
  """Whether a stage refines the memory.

  Attributes:
    unrefined: what the memory notes of its last refinement if this stage does not refine it; None where every stage
      does, so that nothing is noted.
    light: why the stage does not refine it, as a sentence; None where it does.
  """

  unrefined: LastRefinement | None = None
  light: str | None = None


def growth_of(last: LastRefinement | None, num_added: int, effort: Effort) -> Growth:
  """Whether a stage refines the memory.

  Args:
    last: what the memory before the stage notes; None in the first stage.
    num_added: number of slots that the stage adds, in the places of old ones too.
    effort: what was asked for.
  """
  before = last or LastRefinement(None, 0, 0, 0)
  now = dataclasses.replace(before, num_added=before.num_added + num_added)
  if not effort.outer_steps:
    return Growth(now, "no outer steps are asked for.")
  if not effort.refine_growth:
    return Growth()
  if now.growth >= effort.refine_growth:
    return Growth(now)
  return Growth(now, f"{now.num_added:,} slots were added to the {now.num_slots:,} that the memory had when it was "
                f"last refined, at span {now.span}: {now.growth:.0%}, less than {effort.refine_growth:.0%}.")
