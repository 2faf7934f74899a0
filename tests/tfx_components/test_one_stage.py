"""The components of a stage, one after the other over files, make what `run_stage` makes of the same rows in memory."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from diet_tf.distillation.carried_rows import CARRIED_PART, CarriedRows
from diet_tf.distillation.settings import Stage
from diet_tf.distillation.span import Span
from diet_tf.distillation.stage import NO_GATE, carry, run_stage
from diet_tf.distillation.teacher import Teacher
from diet_tf.log.examples import is_held_back
from diet_tf.log.features import FeatureSpec, Field
from diet_tf.memory.privacy import PrivacySettings
from diet_tf.memory.slots import Slots
from diet_tf.report.stage_record import StageRecord
from diet_tf.store.memories import load_memory
from diet_tf.store.store import MEMORY_PART, Store
from diet_tf.store.verification import check_store
from tfx_components.stage_files import read_verdict


def test_components_and_run_stage_make_the_same_memories(shared_workshop, first, second):
  workshop, store = shared_workshop, Store(shared_workshop.store)
  teacher, memory, carried = Teacher(workshop.spec, workshop.settings.teacher, seed=3), None, None
  for number, made in ((1, first), (2, second)):
    ids, labels, example_ids, _ = workshop.make_examples(number)
    outcome = run_stage(memory, Span.of_arrays(number, workshop.spec, ids, labels, example_ids), teacher,
                        workshop.settings, seed=3, carried=carried)
    memory, carried = outcome.memory, outcome.carried
    committed = load_memory(store.path(store.read(number), MEMORY_PART))
    assert outcome.chosen == read_verdict(made.verdict.uri)[0].chosen
    for name in Slots.DTYPES:
      # Scores are summed shard by shard there and in other batches here.
      np.testing.assert_allclose(getattr(memory.slots, name), getattr(committed.slots, name), rtol=1e-4, atol=1e-6,
                                 err_msg=f"{name} of span {number}")
    manifest, expected = memory.manifest, committed.manifest
    assert (manifest.settings_digest, manifest.span, manifest.num_examples_seen, manifest.max_ids) == (
        expected.settings_digest, expected.span, expected.num_examples_seen, expected.max_ids)


@pytest.fixture
def light(workshop, shared_workshop, second):
  """A third span on top of the two, with a memory that is refined only once it has grown tenfold."""
  shutil.copytree(shared_workshop.store, workshop.store)
  distill = dataclasses.replace(workshop.settings.distill, refine_growth=9.0)
  workshop.settings = dataclasses.replace(workshop.settings, distill=distill)
  return workshop.run_stage(3, accept_changes=1)


def test_a_light_stage_commits_its_start_and_carries_its_rows_on(workshop, light):
  store = Store(workshop.store)
  before, commit = store.read(2), store.read(3)
  memory, start = (load_memory(f"{uri}/memory") for uri in (light.memory.uri, light.start.uri))
  assert memory.digest == start.digest == load_memory(workshop.store).digest
  assert commit.files["memory/manifest.json"].sha256 != before.files["memory/manifest.json"].sha256
  old = load_memory(store.path(before, MEMORY_PART))
  note = memory.manifest.last_refinement
  assert (note["span"], note["num_slots"], note["num_examples_seen"]) == (2, len(old), 1200)
  assert note["num_added"] == int((memory.slots.born_spans == 3).sum()) > 0
  assert check_store(store).require_sound()

  verdict, _ = read_verdict(light.verdict.uri)
  assert verdict == NO_GATE
  summary = StageRecord.read(f"{light.verdict.uri}/stage.json").summary
  assert summary.verdict is None and not summary.outer_losses and "last refined, at span 2" in summary.light
  page = pathlib.Path(light.verdict.uri, "report.html").read_text()
  assert "A light stage: new slots entered as they were squashed" in page

  _, _, example_ids, _ = workshop.make_examples(3)
  rows = CarriedRows.read(store.path(commit, CARRIED_PART), workshop.spec)
  assert (rows.after_span, rows.num_examples_before) == (2, 1200)
  assert set(rows.rows.example_ids) == set(example_ids[~np.asarray(is_held_back(example_ids, 0.2))])
  # The fourth span adds its rows to them.
  parent = workshop.load(4)
  given = carry(Stage(workshop.spec, workshop.settings, 3, 4), load_memory(f"{parent.uri}/memory"),
                CarriedRows.read(f"{parent.uri}/carried", workshop.spec), lambda: iter(()))
  assert given.rows.example_ids.tolist() == rows.rows.example_ids.tolist()


def test_rows_that_are_carried_change_with_the_spec(workshop, light):
  old = CarriedRows.read(Store(workshop.store).path(Store(workshop.store).read(3), CARRIED_PART), workshop.spec)
  grown = FeatureSpec((Field("user", "user", hash_ids=79), *workshop.spec.fields[1:], Field("new", "new", hash_ids=5)),
                      workshop.spec.label)
  workshop.spec = grown
  parent = workshop.load(4, accept_changes=1)
  new = CarriedRows.read(f"{parent.uri}/carried", grown)
  assert new.rows.example_ids.tolist() == old.rows.example_ids.tolist() and (new.rows.ids[:, 3] == 0).all()
  # An id of 40 is one of two of 79.
  assert ((new.rows.ids[:, 0] - old.rows.ids[:, 0]) % 39 == 0).all()
  assert len(set((new.rows.ids[:, 0] - old.rows.ids[:, 0]).tolist())) == 2


def test_no_rows_are_committed_under_a_rule_on_users(workshop, first):
  workshop.settings = dataclasses.replace(workshop.settings, privacy=PrivacySettings("user", 2))
  workshop.commit(1, first)
  commit = Store(workshop.store).read(1)
  assert not [path for path in commit.files if path.startswith(CARRIED_PART)]
  assert workshop.contents(first.start.uri)["carried/carried.json"]
