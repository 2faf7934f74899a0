import pytest

from diet_tf.errors import ConfigError
from diet_tf.training.inner_settings import InnerSettings


@pytest.mark.parametrize("broken", [{"batch_size": 0}, {"epochs": 0}, {"beta_1": 1.0}, {"beta_2": 0.0}, {"epsilon": 0}])
def test_settings_are_checked(broken):
  with pytest.raises(ConfigError, match=next(iter(broken))):
    InnerSettings(**broken)


def test_slots_must_fill_whole_batches():
  with pytest.raises(ConfigError, match="multiple of the batch size"):
    InnerSettings(batch_size=4, epochs=3).num_steps(9)


@pytest.mark.parametrize(("epochs", "num_slots", "expected"), [
    # Two epochs of batches of 64 are 44 steps at 22 batches.
    (2, 32, 32), (2, 544, 32), (2, 1407, 32), (2, 1408, 64), (2, 2815, 64), (2, 2816, 128), (2, 20_000, 512),
    (1, 2815, 32), (1, 2816, 64), (3, 959, 32), (3, 960, 64)])
def test_batches_grow_with_the_slots(epochs, num_slots, expected):
  inner = InnerSettings(epochs=epochs)
  assert inner.batch_size_for(num_slots) == expected == inner.for_slots(num_slots).batch_size
  whole = num_slots // expected * expected
  # What is rounded down to whole batches is trained by these.
  assert inner.batch_size_for(whole) == expected and inner.num_steps(whole) == epochs * whole // expected < 2 * 46
  assert InnerSettings(batch_size=8, epochs=epochs).batch_size_for(num_slots) == 8


def test_the_smallest_batch_is_what_is_set_or_32():
  assert InnerSettings().least_batch_size == 32 and InnerSettings(batch_size=8).least_batch_size == 8
