"""Two spans with a config that changes between them."""

import hashlib
import pathlib

import numpy as np
import pandas as pd
import pytest

from diet_tf.config.config import load_config
from diet_tf.errors import ConfigError
from diet_tf.log import encoding
from diet_tf.log.examples import example_dataset
from diet_tf.memory.manifest import read_manifest
from diet_tf.store.memories import load_memory
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from pipelines import command_line
from pipelines.data_folder import with_data_dir
from pipelines.evaluation import Evaluation
from pipelines.workspace import Workspace


def digests(folder: pathlib.Path) -> dict[str, str]:
  return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
          for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_field_and_a_larger_hash_space_between_two_spans(tiny_log, tmp_path):
  def run(*arguments):
    return command_line.run(["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder),
                             "--output", str(tmp_path / "out"), "--no-evaluate", *arguments])

  assert run("--span", "0") == 0
  store = Store(str(tmp_path / "out" / "store"))
  old = load_config(tiny_log.config_path).features
  first = read_manifest(store.path(store.read(0), "memory"))
  before = digests(tmp_path / "out" / "store")

  # 256 ids are 1 + 255: 766 is 1 + 3 * 255.
  tiny_log.with_features(user_id={"hash": 766}, author_id={"vocabulary": 8})
  new = load_config(tiny_log.config_path).features
  with pytest.raises(ConfigError) as caught:
    run("--span", "1", "--seed", "5")
  for words in ("features.fields.user_id.hash: 256 committed, 766 now", "seed: 0 committed, 5 now", "--accept-changes",
                "features.fields.author_id.vocabulary: not set committed, 8 now"):
    assert words in str(caught.value)
  assert caught.value.exit_code == 2
  assert digests(tmp_path / "out" / "store") == before

  assert run("--span", "1", "--accept-changes") == 0
  assert [commit.span for commit in check_store(store).require_sound()] == [0, 1]
  commit = store.read(1)
  assert commit.settings["migrated_from"] == store.read(0).feature_spec_digest == old.digest()
  memory = load_memory(store.path(commit, "memory"), spec=new)
  assert memory.manifest.lineage == ({"span": 0, "digest": first.digest},)
  assert memory.manifest.num_examples_seen == 3000
  kept = memory.slots.born_spans == 0
  assert 0 < kept.sum() < len(memory)
  # Old slots know nothing of the new field; new ones do.
  author = memory.slots.ids[:, memory.spec.names.index("author_id")]
  assert not author[kept].any() and author[~kept].any()

  # For the panel, span 0 is encoded again: its ids mean what they mean in the memory.
  config = with_data_dir(load_config(tiny_log.config_path), str(tiny_log.folder))
  shards = Evaluation(config, Workspace(str(tmp_path / "out")), store)._log_shards(0)
  encoded = np.concatenate([ids.numpy() for ids, _, _ in example_dataset(shards, new, 256)])
  authors = pd.read_csv(tiny_log.folder / "span-0.csv")["author_id"].to_numpy()
  known = encoding.read_vocabularies(store.path(commit, "vocabularies.json"))["author_id"]
  expected = encoding.encode(new.fields[-1], authors, known)
  assert len(known) == 6 and 0 < (expected == 1).sum() < 1500
  assert np.bincount(encoded[:, -1]).tolist() == np.bincount(expected).tolist()

  # The next span is of the same config: nothing is to be declared.
  assert run("--span", "2") == 0
  assert [entry["span"] for entry in read_manifest(store.path(store.read(2), "memory")).lineage] == [0, 1]
  assert "migrated_from" not in store.read(2).settings
