"""Row selections: literal cases by hand, and that neither the rows' order nor the seed decides what it should not."""

import itertools

import numpy as np
import pytest

from benchmarks.fidelity.selections import (
  SELECTIONS,
  TeacherView,
  matching_pursuit,
  nonnegative_ridge,
  proportional_quotas,
  select,
  training_weights,
)
from diet_tf.errors import ConfigError, DataError, NumericsError
from diet_tf.log.encoded_rows import EncodedRows

# Selections that draw nothing, so that the seed is of the order alone.
DETERMINISTIC = ("recent", "el2n", "grand", "boundary", "herding", "k_center", "gradmatch")


def log_of(num_rows, **columns):
  return EncodedRows(**{"ids": np.ones((num_rows, 1), np.int32), "labels": np.zeros(num_rows, np.float32),
                    "example_ids": np.arange(num_rows), "spans": np.zeros(num_rows, np.int64),
                    **{name: np.asarray(values) for name, values in columns.items()}})


def teacher_of(num_rows, **outputs):
  return TeacherView(**{"logits": np.zeros(num_rows, np.float32), "early_logits": np.zeros((1, num_rows), np.float32),
                        "early_hidden": np.zeros((1, num_rows, 1), np.float32),
                        "hidden": np.zeros((num_rows, 1), np.float32),
                        **{name: np.asarray(values, np.float32) for name, values in outputs.items()}})


def random_log(num_rows=300, num_spans=3):
  """Rows whose example ids have nothing to do with time, and a teacher with many equal logits."""
  random = np.random.default_rng(0)
  log = EncodedRows(random.integers(1, 9, (num_rows, 3)).astype(np.int32),
                (random.random(num_rows) < 0.3).astype(np.float32), random.permutation(num_rows) * 7 - 400,
                np.sort(random.integers(0, num_spans, num_rows)))
  teacher = TeacherView(random.integers(-4, 5, num_rows).astype(np.float32),
                        random.integers(-2, 3, (2, num_rows)).astype(np.float32),
                        random.normal(size=(2, num_rows, 5)).astype(np.float32),
                        random.normal(size=(num_rows, 5)).astype(np.float32))
  return log, teacher


def reordered(log, teacher, order):
  rows = log.take(order)
  return rows, TeacherView(teacher.logits[order], teacher.early_logits[:, order], teacher.early_hidden[:, order],
                           teacher.hidden[order])


def chosen(name, log, teacher, num_rows, seed=0):
  return sorted(select(name, log, teacher, num_rows, seed).rows.tolist())


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("num_rows", [1, 40, 299, 300])
def test_a_selection_is_of_distinct_rows_with_weights_of_mean_1(name, num_rows):
  selection = select(name, *random_log(), num_rows, seed=3)
  assert selection.rows.dtype == np.int64 and selection.weights.dtype == np.float32
  assert len(set(selection.rows.tolist())) == len(selection.rows) == len(selection.weights) == num_rows
  assert selection.rows.min() >= 0 and selection.rows.max() < 300
  np.testing.assert_allclose(selection.weights.mean(), 1, rtol=1e-5)
  if name != "gradmatch":
    assert (selection.weights == 1).all()


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_order(name):
  first, again, other = (select(name, *random_log(), 40, seed) for seed in (3, 3, 4))
  assert first.rows.tobytes() == again.rows.tobytes() and first.weights.tobytes() == again.weights.tobytes()
  assert first.rows.tolist() != other.rows.tolist()
  assert (sorted(first.rows.tolist()) == sorted(other.rows.tolist())) == (name in DETERMINISTIC)
  weights = dict(zip(first.rows.tolist(), first.weights.tolist(), strict=True))
  if name in DETERMINISTIC:  # Weights follow their rows into another order.
    assert weights == dict(zip(other.rows.tolist(), other.weights.tolist(), strict=True))


@pytest.mark.parametrize("name", [name for name in SELECTIONS if name not in ("recent", "gradmatch")])
def test_a_selection_does_not_depend_on_the_order_of_rows(name):
  log, teacher = random_log()
  # Rows change places within their span, by which the log stays in time order.
  order = np.lexsort((np.random.default_rng(5).random(300), log.spans))
  moved_log, moved_teacher = reordered(log, teacher, order)
  first, second = select(name, log, teacher, 40, 3), select(name, moved_log, moved_teacher, 40, 3)
  assert log.example_ids[first.rows].tolist() == moved_log.example_ids[second.rows].tolist()


def test_gradient_matching_does_not_depend_on_the_order_of_rows_within_a_chunk():
  log, teacher = random_log()
  # Gradients of 6 dimensions allow 3 picks of a chunk: 30 picks are of 10 chunks of 30 rows.
  order = np.lexsort((np.random.default_rng(5).random(300), log.spans, np.arange(300) // 30))
  moved_log, moved_teacher = reordered(log, teacher, order)
  first, second = select("gradmatch", log, teacher, 30, 3), select("gradmatch", moved_log, moved_teacher, 30, 3)
  assert log.example_ids[first.rows].tolist() == moved_log.example_ids[second.rows].tolist()
  assert first.weights.tolist() == second.weights.tolist()
  assert np.bincount(first.rows // 30).tolist() == [3] * 10


@pytest.mark.parametrize("name", ["el2n", "grand", "boundary", "herding", "k_center"])
def test_ties_go_to_the_lower_example_id(name):
  log = log_of(5, example_ids=[9, -3, 7, 2, 8])
  assert chosen(name, log, teacher_of(5), 3) == [1, 2, 3]


def test_ties_within_a_chunk_go_to_the_lower_example_id():
  # Gradients of two dimensions allow one pick of a chunk: the first three rows are one, the last two another.
  assert chosen("gradmatch", log_of(5, example_ids=[9, -3, 7, 8, 2]), teacher_of(5), 2) == [1, 4]


def test_the_newest_rows():
  assert chosen("recent", log_of(5, example_ids=[9, 3, 7, 2, 8]), teacher_of(5), 2) == [3, 4]
  # The order of training is that of the set: it does not tell in which order the newest rows came.
  logs = [log_of(5, example_ids=ids) for ids in ([9, 3, 7, 2, 8], [9, 3, 8, 7, 2])]
  first, second = (log.example_ids[select("recent", log, teacher_of(5), 3, seed=1).rows].tolist() for log in logs)
  assert first == second


def test_a_random_draw_is_uniform():
  counts = np.zeros(10)
  for seed in range(400):
    counts[select("random", log_of(10), teacher_of(10), 3, seed).rows] += 1
  # 120 each; a binomial's standard deviation is 9.
  assert np.abs(counts - 120).max() < 36


def test_a_reservoir_halves_with_every_two_spans():
  spans = np.repeat([4, 6, 8], 20_000)
  rows = select("reservoir_decay", log_of(60_000, spans=spans), teacher_of(60_000), 3000, seed=1).rows
  # Weights 1/4, 1/2, 1; so few of them are drawn that the draw without replacement hardly differs.
  np.testing.assert_allclose(np.bincount(spans[rows])[[4, 6, 8]] / 3000, [1 / 7, 2 / 7, 4 / 7], atol=0.03)


def test_a_reservoir_keeps_the_order_of_very_old_spans():
  # The weights of the first two spans are less than the smallest float.
  log = log_of(6, spans=[0, 0, 4000, 4000, 9000, 9000])
  assert chosen("reservoir_decay", log, teacher_of(6), 4) == [2, 3, 4, 5]


def test_quotas_by_hand():
  # Shares 0.4, 2.0, 0.8 and 0.8 of 4: the last two lost most by rounding down.
  assert proportional_quotas(np.array([1, 5, 2, 2]), 4).tolist() == [0, 2, 1, 1]
  assert proportional_quotas(np.array([1, 5, 2, 2]), 10).tolist() == [1, 5, 2, 2]
  # Shares 4/3 each: the first gets what is left over.
  assert proportional_quotas(np.array([7, 7, 7]), 4).tolist() == [2, 1, 1]


def test_strata_of_labels_within_spans():
  labels = np.array([0, 1, 0, 0, 0, 0, 1, 0, 0, 1], np.float32)
  spans = np.array([5] * 6 + [6] * 4)
  drawn = set()
  for seed in range(30):
    rows = chosen("stratified_label", log_of(10, labels=labels, spans=spans), teacher_of(10), 4, seed)
    # The quotas of the test before: (5, clicked) 0, (5, unclicked) 2, (6, unclicked) 1, (6, clicked) 1.
    assert [(int(spans[row]), int(labels[row])) for row in rows[:2]] == [(5, 0), (5, 0)]
    assert sorted(labels[rows[2:]].tolist()) == [0, 1] and min(rows[2:]) >= 6
    drawn.update(rows)
  assert drawn == set(range(10)) - {1}


def test_strata_of_the_field_of_largest_entropy_that_is_not_too_fine():
  row = np.arange(400)
  fine = row % 8 * 50 + row // 8
  # 400 ids are too fine; two of equal shares have entropy log 2; four, of 1/2, 1/4, 1/8 and 1/8, have 7/4 log 2.
  four = np.select([row % 8 < 4, row % 8 < 6, row % 8 < 7], [5, 6, 7], 8)
  log = log_of(400, ids=np.stack([fine, row // 200, four], axis=1).astype(np.int32))
  rows = chosen("stratified_field", log, teacher_of(400), 16)
  assert np.bincount(four[rows])[5:].tolist() == [8, 4, 2, 2]


def test_where_every_field_is_fine_the_least_fine_one_makes_the_strata():
  number = np.arange(600)
  log = log_of(600, ids=np.stack([number, number // 2], axis=1).astype(np.int32))
  rows = chosen("stratified_field", log, teacher_of(600), 300)
  # 300 pairs of rows share an id of the second field: one of each pair is drawn.
  assert sorted(number[rows] // 2) == list(range(300))


@pytest.mark.parametrize("name", ["el2n", "grand"])  # Of hidden units that are all 0, both are |p - y|.
def test_errors_early_in_training_are_averaged_over_models(name):
  third = -np.log(2)  # The logit of probability 1/3.
  log = log_of(3, labels=np.array([0, 1, 0], np.float32))
  # Errors by row: (1/2 + 2/3) / 2, (2/3 + 1/3) / 2 and (1/3 + 1/3) / 2.
  teacher = teacher_of(3, early_logits=[[0, third, third], [-third, -third, third]], early_hidden=np.zeros((2, 3, 1)))
  assert chosen(name, log, teacher, 1) == [0]
  assert chosen(name, log, teacher, 2) == [0, 1]


def test_gradients_early_in_training_by_hand():
  # |p - y| is 1/2, so that the norms are half of sqrt(|h|^2 + 1): sqrt(26), sqrt(17) and sqrt(2), then 1 (h = 0).
  hidden = np.array([[[3, 4], [0, 4], [1, 0], [0, 0]]])
  assert chosen("grand", log_of(4), teacher_of(4, early_logits=np.zeros((1, 4)), early_hidden=hidden), 2) == [0, 1]
  # p = 1/11 cuts the first row's to sqrt(26) / 11 = 0.46, below the third's sqrt(2) / 2 = 0.71 and the fourth's 1/2.
  sure = teacher_of(4, early_logits=[[-np.log(10), 0, 0, 0]], early_hidden=hidden)
  assert chosen("grand", log_of(4), sure, 3) == [1, 2, 3]


def test_the_boundary_is_where_the_teacher_is_least_sure():
  # The last two probabilities both round to 1 in float32.
  teacher = teacher_of(5, logits=[40.0, -0.3, 0.2, -1.0, 30.0])
  assert [chosen("boundary", log_of(5), teacher, size) for size in (1, 2, 4)] == [[2], [1, 2], [1, 2, 3, 4]]


@pytest.mark.parametrize("column", ["hidden", "logits"])
@pytest.mark.parametrize("scale", [0.01, 50.0])
def test_herding_and_k_centre_by_hand(column, scale):
  values = scale * np.array([0.0, 1.0, 2.0, 10.0])  # The mean is 3.25.
  teacher = teacher_of(4, **{column: values[:, None] if column == "hidden" else values})
  log = log_of(4)
  # w is 3.25, then 6.5 - 2 = 4.5, to which 1 is nearest of the rest, then 9.75 - 3 = 6.75.
  assert [chosen("herding", log, teacher, size) for size in (1, 2, 3)] == [[2], [1, 2], [1, 2, 3]]
  # 2 is nearest to the mean, 10 farthest from 2, and 0 then farthest from both.
  assert [chosen("k_center", log, teacher, size) for size in (1, 2, 3)] == [[2], [2, 3], [0, 2, 3]]


def test_the_hidden_space_and_the_logit_both_count():
  # By the hidden unit alone the first row would be at the mean, by the logit alone the second.
  hidden, logits = [0, 5, 1, -6, 0], [5, 0, 1, 0, -6]
  teacher = teacher_of(5, hidden=np.array(hidden)[:, None], logits=logits)
  assert chosen("k_center", log_of(5), teacher, 1) == [2]


def test_herding_follows_the_mean_closer_than_chance():
  log, teacher = random_log()
  gaps = {name: np.linalg.norm(teacher.hidden[chosen(name, log, teacher, 40)].mean(0) - teacher.hidden.mean(0))
          for name in ("herding", "random")}
  assert gaps["herding"] < 0.3 * gaps["random"]


def test_k_centre_leaves_no_row_as_far_as_chance_does():
  log, teacher = random_log()
  points = np.concatenate([teacher.hidden, teacher.logits[:, None] / teacher.logits.std()], axis=1)
  farthest = {name: np.linalg.norm(points[:, None] - points[None, chosen(name, log, teacher, 40)], axis=2).min(1).max()
              for name in ("k_center", "random")}
  assert farthest["k_center"] < 0.8 * farthest["random"]


def test_k_centre_takes_copies_only_when_nothing_else_is_left():
  hidden = np.array([0.0, 0.0, 0.0, 1.7, 1.7, 3.1])[:, None]
  picks = {size: chosen("k_center", log_of(6), teacher_of(6, hidden=hidden), size) for size in (3, 6)}
  assert np.unique(hidden[picks[3]]).tolist() == [0.0, 1.7, 3.1]
  assert picks[6] == [0, 1, 2, 3, 4, 5]


def test_gradient_matching_by_hand():
  # Gradients of two dimensions allow one pick of a chunk. With p = 1/2 they are (0, 1/2) and (1, 1/2), with the mean
  # (1/2, 1/2), then (0, -1/2) and (-1/2, -1/2), with the mean (-1/4, -1/2).
  log = log_of(4, labels=np.array([0, 0, 1, 1], np.float32))
  teacher = teacher_of(4, early_hidden=np.array([0, 2, 0, 1])[None, :, None])
  selection = select("gradmatch", log, teacher, 2, seed=0)
  # Correlations 1/4 and 3/4; 1/4 and 3/8. Weights (3/4) / (5/4 + 1/2) = 3/7 and (3/8) / (1/2 + 1/2), of mean 45/112.
  assert sorted(selection.rows.tolist()) == [1, 3]
  np.testing.assert_allclose(selection.weights[np.argsort(selection.rows)], [16 / 15, 14 / 15], rtol=1e-6)


def test_a_pursuit_fills_its_quota_where_nothing_else_helps():
  # g_0 = (1, 0); the others point the other way, so that more of them only adds to the error.
  gradients = np.array([[1.0, 0.0], [-0.25, 0.0], [-0.5, 0.0]])
  picks, weights = matching_pursuit(gradients, np.array([0.3, 0.0]), 3, ridge=0.5)
  assert picks.tolist() == [0, 1, 2]
  np.testing.assert_allclose(weights, 0.3 / 1.5)  # Least of (w - 0.3)^2 + 0.5 w^2, and its mean.


def test_a_pursuit_of_nothing_weighs_all_alike():
  picks, weights = matching_pursuit(np.array([[1.0], [2.0], [3.0]]), np.zeros(1), 2, ridge=0.5)
  assert picks.tolist() == [0, 1] and weights.tolist() == [1, 1]


def test_a_pursuit_is_orthogonal():
  # Matching (1, 1): first (1, 0.9), then (0, 0.5) for what is missing, with both weights solved for together.
  gradients = np.array([[0.0, 0.5], [1.0, 0.9], [0.5, 0.0]])
  picks, weights = matching_pursuit(gradients, np.array([1.0, 1.0]), 2, ridge=1e-6)
  assert picks.tolist() == [1, 0]
  np.testing.assert_allclose(weights, [1.0, 0.2], rtol=1e-3)


def test_a_pursuit_takes_all_picks_from_the_residual():
  # The last row is the first one over again, and looks best wherever the first pick is left out of the residual.
  gradients = np.array([[1.0, 0.0, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.6], [0.9, 0.0, 0.0]])
  picks, weights = matching_pursuit(gradients, np.ones(3), 3, ridge=1e-6)
  assert picks.tolist() == [0, 1, 2]
  np.testing.assert_allclose(weights, [1, 1 / 0.8, 1 / 0.6], rtol=1e-4)


def test_a_ridge_by_hand():
  # Apart: (4 / 2, 0), since the second would be negative. Together: 2 x + 1 x = 6 for both.
  np.testing.assert_allclose(nonnegative_ridge(np.eye(2), np.array([4.0, -1.0]), 1.0), [2, 0])
  np.testing.assert_allclose(nonnegative_ridge(np.ones((2, 1)), np.array([6.0]), 1.0), [2, 2])


def test_a_ridge_finds_the_best_of_all_supports():
  random = np.random.default_rng(0)
  at_border = 0
  for _ in range(50):
    rows, aim = random.normal(size=(6, 4)), random.normal(size=4)
    matrix, target = rows @ rows.T + 0.5 * np.eye(6), rows @ aim

    def objective(weights, matrix=matrix, target=target):
      return weights @ matrix @ weights / 2 - target @ weights

    best = 0.0
    for support in itertools.product([False, True], repeat=6):
      weights, free = np.zeros(6), np.flatnonzero(support)
      weights[free] = np.linalg.solve(matrix[np.ix_(free, free)], target[free])
      if (weights >= 0).all():
        best = min(best, objective(weights))
    found = nonnegative_ridge(rows, aim, 0.5)
    assert (found >= 0).all()
    np.testing.assert_allclose(objective(found), best, rtol=1e-9, atol=1e-12)
    at_border += int((found == 0).any() and (found > 0).any())
  assert at_border > 10  # The bound is met often enough to have been tested.


def test_the_selection_is_that_of_an_active_set_on_normal_equations():
  # As a solver of our own found it, before scipy's took its place.
  found = select("gradmatch", *random_log(), 20, seed=0)
  assert found.rows.tolist() == [141, 79, 207, 33, 59, 219, 222, 92, 229, 209, 100, 292, 129, 152, 195, 47, 31, 15, 111,
                                 278]
  np.testing.assert_allclose(found.weights, [
      0.32354847, 1.1884885, 1.3173975, 0.93638605, 1.070863, 1.0198597, 0.7443677, 0.5366389, 0.98136675, 1.9314905,
      0.5520291, 0.7302512, 1.3859797, 0.9172309, 0.5159477, 1.0721376, 1.0554909, 1.3454913, 0.8747572, 1.5002774],
      rtol=1e-6)


def test_training_weights_are_bounded():
  # In units of the mean: 0 and 2, then 0.05 and 2, of mean 1.025.
  np.testing.assert_allclose(training_weights(np.array([0.0, 0.6])), [0.05 / 1.025, 2 / 1.025], rtol=1e-6)
  # 40 and 0 throughout, then 20 and 0.05, of mean (20 + 39 * 0.05) / 40 = 0.54875.
  weights = training_weights(np.array([7.0] + [0.0] * 39))
  np.testing.assert_allclose(weights[:2], [20 / 0.54875, 0.05 / 0.54875], rtol=1e-6)


def test_an_unknown_name_is_refused():
  with pytest.raises(ConfigError, match="'newest'") as error:
    select("newest", *random_log(), 5, seed=0)
  assert all(name in str(error.value) for name in SELECTIONS)


@pytest.mark.parametrize("name", SELECTIONS)
def test_more_rows_than_the_log_has_are_refused(name):
  with pytest.raises(DataError, match="at least the 301 rows.*300 rows"):
    select(name, *random_log(), 301, seed=0)


def test_no_rows_are_refused():
  with pytest.raises(ConfigError, match="num_rows: is at least 1"):
    select("random", *random_log(), 0, seed=0)


@pytest.mark.parametrize(("broken", "message"), [
  ({"spans": np.array([1, 0, 1])}, "time order"),
  ({"example_ids": np.array([4, 5, 4])}, "twice"),
  ({"labels": np.zeros(2, np.float32)}, "one entry per row"),
])
def test_a_broken_log_is_refused(broken, message):
  with pytest.raises(DataError, match=message):
    select("random", log_of(3, **broken), teacher_of(3), 1, seed=0)


@pytest.mark.parametrize("name", ["logits", "early_logits", "early_hidden", "hidden"])
def test_a_model_that_diverged_is_refused(name):
  teacher = teacher_of(3)
  getattr(teacher, name)[..., 0] = np.nan
  with pytest.raises(NumericsError, match=rf"teacher\.{name}"):
    select("random", log_of(3), teacher, 1, seed=0)


def test_a_view_of_other_rows_is_refused():
  with pytest.raises(DataError, match="one entry per row"):
    select("random", log_of(3), teacher_of(4), 1, seed=0)
