"""Sub-samples of the log: what an engineer trains candidates on who has no memory."""

from __future__ import annotations

import numpy as np

from benchmarks.fidelity.panel import entity_fields
from benchmarks.fidelity.sources import NEWEST, OLDEST, UNIFORM, USERS, parse_sample
from diet_tf.config.config import Config
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import MISSING_ID
from diet_tf.log.hashing import salted_mix


def user_column(config: Config) -> int | None:
  """The number of the field that names users: `privacy.user_field`, or the first that names single users and things.

  None where no field does; the user-wise sub-samples are then left out.
  """
  name = config.privacy.user_field or next(iter(entity_fields(config.features)), None)
  return None if name is None else config.features.names.index(name)


def rows_of_sample(source: str, rows: EncodedRows, num_log_rows: int, users: int | None, seed: int) -> EncodedRows:
  """The rows of a sub-sample, in the order of time.

  Uniform: rows drawn without replacement. User-wise: users drawn without replacement, with all their rows, until these
  are as many as wanted; a row whose user is missing is a user of its own. Newest and oldest: the rows at that end, whom
  no seed changes.

  Args:
    source: name of the sub-sample, one of `benchmarks.fidelity.sources.SAMPLES`.
    rows: rows that may be drawn, in the order of time.
    num_log_rows: number of rows of the log, of which the sub-sample is a share.
    users: number of the field that names users, see `user_column`.
    seed: seed of the draw.
  """
  kind, denominator = parse_sample(source)
  num_rows = max(1, min(round(num_log_rows / denominator), len(rows)))
  if kind == NEWEST:
    return rows.take(slice(len(rows) - num_rows, None))
  if kind == OLDEST:
    return rows.take(slice(num_rows))
  if kind == UNIFORM:
    # By example id: what is drawn depends on neither the order of rows nor the number of shards.
    drawn = np.argsort(salted_mix(rows.example_ids, seed), kind="stable")[:num_rows]
    return rows.take(np.sort(drawn))
  if kind != USERS or users is None:
    raise ValueError(f"no sub-sample is named {source!r} in a log with the user field {users}.")
  return rows.take(_of_drawn_users(_user_keys(rows, users), num_rows, seed))


def _user_keys(rows: EncodedRows, users: int) -> np.ndarray:
  """`[num_rows]` int64, a number for each user; rows without one are told apart by their example ids."""
  keys = rows.ids[:, users].astype(np.int64)
  nobody = keys == MISSING_ID
  keys[nobody] = keys.max(initial=0) + 1 + np.argsort(np.argsort(rows.example_ids[nobody]))
  return keys


def _of_drawn_users(keys: np.ndarray, num_rows: int, seed: int) -> np.ndarray:
  """`[len(keys)]` bool, true for the rows of users drawn until they have `num_rows` rows."""
  users, user_of_row, counts = np.unique(keys, return_inverse=True, return_counts=True)
  order = np.argsort(salted_mix(users, seed), kind="stable")
  num_users = int(np.searchsorted(np.cumsum(counts[order]), num_rows)) + 1
  is_drawn = np.zeros(len(users), bool)
  is_drawn[order[:num_users]] = True
  return is_drawn[user_of_row.ravel()]
