"""Sub-samples of the log: which rows they have, by hand, and what they do not depend on."""

import numpy as np
import pytest

from benchmarks.fidelity.samples import rows_of_sample
from diet_tf.log.encoded_rows import EncodedRows

# Users of twelve rows in time order; 0 is a row without a user.
USERS = np.array([1, 2, 1, 3, 0, 2, 1, 0, 3, 1, 2, 4], np.int32)
ROWS = EncodedRows(np.stack([USERS, USERS], axis=1), np.zeros(12, np.float32), np.arange(100, 112), np.zeros(12, int))


def drawn(source, seed=0, rows=ROWS, num_log_rows=12):
  return rows_of_sample(source, rows, num_log_rows, 0, seed)


def test_newest_and_oldest_are_the_ends_of_the_log():
  assert drawn("sample/newest/1_5").example_ids.tolist() == [110, 111]
  assert drawn("sample/oldest/1_2", seed=3).example_ids.tolist() == list(range(100, 106))
  # A share of the log, of which not all rows may be drawn; never none, never more than there are.
  assert len(drawn("sample/newest/1_2", rows=ROWS.take(slice(4)))) == 4
  assert len(drawn("sample/uniform/1_50")) == 1


def test_uniform_rows_are_drawn_by_seed_and_stay_in_the_order_of_time():
  ids = [drawn("sample/uniform/1_2", seed).example_ids for seed in range(3)]
  assert all(len(one) == 6 and (np.diff(one) > 0).all() for one in ids)
  assert len({tuple(one) for one in ids}) == 3
  backwards = drawn("sample/uniform/1_2", 1, ROWS.take(np.arange(12)[::-1]))
  assert sorted(backwards.example_ids) == list(ids[1])


@pytest.mark.parametrize("seed", range(6))
def test_drawn_users_come_with_all_their_rows_until_these_are_enough(seed):
  sample = drawn("sample/users/1_5", seed)
  users = sample.ids[:, 0]
  for user in set(users) - {0}:
    assert (users == user).sum() == (USERS == user).sum()
  # Two rows are wanted: whoever comes last fills up, and one more user would not have been drawn.
  sizes = [1] * int((users == 0).sum()) + [int((users == user).sum()) for user in set(users) - {0}]
  assert sum(sizes) >= 2 and sum(sizes) - max(sizes) < 2
  assert (np.diff(sample.example_ids) > 0).all()


def test_other_users_are_drawn_with_another_seed():
  assert len({tuple(drawn("sample/users/1_5", seed).example_ids) for seed in range(12)}) > 3


def test_there_is_no_user_sample_without_users():
  with pytest.raises(ValueError, match="user field None"):
    rows_of_sample("sample/users/1_5", ROWS, 12, None, 0)
