"""The log of a store for Keras: what the memory stands for, and what it has not seen."""

from __future__ import annotations

import concurrent.futures
import shutil

import numpy as np
import pytest

from diet_tf.config.config import load_config
from diet_tf.errors import DataError, StoreError
from diet_tf.io import files
from diet_tf.log.encoding import write_vocabularies
from diet_tf.memory.manifest import read_manifest
from diet_tf.store.store import Store, memory_folder
from pipelines import unseen_rows
from pipelines.data_folder import with_data_dir
from pipelines.encoded_log import open_log
from pipelines.encoded_spans import committed_shards, encoded_shards
from pipelines.workspace import SpanRecord, Workspace
from tests.small_run import LOG, make_run
from tfx_components.log_gen.summary import LogSummary


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


def _examples_of(run, span: int) -> str:
  # The first is that of the run itself; other tests of the module encode the span in other ways.
  folder = min((path for path in (run / "examples" / str(span)).iterdir() if path.is_dir()),
               key=lambda path: path.stat().st_mtime)
  return str(folder)


def test_what_is_remembered_of_another_span_is_not_taken(run, tmp_path):
  # As earlier releases left it where a neighbour ended while a run was at work: span 1 has the examples of span 0.
  config = with_data_dir(load_config(str(run / "config.yaml")), str(run))
  store, workspace = Store(str(run / "store")), Workspace(str(tmp_path / "out"))
  own, others = _examples_of(run, 1), _examples_of(run, 0)
  for remembered, taken in ((own, True), (others, False), (str(tmp_path / "nowhere"), False)):
    workspace.write_record(SpanRecord(1, "run", config.features.digest(), remembered, "verdict", 1.0))
    shards = committed_shards(config.log, config.features, 1, store, workspace)
    assert shards[0].startswith(remembered) is taken
    summary = LogSummary.read(files.parent(files.parent(shards[0])))
    assert summary is not None and summary.span == 1
  # Of the span, but with other ids than the commit's.
  copy = tmp_path / "copy"
  shutil.copytree(own, copy)
  write_vocabularies(str(copy / "vocabularies.json"), {"category": ["other"], "tab": ["values"]})
  workspace.write_record(SpanRecord(1, "run", config.features.digest(), str(copy), "verdict", 1.0))
  assert not committed_shards(config.log, config.features, 1, store, workspace)[0].startswith(str(copy))


def test_rows_beside_a_store_are_those_whose_ids_it_knows(run, tmp_path):
  other = tmp_path / "run"
  shutil.copytree(run, other)
  manifest = read_manifest(memory_folder(str(other / "store")))
  good = _examples_of(other, 2)
  # Of another store that lay here: first by name, and of values that have other ids.
  bad = other / "examples" / "2" / "0000"
  shutil.copytree(good, bad)
  write_vocabularies(str(bad / "vocabularies.json"), {"category": ["other"], "tab": ["values"]})
  found = unseen_rows.from_workspace(str(other / "store"), manifest)
  assert found is not None and found.source == good
  shutil.rmtree(good)
  assert unseen_rows.from_workspace(str(other / "store"), manifest) is None


def test_a_span_is_encoded_by_one_process_at_a_time(run, tmp_path):
  config = with_data_dir(load_config(str(run / "config.yaml")), str(run))
  folder = str(tmp_path / "examples")
  with concurrent.futures.ThreadPoolExecutor(3) as threads:
    made = [threads.submit(encoded_shards, config.log, config.features, 2, Store(str(run / "store")), folder)
            for _ in range(3)]
    shards = [one.result() for one in made]
  assert shards[0] == shards[1] == shards[2]
  assert len([path for path in (tmp_path / "examples").iterdir() if path.is_dir()]) == 1


def test_misuse_is_refused(run, tmp_path):
  with pytest.raises(DataError, match="later span"):
    _opened(run, test_spans=[1])
  with pytest.raises(DataError, match="at least one span"):
    _opened(run, data_dir=str(tmp_path))
  with pytest.raises(StoreError):
    open_log(str(run / "config.yaml"), str(tmp_path / "nowhere"), data_dir=str(run))
