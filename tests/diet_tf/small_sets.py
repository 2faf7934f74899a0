"""A log of four small fields, of which one has sets of values and one such sets with weights, for tests."""

import numpy as np

from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.row_layout import RowLayout

SPEC = FeatureSpec((Field("user", "user", hash_ids=13),
                    Field("genres", "genres", hash_ids=9, max_values=3, separator="|"),
                    Field("tags", "tags", hash_ids=7, max_values=2, weights="scores"),
                    Field("hour", "hour", hash_ids=5)), Label("click"))
LAYOUT = RowLayout.of(SPEC)


def row(user, genres, tags, hour):
  """`[1, 9]` one encoded row.

  Args:
    user: id of the user.
    genres: ids of the genres, ascending.
    tags: weights of the tags by their ids, ascending.
    hour: id of the hour.
  """
  ids = [np.array([values]) for values in ([user], genres, list(tags), [hour])]
  return LAYOUT.packed(ids, {2: np.array([list(tags.values())])})


def draw(num_rows, seed=0):
  """`(rows [num_rows, 9] int32, labels [num_rows] float32, example_ids [num_rows] int64)`; clicks follow the genres."""
  random = np.random.default_rng(seed)
  rows, logits = [], np.zeros(num_rows)
  leaning = np.random.default_rng(100).normal(scale=2.0, size=9)
  for number in range(num_rows):
    genres = np.sort(random.choice(np.arange(1, 9), random.integers(1, 4), replace=False))
    tags = np.sort(random.choice(np.arange(1, 7), 2, replace=False)).tolist() if random.random() < 0.8 else [0]
    shares = random.dirichlet(np.ones(len(tags))).astype(np.float32)
    rows.append(row(random.integers(1, 13), genres.tolist(), dict(zip(tags, shares.tolist())), random.integers(1, 5)))
    logits[number] = leaning[genres].mean()
  labels = (random.random(num_rows) < 1 / (1 + np.exp(-logits))).astype(np.float32)
  return np.concatenate(rows), labels, random.integers(1 << 62, size=num_rows)


def as_bags(rows, dtype=np.float64):
  """`(ids, weights)`, each `[num_rows, 4, 3]`: the rows as slots have them, written out by loops."""
  ids, weights = np.zeros((len(rows), 4, 3), np.int64), np.zeros((len(rows), 4, 3), dtype)
  for number, one in enumerate(rows.tolist()):
    genres = [value for value in one[1:4] if value >= 0]
    tags = [value for value in one[4:6] if value >= 0]
    scores = np.array(one[7:9], np.int32).view(np.float32)
    ids[number, 0, 0], weights[number, 0, 0] = one[0], 1
    ids[number, 1, :len(genres)], weights[number, 1, :len(genres)] = genres, 1 / len(genres)
    ids[number, 2, :len(tags)], weights[number, 2, :len(tags)] = tags, scores[:len(tags)]
    ids[number, 3, 0], weights[number, 3, 0] = one[6], 1
  return ids, weights
