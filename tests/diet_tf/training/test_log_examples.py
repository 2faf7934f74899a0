"""Examples of the log as Keras takes them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from diet_tf import FidelityCallback, LogExamples, build_model, metrics
from diet_tf.errors import ConfigError, DataError
from tests.diet_tf.small_log import SPEC, TINY, draw, write_shards


@pytest.fixture
def log(tmp_path):
  """Two spans of 20 and 10 rows, the first in two files; the names of their files are the same."""
  shards = {span: write_shards(tmp_path / str(span), draw(num_rows, seed=span), num_shards)
            for span, num_rows, num_shards in ((3, 10, 1), (2, 20, 2))}
  return LogExamples(shards, SPEC)


def test_rows_come_in_the_order_of_the_log_in_both_modes(log) -> None:
  ids = np.concatenate([draw(20, seed=2)[0], draw(10, seed=3)[0]])
  labels = np.concatenate([draw(20, seed=2)[1], draw(10, seed=3)[1]])
  assert log.spans == (2, 3)
  for mode, shape in (("sampled", (30,)), ("weighted", (30, 1))):
    batches = list(log.dataset(batch_size=7, mode=mode).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([label for _, label in batches]), labels)
    for index, name in enumerate(SPEC.names):
      column = np.concatenate([features[name] for features, _ in batches])
      assert column.shape == shape and column.dtype == np.int64
      np.testing.assert_array_equal(column.ravel(), ids[:, index])
    keys = set(SPEC.names) | ({f"{name}/weights" for name in SPEC.names} if mode == "weighted" else set())
    assert set(batches[0][0]) == keys
    if mode == "weighted":
      assert all((features[f"{name}/weights"] == 1).all() for features, _ in batches for name in SPEC.names)
  np.testing.assert_array_equal(log.arrays().ids, ids)


def test_a_model_is_trained_on_the_log_and_judged_there_in_a_line_each(log, tmp_path) -> None:
  held_out = LogExamples.in_folder(str(tmp_path / "3"), SPEC, span=3)
  model = build_model(f"dnn({TINY})", SPEC)
  model.compile("adam", tf.keras.losses.BinaryCrossentropy(from_logits=True))
  history = model.fit(log.dataset(8, "sampled"), callbacks=[FidelityCallback(held_out.dataset())], verbose=0).history
  logits = model.predict(held_out.dataset(4), verbose=0)
  assert history["held_out_auc"] == [metrics.auc(held_out.arrays().labels, logits)]


def test_misuse_is_refused(log, tmp_path) -> None:
  with pytest.raises(ConfigError, match="'bags'"):
    log.dataset(mode="bags")
  with pytest.raises(ConfigError, match="batch_size 0"):
    log.dataset(0)
  with pytest.raises(DataError, match=r"spans \[4\]"):
    LogExamples({4: []}, SPEC)
  (tmp_path / "empty").mkdir()
  with pytest.raises(DataError, match="TFRecord"):
    LogExamples.in_folder(str(tmp_path / "empty"), SPEC)
