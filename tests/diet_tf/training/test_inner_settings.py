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
    # Two epochs of batches of 64 are 32 steps at 16 batches.
    (2, 32, 32), (2, 1023, 32), (2, 1024, 64), (2, 2047, 64), (2, 2048, 128), (2, 20_000, 1024),
    (1, 2047, 32), (1, 2048, 64), (1, 20_000, 512), (3, 703, 32), (3, 704, 64)])
def test_batches_grow_with_the_slots(epochs, num_slots, expected):
  inner = InnerSettings(epochs=epochs)
  assert inner.batch_size_for(num_slots) == expected == inner.for_slots(num_slots).batch_size
  whole = num_slots // expected * expected
  # What is rounded down to whole batches is trained by these.
  assert inner.batch_size_for(whole) == expected
  assert inner.num_steps(whole) == epochs * whole // expected < 2 * (32 + epochs)
  assert InnerSettings(batch_size=8, epochs=epochs).batch_size_for(num_slots) == 8


def test_the_smallest_batch_is_what_is_set_or_32():
  assert InnerSettings().least_batch_size == 32 and InnerSettings(batch_size=8).least_batch_size == 8
