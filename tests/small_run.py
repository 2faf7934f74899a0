"""The folder of a small run: log, config, encoded spans, and a store of memories made of rows of the log."""

from __future__ import annotations

import pathlib

import numpy as np
import yaml

from diet_tf.config.config import load_config
from diet_tf.io import files
from diet_tf.log.examples import read_examples
from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.store.store import Store
from pipelines.data_folder import with_data_dir
from pipelines.encoded_spans import encoded_shards
from tests.diet_tf.small_slots import small_slots
from tfx_components.log_gen.file_names import VOCABULARIES_NAME

LOG = SimulatedLogSettings(num_users=60, num_items=40, num_authors=10, num_categories=6, num_segments=3,
                           rows_per_span=600, strength=2.5)
# The memories are of the first two; the last is held out.
NUM_SPANS = 3
NUM_SLOTS = 64
FIELDS = [{"name": "user_id", "hash": 256}, {"name": "item_id", "hash": 128}, {"name": "category", "vocabulary": 16},
          {"name": "price", "boundaries": [4, 9, 20]}, {"name": "tab", "vocabulary": 8}]


def make_run(folder: pathlib.Path) -> str:
  """Writes the run, with `config.yaml` and the span's files beside the store, and returns the store's root."""
  log = SimulatedLog(LOG)
  for span in range(NUM_SPANS):
    log.write_csv(str(folder / f"span-{span}.csv"), span)
  values = {"name": "small", "log": {"pattern": "span-{SPAN}.csv"},
            "features": {"label": "click", "time": "time_ms", "fields": FIELDS}, "budget": {"fraction": 0.05}}
  (folder / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
  config = with_data_dir(load_config(str(folder / "config.yaml")), str(folder))
  store = Store(str(folder / "store"))
  for span in range(NUM_SPANS):
    shards = encoded_shards(config.log, config.features, span, store, str(folder / "examples" / str(span)))
    if span < NUM_SPANS - 1:
      save_memory(str(folder / f"memory-{span}"), _memory_of_rows(shards, config.features, span))
      vocabularies = files.join(files.parent(files.parent(shards[0])), VOCABULARIES_NAME)
      store.commit(span, {"memory": str(folder / f"memory-{span}"), VOCABULARIES_NAME: vocabularies},
                   parent=store.newest(below=span), settings={}, run_id=f"small-{span}")
  return store.uri


def _memory_of_rows(shards: list[str], spec, span: int) -> Memory:
  """Slots of two rows each that agree in their label, so that bags have two ids."""
  ids, labels, _ = next(read_examples(shards, spec, 10 * NUM_SLOTS))
  order = np.argsort(labels, kind="stable")
  pairs = order[:2 * (len(order) // 2)].reshape(-1, 2)
  pairs = pairs[np.random.default_rng(span).permutation(len(pairs))[:NUM_SLOTS]]
  bags = ids[pairs].transpose(0, 2, 1)  # [num_slots, num_fields, 2]
  slots = small_slots(bags, labels=labels[pairs].mean(axis=1), born_spans=span, spec=spec)
  return Memory.create(slots, spec, Recipe(batch_size=8, epochs=4), span=span,
                       num_examples_seen=(span + 1) * LOG.rows_per_span, budget={"fraction": 0.05})
