"""What the benchmark must reach: a figure at its limit is enough, one beyond it is not."""

import pytest

from benchmarks.fidelity.bars import bars

# Everything at its bar.
AT_BAR = {"distillation_passes_flops": 12.0, "distillation_passes_wall": 25.0, "memory_training_passes_flops": 0.04,
          "memory_training_passes_wall": 0.08, "break_even_trainings": 30.0, "break_even_against_rival": 80.0,
          "break_even_against_rival_wall": 200.0, "agreement": 0.92, "regret": 0.0010, "mean_recovery": 0.91,
          "min_recovery": 0.86}
AT_LEAST = ("agreement", "mean_recovery", "min_recovery")


def scaled(least, most):
  return {name: value * (least if name in AT_LEAST else most) for name, value in AT_BAR.items()}


def test_a_figure_at_its_limit_is_met_and_one_beyond_is_not():
  assert [row.bar for row in bars(AT_BAR)] == list(AT_BAR) and all(row.met for row in bars(AT_BAR))
  assert not any(row.met for row in bars(scaled(0.999, 1.001)))
  assert all(row.met for row in bars(scaled(1.01, 0.9)))


def test_an_aim_lies_beyond_its_bar():
  assert not any(row.aim_met for row in bars(AT_BAR))
  found = {row.bar: row for row in bars({**AT_BAR, "agreement": 0.95, "break_even_trainings": 12.0})}
  assert found["agreement"].aim_met and found["break_even_trainings"].aim_met
  assert not found["regret"].aim_met


@pytest.mark.parametrize("measured", [{}, dict.fromkeys(AT_BAR)])
def test_what_was_not_measured_meets_nothing(measured):
  assert not any(row.met or row.aim_met for row in bars(measured))


def test_development_days_have_a_bar_of_their_own_for_the_agreement():
  rows = {row.bar: row for row in bars(AT_BAR, development=True)}
  assert rows["agreement"].required == 0.96 and not rows["agreement"].met
  assert not {"regret", "mean_recovery", "min_recovery"} & set(rows) and rows["distillation_passes_wall"].met


def test_other_efforts_have_other_bars():
  assert bars(AT_BAR, effort="draft") == []
  rows = {row.bar: (row.required, row.aim) for row in bars(AT_BAR, effort="fidelity")}
  assert rows == {"distillation_passes_wall": (60.0, 60.0), "mean_recovery": (0.955, 0.97),
                  "min_recovery": (0.935, 0.95)}
