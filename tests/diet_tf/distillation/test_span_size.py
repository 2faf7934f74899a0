import pytest

from diet_tf.distillation.budget import BudgetSettings
from diet_tf.distillation.span_size import check_num_examples, least_examples
from diet_tf.errors import DataError


@pytest.mark.parametrize(("fraction", "batch_size", "expected"), [
    # Of 3,150 examples a hundredth is 31.5, which is rounded to 32.
    (0.01, 32, 3150), (0.02, 8, 375), (0.1, 32, 315), (1.0, 32, 32), (0.5, 1, 1), (0.003, 8, 2500)])
def test_fewest_examples_of_a_batch(fraction, batch_size, expected):
  budget = BudgetSettings(fraction)
  assert least_examples(budget, batch_size) == expected
  assert budget.num_slots(expected) >= batch_size and (expected == 1 or budget.num_slots(expected - 1) < batch_size)


def test_a_span_that_is_too_short_is_told_what_it_lacks():
  check = {"budget": BudgetSettings(0.01), "batch_size": 32}
  check_num_examples("span 0", 3150, num_examples_seen=0, **check)
  check_num_examples("span 1", 42, num_examples_seen=3108, **check)
  with pytest.raises(DataError, match="span 0: .*batch of 32 slots, which takes 3,150 examples at budget.fraction 0.01."
                     ".*42 examples, which give 1 slots.*span_seconds.*budget.fraction to 0.762.*inner.batch_size"):
    check_num_examples("span 0", 42, num_examples_seen=0, **check)
  with pytest.raises(DataError) as caught:
    check_num_examples("span 0", 5, num_examples_seen=0, **check)
  # No fraction would do.
  assert "raise budget.fraction" not in caught.value.remedy


def test_a_cap_below_a_batch_is_told():
  with pytest.raises(DataError, match="budget.max_slots.*batch size 32"):
    least_examples(BudgetSettings(0.01, max_slots=31), 32)
