import dataclasses
import json

import numpy as np
import pytest

from diet_tf.distillation.addressing import Action
from diet_tf.errors import DataError, FormatError
from diet_tf.store.memories import load_memory
from tfx_components.stage_files import read_start


@pytest.mark.parametrize("span", [1, 2])
def test_the_budget_is_filled_in_whole_batches(span, first, second):
  start = load_memory(f"{(first, second)[span - 1].start.uri}/memory")
  # 5 % of 600 and of 1,200 examples, in batches of 8 slots.
  assert len(start) == {1: 24, 2: 56}[span]
  assert start.manifest.num_examples_seen == 600 * span
  assert start.slots.sample_weights.mean() == pytest.approx(1, abs=1e-6)


def test_actions_agree_with_provenance(second):
  previous, memory = load_memory(f"{second.parent.uri}/memory"), load_memory(f"{second.start.uri}/memory")
  start, num_examples = read_start(second.start.uri, memory)
  assert num_examples == 600
  added = start.actions == Action.ADD
  assert (memory.slots.born_spans[added] == 2).all() and (memory.slots.born_spans[~added] == 1).all()
  assert set(memory.slots.slot_ids[~added]) <= set(previous.slots.slot_ids)
  assert not set(memory.slots.slot_ids[added]) & set(previous.slots.slot_ids)
  frozen = start.actions == Action.FREEZE
  assert frozen.any() and (start.actions == Action.UPDATE).any()
  assert (memory.slots.updated_spans[frozen] == 1).all() and (memory.slots.updated_spans[~frozen] == 2).all()
  assert start.counts["add"] == added.sum() and start.counts["freeze"] == frozen.sum()
  assert second.start.get_int_custom_property("num_add") == added.sum()


def test_frozen_slots_are_as_they_were(second):
  previous, memory = (load_memory(f"{uri}/memory").slots for uri in (second.parent.uri, second.start.uri))
  start, _ = read_start(second.start.uri, load_memory(f"{second.start.uri}/memory"))
  for row in np.flatnonzero(start.actions == Action.FREEZE):
    old = int(np.flatnonzero(previous.slot_ids == memory.slot_ids[row])[0])
    np.testing.assert_array_equal(memory.ids[row], previous.ids[old])
    np.testing.assert_array_equal(memory.weights[row], previous.weights[old])
    assert memory.labels[row] == previous.labels[old]


def test_the_lineage_names_the_memory_before(first, second):
  assert load_memory(f"{first.start.uri}/memory").manifest.lineage == ()
  previous = load_memory(f"{second.parent.uri}/memory")
  assert load_memory(f"{second.start.uri}/memory").manifest.lineage == ({"span": 1, "digest": previous.digest},)


def test_the_same_inputs_give_the_same_bytes(workshop, second):
  again = workshop.address(2, second)
  assert workshop.contents(again.uri) == workshop.contents(second.start.uri)
  assert again.get_string_custom_property("digest") == second.start.get_string_custom_property("digest")


def test_scores_of_another_memory_are_refused(workshop, first, second):
  with pytest.raises(FormatError, match="slot_influences.npz"):
    workshop.address(2, dataclasses.replace(second, scores=first.scores, teacher=first.teacher))


def test_a_budget_below_one_batch_is_refused(workshop, first):
  settings = json.loads(workshop.settings.to_json())
  settings["budget"]["fraction"] = 0.001
  with pytest.raises(DataError, match="budget"):
    given = {name: getattr(first, name) for name in ("examples", "scores", "teacher", "parent")}
    workshop.run("MemoryAddresser", given, {"start": type(first.start)}, settings=json.dumps(settings), seed=3,
                 span="1", features=json.dumps(workshop.spec.to_dict()))


def test_actions_of_another_memory_are_refused(first, second):
  with pytest.raises(FormatError, match="actions.npz"):
    read_start(second.start.uri, load_memory(f"{first.start.uri}/memory"))
