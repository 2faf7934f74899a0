import pytest

from diet_tf.distillation.effort import EFFORTS, Effort
from diet_tf.distillation.refinement import DistillSettings
from diet_tf.errors import ConfigError


def test_the_default_is_ranking_and_each_effort_costs_more_than_the_one_before():
  assert DistillSettings().by_effort == EFFORTS["ranking"]
  steps = [effort.outer_steps for effort in EFFORTS.values()]
  assert steps == sorted(steps)
  assert list(EFFORTS) == ["draft", "ranking", "fidelity"] and EFFORTS["draft"].outer_steps == 0


def test_values_that_are_set_win_over_the_effort():
  settings = DistillSettings(effort="fidelity", outer_steps=7, refine_growth=0.0)
  assert settings.by_effort == Effort(7, 0.0, EFFORTS["fidelity"].rate_learning_rate)
  assert DistillSettings(rate_learning_rate=0.5).by_effort == Effort(
      EFFORTS["ranking"].outer_steps, EFFORTS["ranking"].refine_growth, 0.5)


@pytest.mark.parametrize("broken", [{"outer_steps": -1}, {"refine_growth": -0.1}, {"rate_learning_rate": -1.0}])
def test_values_out_of_range_are_refused(broken):
  (name,) = broken
  with pytest.raises(ConfigError, match=f"distill.{name}.*is not negative"):
    DistillSettings(**broken)


def test_the_docstring_says_the_figures_of_the_table():
  text = " ".join(DistillSettings.__doc__.split())
  for name in ("outer_steps", "refine_growth"):
    values = [getattr(effort, name) for effort in EFFORTS.values()]
    said = f"{values[0]:g} for all" if len(set(values)) == 1 else "{:g}, {:g} or {:g}".format(*values)
    assert f"the effort's: {said}." in text
