import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from diet_tf.distillation.gate import PREVIOUS, START
from diet_tf.errors import DataError, StoreError
from diet_tf.store.memories import load_memory
from diet_tf.store.pins import pin_commit
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from tfx_components import inputs
from tfx_components.stage_files import read_verdict, write_verdict


@pytest.fixture
def own(workshop, shared_workshop, first):
  """A workshop with a copy of the store in which span 1 alone is committed."""
  del first
  shutil.copytree(shared_workshop.store, workshop.store)
  (pathlib.Path(workshop.store) / "commits" / "2.json").unlink(missing_ok=True)
  return workshop


def chosen_instead(workshop, made, chosen):
  """The artifacts with a verdict for another candidate."""
  verdict, span = read_verdict(made.verdict.uri)
  artifact = workshop.artifact(type(made.verdict))
  pathlib.Path(artifact.uri).mkdir(parents=True)
  write_verdict(artifact.uri, dataclasses.replace(verdict, chosen=chosen), span, 80)
  return dataclasses.replace(made, verdict=artifact)


def test_a_commit_holds_all_that_the_next_span_needs(shared_workshop, first, second):
  store = Store(shared_workshop.store)
  assert [commit.span for commit in check_store(store).require_sound()] == [1, 2]
  commit = store.read(2)
  assert {path.split("/")[0] for path in commit.files} == {"memory", "teacher", "carried", "vocabularies.json",
                                                           "schema", "statistics"}
  assert (commit.parent, commit.parent_data) == (1, store.read(1).data)
  assert commit.run_id == "run-1"
  assert commit.settings["budget"]["fraction"] == 0.05 and commit.settings["seed"] == 3
  assert commit.feature_spec_digest == shared_workshop.spec.digest()
  assert load_memory(store.uri).manifest.span == 2
  del first, second


def test_the_artifact_says_where_the_memory_is(shared_workshop, second):
  location = json.loads((pathlib.Path(second.commit.uri) / "location.json").read_text())
  memory = load_memory(location["memory_uri"])
  assert location["store_uri"] == shared_workshop.store
  assert second.commit.get_string_custom_property("memory_uri") == location["memory_uri"]
  assert second.commit.get_string_custom_property("memory_digest") == memory.digest
  assert second.commit.get_int_custom_property("num_slots") == len(memory)
  assert inputs.Parent.of(second.commit).commit == Store(shared_workshop.store).read(2)


def test_the_memory_that_the_gate_chose_is_committed(own, second):
  for chosen, artifact in (("refined", second.memory), ("start", second.start)):
    commit = own.commit(2, chosen_instead(own, second, chosen), replace=1)
    assert commit.get_string_custom_property("chosen") == chosen
    assert load_memory(own.store).digest == load_memory(f"{artifact.uri}/memory").digest


def test_the_memory_before_stands_for_the_new_examples_too(own, first, second):
  commit = own.commit(2, chosen_instead(own, second, PREVIOUS))
  previous, memory = load_memory(f"{second.parent.uri}/memory"), load_memory(own.store)
  np.testing.assert_array_equal(memory.slots.ids, previous.slots.ids)
  np.testing.assert_array_equal(memory.slots.labels, previous.slots.labels)
  assert memory.recipe == previous.recipe
  assert (memory.manifest.span, memory.manifest.num_examples_seen) == (2, 1200)
  assert memory.manifest.lineage == ({"span": 1, "digest": previous.digest},)
  assert commit.get_string_custom_property("chosen") == PREVIOUS
  with pytest.raises(DataError, match="'previous' is chosen only"):
    own.commit(1, chosen_instead(own, first, PREVIOUS), replace=1)


def test_the_same_content_again_changes_nothing(own, first):
  before = own.contents(own.store)
  commit = own.commit(1, first, run_id="another run")
  assert own.contents(own.store) == before
  assert commit.get_string_custom_property("run_id") == "run-1"


def test_other_content_is_refused_unless_it_is_to_replace(own, first):
  chosen = read_verdict(first.verdict.uri)[0].chosen
  other = chosen_instead(own, first, "refined" if chosen == START else START)
  before = own.contents(own.store)
  with pytest.raises(StoreError, match="never changed silently"):
    own.commit(1, other)
  assert own.contents(own.store) == before
  own.commit(1, other, replace=1, run_id="by hand")
  store = Store(own.store)
  assert store.read(1).run_id == "by hand"
  assert len(list(pathlib.Path(own.store).glob("commits/1.replaced-*.json"))) == 1
  check_store(store).require_sound()


def test_old_commits_are_removed_after_the_commit_but_for_pinned_ones(own, first, second):
  commit = own.commit(2, second, store_spans=1)
  store = Store(own.store)
  assert store.spans() == [2] and store.read(2).data == commit.get_string_custom_property("digest")
  assert [one.span for one in store.forgotten()] == [1]
  check_store(store).require_sound()


def test_a_pinned_commit_stays_where_old_ones_are_removed(own, first, second):
  pin_commit(Store(own.store), 1, "model v12 in production")
  own.commit(2, second, store_spans=1)
  assert Store(own.store).spans() == [1, 2]


def test_a_store_that_moved_on_is_not_overtaken(own, first, second):
  chosen = read_verdict(first.verdict.uri)[0].chosen
  own.commit(1, chosen_instead(own, first, "refined" if chosen == START else START), replace=1)
  with pytest.raises(StoreError, match="run span 2 again"):
    own.commit(2, second)
  assert Store(own.store).spans() == [1]


def test_a_verdict_of_another_span_is_refused(own, first, second):
  with pytest.raises(DataError, match="span 1"):
    own.commit(2, dataclasses.replace(second, verdict=first.verdict))


def test_a_whole_stage_again_gives_the_same_commit(workshop, shared_workshop, first):
  del first
  workshop.run_stage(1)
  assert Store(workshop.store).read(1).data == Store(shared_workshop.store).read(1).data
