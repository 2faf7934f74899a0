"""Labels that go with the teacher, by hand."""

import numpy as np

from diet_tf.distillation.drift import following
from diet_tf.distillation.learned_memory import MAX_LABEL_LOGIT
from tests.diet_tf.small_slots import small_slots


def test_the_logit_of_a_label_moves_by_the_drift():
  slots = small_slots([[1], [2], [3], [4]]).replace(labels=np.array([0.5, 0.25, 0.9, 0.3]))
  moved = following(slots, np.array([0.0, np.log(3.0), -np.log(9.0), np.log(7.0)], np.float32))
  # Odds of 1, 1/3, 9 and 3/7, times 1, 3, 1/9 and 7.
  np.testing.assert_allclose(moved.labels, [0.5, 0.5, 0.5, 0.75], rtol=1e-6)
  np.testing.assert_array_equal(moved.ids, slots.ids)
  np.testing.assert_array_equal(slots.labels, np.float32([0.5, 0.25, 0.9, 0.3]))


def test_labels_without_drift_and_hard_ones_keep_their_bits():
  slots = small_slots([[1], [2], [3]]).replace(labels=np.array([0.1, 0.0, 1.0]))
  np.testing.assert_array_equal(following(slots, np.zeros(3, np.float32)).labels, slots.labels)
  np.testing.assert_array_equal(following(slots, np.array([0.0, 2.0, -2.0], np.float32)).labels, slots.labels)


def test_a_drift_takes_no_label_beyond_the_bound_and_moves_one_that_is_there_only_back():
  """A log of few clicks has labels of a ten thousandth."""
  rare = 1e-5  # Beyond the bound of 3.4e-4.
  slots = small_slots([[1], [2], [3]]).replace(labels=np.array([rare, rare, 0.01]))
  moved = following(slots, np.array([0.5, -0.5, -9.0], np.float32)).labels
  np.testing.assert_allclose(moved, [rare * np.exp(0.5), rare, 1 / (1 + np.exp(MAX_LABEL_LOGIT))], rtol=1e-4)
