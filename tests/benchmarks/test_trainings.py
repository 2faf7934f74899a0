"""Settings of a training are chosen on held-back rows, and never at the edge of what was tried."""

import numpy as np
import pytest

from benchmarks.fidelity.rows import LogRows
from benchmarks.fidelity.trainings import RATE_STEP, Choice, MemberTrainer, RowsToTrainOn, best_choice
from diet_tf import metrics
from diet_tf.errors import NumericsError
from diet_tf.fidelity import Examples
from diet_tf.manifest import Recipe
from tests.diet_tf.small_log import SPEC, TINY, draw


def rows_of(num_rows, seed):
  ids, labels, example_ids = draw(num_rows, seed)
  return LogRows(ids, labels, example_ids, np.zeros(num_rows, np.int64))


@pytest.mark.parametrize("peak, expected_tries", [(0.01, 3), (0.1 * RATE_STEP, 5), (0.001, 4)])
def test_the_best_learning_rate_lies_inside_those_tried(peak, expected_tries):
  tried = []

  def score(rate):
    tried.append(rate)
    return {Choice(rate, 1): -abs(np.log(rate / peak))}

  choice = best_choice(score, (0.001, 0.01, 0.1))
  assert choice.learning_rate == pytest.approx(peak) and len(tried) == expected_tries
  assert min(tried) < choice.learning_rate < max(tried)


def test_a_rate_that_diverges_is_out_of_the_running():
  assert best_choice(lambda rate: {Choice(rate, 1): rate} if rate < 0.005 else {}, (0.001, 0.003, 0.01)) == Choice(
      0.003, 1)
  with pytest.raises(NumericsError, match="learning rates"):
    best_choice(lambda rate: {})


@pytest.fixture(scope="module")
def trainer():
  return MemberTrainer(f"dnn({TINY})", SPEC, Recipe(batch_size=16, epochs=2), rows_of(300, 1), rows_of(400, 2))


def test_training_on_the_log_learns_it_with_a_pass_per_seed(trainer):
  rows = rows_of(3000, 3)
  trained = trainer.on_log(rows, np.arange(3000) % 10 == 0, (0, 1))
  labels = rows_of(400, 2).labels
  assert trained.logits.shape == (2, 400) and trained.examples == 3000 and trained.epochs == 1
  assert min(metrics.auc(labels, logits) for logits in trained.logits) > 0.65
  again = trainer.on_log(rows, np.arange(3000) % 10 == 0, (0, 1))
  np.testing.assert_array_equal(trained.logits, again.logits)


def test_rows_train_at_equal_cost_and_with_free_epochs(trainer):
  rows = rows_of(160, 4)
  draws = [RowsToTrainOn(Examples(rows.ids, rows.labels), np.full(160, 0.5, np.float32), np.ones(160, np.float32))] * 2
  trained = trainer.on_rows(draws, (0, 1), soft=False, equal_cost_epochs=2)
  assert trained[True].epochs == 2 and trained[True].examples == 320
  assert trained[False].epochs in (2, 5, 10) and trained[False].examples == 160 * trained[False].epochs
  # Labels of one half teach nothing: the logits stay where they begin, near 0.
  flat = trainer.on_rows(draws, (0, 1), soft=True, equal_cost_epochs=2)
  assert np.abs(flat[True].logits).max() < 0.2 < np.abs(trained[False].logits).max()


def test_weights_count(trainer):
  rows = rows_of(160, 4)
  zero = np.where(rows.labels == 1, 1, 1e-6).astype(np.float32)
  draws = [RowsToTrainOn(Examples(rows.ids, rows.labels), rows.labels, zero)]
  assert trainer.on_rows(draws, (0,), soft=False, equal_cost_epochs=2)[False].logits.mean() > 0.5
