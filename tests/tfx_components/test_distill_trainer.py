import dataclasses
import pathlib

import numpy as np
import pytest

from diet_tf.distillation.addressing import Action
from diet_tf.errors import ConfigError
from diet_tf.store.memories import load_memory
from tfx_components.stage_files import read_refinement, read_start


def loaded(made):
  return load_memory(f"{made.memory.uri}/memory"), load_memory(f"{made.start.uri}/memory")


@pytest.mark.parametrize("span", [1, 2])
def test_the_memory_is_the_start_moved(span, first, second):
  made = (first, second)[span - 1]
  memory, start = loaded(made)
  np.testing.assert_array_equal(memory.slots.slot_ids, start.slots.slot_ids)
  assert np.abs(memory.slots.labels - start.slots.labels).max() > 1e-4
  assert memory.recipe.learning_rates != start.recipe.learning_rates
  assert memory.manifest.settings_digest == start.manifest.settings_digest
  assert memory.manifest.lineage == start.manifest.lineage
  assert made.memory.get_int_custom_property("span") == span
  assert made.memory.get_int_custom_property("num_slots") == len(memory)
  assert made.memory.get_string_custom_property("digest") == memory.digest


def test_frozen_slots_keep_ids_weights_and_labels(second):
  memory, start = loaded(second)
  frozen = read_start(second.start.uri, start)[0].actions == Action.FREEZE
  np.testing.assert_array_equal(memory.slots.ids[frozen], start.slots.ids[frozen])
  np.testing.assert_allclose(memory.slots.weights[frozen], start.slots.weights[frozen], atol=1e-6)
  np.testing.assert_allclose(memory.slots.labels[frozen], start.slots.labels[frozen], atol=1e-6)


def test_the_refinement_is_recorded(second):
  document = read_refinement(second.memory.uri)
  assert len(document["losses"]) == 4 and all(0 < loss < 2 for loss in document["losses"])
  assert document["proxies"] == ["lr"] * 4
  assert document["num_skipped"] == 0


def test_the_same_inputs_give_the_same_bytes(workshop, second):
  assert workshop.contents(workshop.refine(2, second).uri) == workshop.contents(second.memory.uri)


def test_the_strategy_is_checked(workshop, first):
  with pytest.raises(ConfigError, match="abacus"):
    workshop.refine(1, first, strategy="abacus")


class Cut(Exception):
  """What ends an attempt in the middle."""


@pytest.mark.parametrize("with_store", [False, True])
def test_an_attempt_that_was_cut_is_gone_on_with(workshop, first, monkeypatch, with_store):
  """The next attempt writes elsewhere, and ends with the bytes of one that was not cut; the checkpoint is gone."""
  steps = []

  def cut(what, done, total):
    steps.append(done)
    if done == 3 and len(steps) == 3:
      raise Cut

  monkeypatch.setattr("tfx_components.distill_trainer.executor.report", cut)
  monkeypatch.setattr("diet_tf.distillation.refinement_checkpoints.MIN_STEPS", 1)
  distill = dataclasses.replace(workshop.settings.distill, checkpoint_seconds=1e-9)
  arguments = {"settings": dataclasses.replace(workshop.settings, distill=distill),
               "store_uri": f"{workshop.folder}/other-store" if with_store else ""}
  with pytest.raises(Cut):
    workshop.refine(1, first, **arguments)
  folder = pathlib.Path(workshop.folder, *(["other-store"] if with_store else []), "unfinished")
  assert [path.name for path in folder.iterdir()] == ["refinement-1.npz"]
  again = workshop.refine(1, first, **arguments)
  assert steps == [1, 2, 3, 4]  # Of four steps the third and last kept one is not made again.
  assert workshop.contents(again.uri) == workshop.contents(first.memory.uri)
  assert not list(folder.iterdir())
