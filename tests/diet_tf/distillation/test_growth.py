import math

from diet_tf.distillation.effort import Effort
from diet_tf.distillation.growth import Growth, growth_of
from diet_tf.memory.last_refinement import LastRefinement

QUARTER = Effort(10, 0.25, 0.03)


def test_the_first_stage_refines():
  growth = growth_of(None, 32, QUARTER)
  assert growth.light is None and growth.unrefined == LastRefinement(None, 0, 0, 32)
  assert math.isinf(growth.unrefined.growth)


def test_a_stage_refines_from_the_share_on():
  last = LastRefinement(4, 80, 1000, 12)
  assert growth_of(last, 7, QUARTER) == Growth(
      LastRefinement(4, 80, 1000, 19), "19 slots were added to the 80 that the memory had when it was last refined, at "
      "span 4: 24%, less than 25%.")
  assert growth_of(last, 8, QUARTER) == Growth(LastRefinement(4, 80, 1000, 20))


def test_without_a_share_every_stage_refines_and_nothing_is_noted():
  assert growth_of(LastRefinement(4, 80, 1000, 0), 0, Effort(10, 0.0, 0.03)) == Growth()


def test_without_outer_steps_none_does():
  assert growth_of(None, 32, Effort(0, 0.0, 0.03)) == Growth(
      LastRefinement(None, 0, 0, 32), "no outer steps are asked for.")
