"""A log of three small fields with a known, learnable click probability, for tests."""

import numpy as np

from diet_tf.distillation.teacher import TeacherSettings
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import write_example_shard
from diet_tf.log.features import FeatureSpec, Field, Label

SPEC = FeatureSpec((Field("user", "user", hash_ids=13), Field("item", "item", hash_ids=9),
                    Field("hour", "hour", hash_ids=5)), Label("click"))
TINY = "embedding_dim=2,hidden_units=4-"
TEACHER = TeacherSettings(members=(f"dnn({TINY})",), learning_rate=0.02, batch_size=32)


def true_logits(ids):
  """Log-odds of a click: a user's and an item's leaning, each known, and none of the hour."""
  leaning = np.random.default_rng(100).normal(scale=1.5, size=(2, 13))
  return leaning[0, ids[:, 0]] + leaning[1, ids[:, 1]]


def draw(num_rows, seed=0):
  """`(ids [num_rows, 3] int32, labels [num_rows] float32, example_ids [num_rows] int64)`."""
  random = np.random.default_rng(seed)
  ids = np.stack([random.integers(1, num_ids, size=num_rows) for num_ids in SPEC.num_ids], axis=1).astype(np.int32)
  labels = (random.random(num_rows) < 1 / (1 + np.exp(-true_logits(ids)))).astype(np.float32)
  return ids, labels, random.integers(1 << 62, size=num_rows)


def scored(num_rows, seed=0):
  """The same rows as a perfect teacher with no opinion on influence scores them."""
  ids, _, example_ids = draw(num_rows, seed)
  return EncodedRows(ids, example_ids=example_ids, teacher_logits=true_logits(ids).astype(np.float32),
                     influences=np.ones(num_rows, np.float32))


def write_shards(directory, columns, num_shards):
  """The paths of the shards that the rows are written to, in order."""
  directory.mkdir(parents=True, exist_ok=True)
  parts = zip(*(np.array_split(column, num_shards) for column in columns))
  paths = [str(directory / f"data-{number:05d}-of-{num_shards:05d}.gz") for number in range(num_shards)]
  for path, (ids, labels, example_ids) in zip(paths, parts, strict=True):
    write_example_shard(path, ids, labels, example_ids, np.arange(len(ids)), SPEC)
  return paths
