"""Settings of a training are chosen on held-back rows, and never at the edge of what was tried."""

import numpy as np
import pytest

from benchmarks.fidelity.trainings import MAX_EXTENSIONS, MemberTrainer, RowsTrainer, best_choice, slots_of_rows
from diet_tf import metrics
from diet_tf.errors import NumericsError
from diet_tf.fidelity.trainings import RATE_STEP, Choice, choose, train_on_rows
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.memory.recipe import Recipe
from diet_tf.training.learner import Learner
from tests.diet_tf.small_log import SPEC, TINY, draw


def rows_of(num_rows, seed):
  ids, labels, example_ids = draw(num_rows, seed)
  return EncodedRows(ids, labels, example_ids, np.zeros(num_rows, np.int64))


@pytest.mark.parametrize("peak, expected_tries", [(0.01, 3), (0.1 * RATE_STEP, 5), (0.001, 4)])
def test_the_best_learning_rate_lies_inside_those_tried(peak, expected_tries):
  tried = []

  def score(rate):
    tried.append(rate)
    return {Choice(rate, 1): -abs(np.log(rate / peak))}

  choice = choose(score, (0.001, 0.01, 0.1), "member", max_extensions=MAX_EXTENSIONS)
  assert choice.learning_rate == pytest.approx(peak) and len(tried) == expected_tries
  assert min(tried) < choice.learning_rate < max(tried)


def test_a_rate_that_diverges_is_out_of_the_running():
  assert best_choice(lambda rate: {Choice(rate, 1): rate} if rate < 0.005 else {}, "member") == Choice(
      0.003, 1)
  with pytest.raises(NumericsError, match="learning rates"):
    best_choice(lambda rate: {}, "member")


@pytest.fixture(scope="module")
def trainer():
  return MemberTrainer(f"dnn({TINY})", SPEC, Recipe(batch_size=16, epochs=2), rows_of(300, 1), rows_of(400, 2))


def test_training_on_the_log_learns_it_in_the_passes_that_were_chosen_with_each_seed(trainer):
  rows = rows_of(3000, 3)
  trained = trainer.on_log(rows, np.arange(3000) % 10 == 0, (0, 1))
  labels = rows_of(400, 2).labels
  assert trained.logits.shape == (2, 400) and trained.epochs in (1, 2, 4, 8)
  assert trained.examples == 3000 * trained.epochs
  assert min(metrics.auc(labels, logits) for logits in trained.logits) > 0.65
  again = trainer.on_log(rows, np.arange(3000) % 10 == 0, (0, 1))
  np.testing.assert_array_equal(trained.logits, again.logits)


def rows_trainer(*parts):
  return RowsTrainer(f"dnn({TINY})", SPEC, parts, 16, rows_of(300, 1), rows_of(400, 2))


def test_rows_train_at_equal_cost_and_with_free_epochs():
  rows = rows_of(160, 4)
  hard, flat = (slots_of_rows(rows, labels, np.ones(160)) for labels in (rows.labels, np.full(160, 0.5)))
  trainer = rows_trainer(hard)
  trained = trainer.on_rows([hard, hard], (0, 1), equal_cost_epochs=2, flops_per_example=10.0)
  assert trained[True].epochs == 2 and trained[True].examples == 320 and trained[True].flops == 3200
  assert trained[False].epochs in (2, 5, 10) and trained[False].examples == 160 * trained[False].epochs
  assert trained[True].logits.shape == (2, 400)
  # Labels of one half teach nothing: the logits stay where they begin, near 0.
  untaught = trainer.on_rows([flat, flat], (0, 1), equal_cost_epochs=2, flops_per_example=10.0)
  assert np.abs(untaught[True].logits).max() < 0.2 < np.abs(trained[False].logits).max()
  again = trainer.on_rows([hard, hard], (0, 1), equal_cost_epochs=2, flops_per_example=10.0)
  np.testing.assert_array_equal(trained[True].logits, again[True].logits)


def test_weights_count():
  rows = rows_of(160, 4)
  clicks = slots_of_rows(rows, rows.labels, np.where(rows.labels == 1, 1, 1e-6))
  trained = rows_trainer(clicks).on_rows([clicks], (0,), equal_cost_epochs=2, flops_per_example=1.0)
  assert trained[False].logits.mean() > 0.5


def test_rows_as_slots_train_like_rows_of_a_learner():
  rows = rows_of(160, 4)
  slots = slots_of_rows(rows, rows.labels, np.ones(160))
  ours = rows_trainer(slots)._train(slots, 0, Choice(0.03, 5), rows_of(400, 2))
  learner = Learner(f"dnn({TINY})", SPEC, Recipe())
  train_on_rows(learner, EncodedRows(rows.ids, rows.labels), seed=0, learning_rate=0.03, epochs=5, batch_size=16)
  theirs = learner.logits(rows_of(400, 2).ids)
  # Tables of other sizes begin with other random numbers: the two are alike, and not the same.
  assert np.corrcoef(ours, theirs)[0, 1] > 0.9
