"""The log of a store for Keras: what the memory stands for, and what it has not seen."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from diet_tf.errors import DataError, StoreError
from pipelines.encoded_log import open_log
from tests.small_run import LOG, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  make_run(folder)
  return folder


def _opened(run, **arguments):
  return open_log(str(run / "config.yaml"), str(run / "store"), **{"data_dir": str(run), **arguments})


def test_seen_and_held_out_spans(run):
  log = _opened(run)
  assert log.seen.spans == (0, 1) and log.held_out.spans == (2,)
  seen, held_out = log.seen.arrays(), log.held_out.arrays()
  assert (len(seen), len(held_out)) == (2 * LOG.rows_per_span, LOG.rows_per_span)
  labels = np.concatenate([label for _, label in log.seen.dataset(100, "sampled").as_numpy_iterator()])
  np.testing.assert_array_equal(labels, seen.labels)
  assert _opened(run, test_spans=[2]).held_out.shards == log.held_out.shards


def test_what_was_encoded_is_read_and_what_is_missing_encoded_again(run, tmp_path):
  before = _opened(run)
  other = tmp_path / "run"
  shutil.copytree(run, other)
  shutil.rmtree(other / "examples" / "1")
  again = open_log(str(other / "config.yaml"), str(other / "store"), data_dir=str(other))
  np.testing.assert_array_equal(again.seen.arrays().ids, before.seen.arrays().ids)
  assert (other / "examples" / "1").is_dir()


def test_misuse_is_refused(run, tmp_path):
  with pytest.raises(DataError, match="later span"):
    _opened(run, test_spans=[1])
  with pytest.raises(DataError, match="at least one span"):
    _opened(run, data_dir=str(tmp_path))
  with pytest.raises(StoreError):
    open_log(str(run / "config.yaml"), str(tmp_path / "nowhere"), data_dir=str(run))
