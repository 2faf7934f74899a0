from __future__ import annotations

import pytest

from diet_tf.distillation.budget import BudgetSettings
from diet_tf.errors import ConfigError


@pytest.mark.parametrize(("fraction", "max_slots", "num_examples", "expected"), [
    (0.01, None, 192_000, 1920),
    (0.01, 1000, 192_000, 1000),
    (0.01, None, 10, 1),
    (0.02, None, 75, 2),
    (1.0, None, 7, 7),
])
def test_num_slots(fraction: float, max_slots: int | None, num_examples: int, expected: int):
  assert BudgetSettings(fraction, max_slots).num_slots(num_examples) == expected


@pytest.mark.parametrize("arguments", [{"fraction": 0.0}, {"fraction": 1.1}, {"max_slots": 0}])
def test_settings_refused(arguments: dict[str, float]):
  with pytest.raises(ConfigError):
    BudgetSettings(**arguments)


def test_no_examples():
  with pytest.raises(ConfigError, match="at least one example"):
    BudgetSettings().num_slots(0)


def test_a_memory_is_capped_where_the_fraction_would_make_it_larger():
  budget = BudgetSettings(fraction=0.1, max_slots=40)
  assert [budget.is_capped(seen) for seen in (100, 400, 404, 406, 10_000)] == [False, False, False, True, True]
  assert not BudgetSettings(fraction=0.1).is_capped(10**9)
  assert [budget.num_slots_of_span(rows) for rows in (3, 100, 1000)] == [1, 10, 100]
