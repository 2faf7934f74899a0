"""A refinement that was cut ends with the bytes of one that was not; what does not fit is left aside and said."""

import dataclasses

import numpy as np
import pytest

from diet_tf.distillation.refinement_checkpoints import (
  Checkpoints,
  digest_of,
  generator_state,
  restore_generator,
)
from diet_tf.io.arrays import write_arrays
from diet_tf.memory.slots import Slots
from tests.diet_tf.distillation.test_refinement import SETTINGS, refined_by

SETTINGS = dataclasses.replace(SETTINGS, outer_steps=7, averaged_fraction=0.6, proxies=("lr", "fm(embedding_dim=2)"))


class Cut(Exception):
  """What ends a refinement in the middle."""


def cut_after(num_steps):
  def progress(what, done, total):
    if done == num_steps:
      raise Cut

  return progress


def test_what_was_cut_goes_on_and_ends_with_the_same_bytes(tmp_path):
  """Cut in the part that is averaged; losses, the generator, outer moments and the running norm are carried over."""
  path, said, seen = str(tmp_path / "unfinished/refinement-1.npz"), [], []
  expected = refined_by(SETTINGS)
  with pytest.raises(Cut):
    refined_by(SETTINGS, checkpoints=Checkpoints(path, 0, min_steps=2), progress=cut_after(5))
  checkpoints = Checkpoints(path, 0, min_steps=2, say=said.append)
  found = refined_by(SETTINGS, checkpoints=checkpoints, progress=lambda what, done, total: seen.append(done))
  assert seen == [5, 6, 7] and len(said) == 1 and "after outer step 4" in said[0]
  for name in Slots.DTYPES:
    np.testing.assert_array_equal(getattr(found.slots, name), getattr(expected.slots, name), err_msg=name)
  np.testing.assert_array_equal(found.losses, expected.losses)
  assert (found.recipe, found.proxies, found.num_skipped) == (expected.recipe, expected.proxies, expected.num_skipped)
  # Another seed is another refinement.
  refined_by(dataclasses.replace(SETTINGS, outer_steps=6), checkpoints=checkpoints)
  assert len(said) == 2 and "other inputs" in said[1]
  checkpoints.remove()
  assert not list((tmp_path / "unfinished").iterdir())


def kept(path, clock, **arguments):
  checkpoints = Checkpoints(str(path), 60.0, clock=lambda: clock[0], **arguments)
  assert checkpoints.begin("inputs") is None
  return checkpoints


def test_a_checkpoint_waits_for_time_and_steps(tmp_path):
  clock, written = [0.0], []

  def state():
    written.append(clock[0])
    return {"step": np.array(3)}

  checkpoints = kept(tmp_path / "x.npz", clock, min_steps=3)
  for step, now in ((1, 10.0), (2, 61.0), (3, 62.0), (4, 63.0), (6, 100.0), (7, 122.0)):
    clock[0] = now
    checkpoints.keep(step, state)
  assert written == [62.0, 122.0]
  assert int(Checkpoints(str(tmp_path / "x.npz"), 60.0).begin("inputs")["step"]) == 3


def test_what_cannot_be_read_or_written_is_said_and_stops_nothing(tmp_path):
  said, path = [], tmp_path / "x.npz"
  path.write_bytes(b"no archive")
  assert Checkpoints(str(path), 0, say=said.append).begin("inputs") is None
  write_arrays(str(path), {"step": np.array(1)})
  assert Checkpoints(str(path), 0, say=said.append).begin("inputs") is None
  assert "cannot be read" in said[0] and "other inputs" in said[1]
  (tmp_path / "file").write_text("")
  checkpoints = Checkpoints(str(tmp_path / "file" / "x.npz"), 0, min_steps=1, say=said.append)
  for step in (1, 2):
    checkpoints.keep(step, lambda: {"step": np.array(1)})
  assert len(said) == 3 and "No checkpoints" in said[2]


def test_a_generator_goes_on_where_it_was():
  random, other = np.random.default_rng(1), np.random.default_rng(2)
  random.integers(5, size=3, dtype=np.int32)  # Leaves half of a draw for the next.
  restore_generator(other, generator_state(random))
  np.testing.assert_array_equal(other.integers(1 << 30, size=5, dtype=np.int32),
                                random.integers(1 << 30, size=5, dtype=np.int32))


def test_the_digest_tells_shapes_and_types_apart():
  zeros = np.zeros(6, np.int32)
  digests = {digest_of([], [zeros]), digest_of([], [zeros.reshape(2, 3)]), digest_of([], [zeros.astype(np.float32)]),
             digest_of(["a", "b"], []), digest_of(["ab"], [])}
  assert len(digests) == 5
