"""What the panel, the comparison and the benchmark share: how settings are chosen, and what trainings give."""

import numpy as np
import pytest

from diet_tf.errors import NumericsError
from diet_tf.fidelity import scores
from diet_tf.fidelity.trainings import (
  RATE_STEP,
  Choice,
  choose,
  noted,
  row_batches,
  scores_until_divergence,
  train_and_predict,
)


def test_rates_are_tried_in_their_order_and_of_equals_the_first_is_chosen():
  tried = []

  def scores_of(rate):
    tried.append(rate)
    return {Choice(rate, 1): 0.5, Choice(rate, 2): 0.7 if rate > 0.1 else 0.2}

  assert choose(scores_of, (0.3, 0.1, 0.2), "member") == Choice(0.3, 2)
  assert tried == [0.3, 0.1, 0.2]


def test_an_edge_is_extended_so_often_at_most():
  tried = []

  def scores_of(rate):
    tried.append(rate)
    return {Choice(rate, 1): rate}

  assert choose(scores_of, (1.0, 2.0), "member", max_extensions=2).learning_rate == tried[-1]
  np.testing.assert_allclose(tried, [1.0, 2.0, 2.0 * RATE_STEP, 2.0 * RATE_STEP**2])


def test_where_every_training_diverges_the_error_names_what_was_trained():
  with pytest.raises(NumericsError, match=r"member 'x' on log.*none of \[0.1, 0.2\]"):
    choose(lambda rate: {}, (0.2, 0.1), "member 'x' on log", max_extensions=3)


def test_what_was_noted_before_a_divergence_counts():
  def train(note):
    note(Choice(0.1, 1), 0.6)
    note(Choice(0.1, 2), float("-inf"))
    raise NumericsError("loss", rule="finite.", received="nan.", remedy="none.")

  assert scores_until_divergence(train) == {Choice(0.1, 1): 0.6}


def test_rows_are_batches_in_their_order_with_weight_one():
  batches = list(row_batches(np.arange(6).reshape(3, 2), np.array([0.0, 0.25, 1.0]), 2).as_numpy_iterator())
  assert [features["ids"].tolist() for features, _, _ in batches] == [[[0, 1], [2, 3]], [[4, 5]]]
  assert [labels.tolist() for _, labels, _ in batches] == [[0.0, 0.25], [1.0]]
  assert [weights.tolist() for _, _, weights in batches] == [[1.0, 1.0], [1.0]]


class CountingLearner:
  """A learner whose logits are how often it was trained."""

  trained = 0

  def train(self, seconds):
    self.trained += 1
    return seconds

  def logits(self, ids):
    return np.full(len(ids), self.trained, np.float32)


def test_each_training_is_followed_by_its_predictions_and_the_fastest_counts():
  learner, done = CountingLearner(), []
  trainings = [lambda: learner.train(3.0), lambda: learner.train(2.0)]
  outcome = train_and_predict(learner, trainings, [np.zeros([2, 1]), np.zeros([1, 1])],
                              lambda: done.append(learner.trained))
  assert [logits.tolist() for logits in outcome.logits] == [[[1.0, 1.0], [2.0, 2.0]], [[1.0], [2.0]]]
  assert outcome.seconds == 2.0 and done == [1, 2]


def test_scores_of_seeds_by_hand():
  labels, logits = np.array([1, 0, 0]), np.array([[2.0, 1.0, 3.0], [3.0, 1.0, 2.0]], np.float32)
  # The click stands above one of two, then above both.
  assert scores.of_seeds(lambda labels, one: float(one[labels == 1].sum()), labels, logits).tolist() == [2.0, 3.0]
  found = scores.components_of_seeds(labels, logits, np.float32)
  assert found.dtype == np.float32 and found.tolist() == [[0.5, 1.0, 0.0], [1.0, 1.0, 1.0]]
  assert scores.selection_score("auc", labels, logits[0]) == 0.5
  zero = scores.selection_score("log_loss", labels, np.zeros(3))
  assert zero == pytest.approx(-np.log(2))


@pytest.mark.parametrize(("scores", "tolerance", "expected"), [
    ([0.6, 0.7, 0.8], 0.05, {1: 0.6, 2: 0.7, 4: 0.8}), ([0.6, 0.5, 0.9], 0.05, {1: 0.6, 2: 0.5}),
    ([0.6, 0.5, 0.9], np.inf, {1: 0.6, 2: 0.5, 4: 0.9}), ([0.6, 0.57, 0.9], 0.05, {1: 0.6, 2: 0.57, 4: 0.9})])
def test_a_training_is_scored_after_its_passes_and_ends_where_more_are_worse(scores, tolerance, expected):
  """Of five passes the first, the second and the fourth are scored."""
  found, left = {}, iter(scores)
  after_epoch = noted([1, 2, 4], 0.01, lambda: next(left), found.__setitem__, tolerance=tolerance)
  passes = []
  for epoch in range(1, 6):
    passes.append(epoch)
    if after_epoch(epoch):
      break
  assert found == {Choice(0.01, epoch): score for epoch, score in expected.items()}
  assert len(passes) == (2 if len(expected) == 2 else 5)


def test_noise_of_an_auc_is_that_of_its_rarer_class():
  assert scores.noise_bound(np.array([1] * 4 + [0] * 96)) == 0.25
  assert scores.noise_bound(np.array([1] * 75 + [0] * 25)) == 0.1
  assert scores.noise_bound(np.zeros(9)) == 0.5
