import math

import pytest

from diet_tf.fidelity.break_even import BreakEven, duration


def test_the_least_number_for_which_the_memory_takes_no_longer():
  times = BreakEven(log=1.0, memory=0.1, distillation=36.0)
  assert times.architectures == 40
  assert times.on_memory(40) <= times.on_log(40) and times.on_memory(39) > times.on_log(39)
  assert BreakEven(1.0, 0.1, 36.1).architectures == 41
  assert BreakEven(1.0, 0.1, 0.0).architectures == 1


@pytest.mark.parametrize("memory", [1.0, 2.0])
def test_a_memory_that_saves_nothing_never_pays(memory):
  assert BreakEven(1.0, memory, 5.0).architectures is None


def test_what_is_not_known_has_no_break_even():
  assert BreakEven(1.0, 0.1, math.nan).architectures is None
  assert BreakEven(math.nan, 0.1, 5.0).architectures is None


@pytest.mark.parametrize("seconds, text", [(0.04, "0.0 s"), (119.94, "119.9 s"), (120, "2.0 min"), (7199, "120.0 min"),
                                           (7200, "2.0 h")])
def test_durations(seconds, text):
  assert duration(seconds) == text
