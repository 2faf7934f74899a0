"""A spec that grows: which ids a value may have then, and slots that hold all of them."""

import dataclasses

import numpy as np
import pytest

from diet_tf.errors import ConfigError
from diet_tf.log.encoding import encode
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.salt import Salt
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.migration import memory as migration_module
from diet_tf.migration.memory import migrate_memory, migrate_slots, plan_migration
from diet_tf.store.memories import load_memory
from tests.diet_tf import small_sets
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec((Field("user", "user", hash_ids=5), Field("item", "item", hash_ids=4),
                    Field("kind", "kind", vocabulary_ids=6),
                    Field("day", "day", vocabulary_ids=4, vocabulary=("a", "b")),
                    Field("price", "price", boundaries=(1.0, 2.0))), Label("click"), "time")
HOUR = Field("hour", "hour", hash_ids=25)


def grown(**changes):
  """The spec with keys of its fields changed, by the field's name."""
  return dataclasses.replace(SPEC, fields=tuple(dataclasses.replace(field, **changes.get(field.name, {}))
                                                for field in SPEC.fields))


def with_fields(*fields):
  return dataclasses.replace(SPEC, fields=tuple(fields))


def make_slots(ids, weights):
  number = np.arange(len(ids))
  return small_slots(ids, weights, labels=number % 5 * 0.25, slot_ids=number + 10, updated_spans=1,
                     influences=number * 0.5)


@pytest.mark.parametrize("size, factor", [(2, 1), (2, 7), (5, 2), (1001, 3), (1 << 16, 2)])
def test_every_value_has_one_of_the_ids_that_its_old_id_becomes(size, factor):
  values = [None, "", *range(2000), *(f"user {number}" for number in range(2000)), *np.linspace(0, 1, 500)]
  before = encode(Field("user", "user", hash_ids=size), values)
  larger = 1 + factor * (size - 1)
  after = encode(Field("user", "user", hash_ids=larger), values)
  spec = FeatureSpec((Field("user", "user", hash_ids=size),), Label("click"))
  plan = plan_migration(spec, dataclasses.replace(spec, fields=(Field("user", "user", hash_ids=larger),)))
  candidates = np.concatenate([plan.ids(before[:, None], np.full(len(values), k)) for k in range(factor)], axis=1)
  assert (candidates == after[:, None]).any(axis=1).all()
  assert not after[:2].any() and candidates.max() < larger
  if factor > 1 and size > 2:
    # Each candidate is needed by some value.
    assert {int(np.flatnonzero(row == one)[0]) for row, one in zip(candidates, after)} == set(range(factor))


def test_what_grows():
  plan = plan_migration(SPEC, dataclasses.replace(grown(
      user={"hash_ids": 13}, kind={"vocabulary_ids": 9}, item={"ids_per_slot": 2},
      day={"vocabulary_ids": 5, "vocabulary": ("a", "b", "c")}), fields=(
          *grown(user={"hash_ids": 13}, kind={"vocabulary_ids": 9}).fields, HOUR)))
  assert plan.growth == (3, 1, 1, 1, 1)
  assert (plan.added, plan.regrown, plan.is_empty) == (("hour",), ("user",), False)
  assert plan_migration(SPEC, SPEC).is_empty
  plan_migration(SPEC, grown(item={"ids_per_slot": 2}, day={"vocabulary_ids": 5, "vocabulary": ("a", "b", "c")}))
  ids = plan.ids(np.array([[4, 3, 5, 2, 1], [0, 0, 0, 0, 0]]), np.array([2, 2]))
  # The third of the ids that user 4 becomes: 4 + 2 * (5 - 1).
  assert ids.tolist() == [[12, 3, 5, 2, 1, 0], [0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("spec, words", [
    (with_fields(*SPEC.fields[:4]), ["field 'price'", '"day", "price"] committed', '"kind", "day"] now']),
    (with_fields(SPEC.fields[1], SPEC.fields[0], *SPEC.fields[2:]), ["field 'user'", "stays field 1"]),
    (with_fields(HOUR, *SPEC.fields), ["field 'user'", "new fields come after all others"]),
    (with_fields(dataclasses.replace(SPEC.fields[0], name="person"), *SPEC.fields[1:]), ["field 'user'", "person"]),
    (grown(user={"column": "person"}), ["field 'user'", '"user"', '"person"']),
    (grown(price={"boundaries": (1.0, 3.0)}), ["field 'price'", "[1.0, 2.0]", "[1.0, 3.0]"]),
    (grown(user={"hash_ids": None, "vocabulary_ids": 5}), ["field 'user'", '"hash": 5', '"vocabulary": 5']),
    (grown(kind={"vocabulary": ("a",)}), ["field 'kind'", "the way to an id"]),
    (grown(day={"vocabulary": ("b", "a")}), ["field 'day'", '["a", "b"]', '["b", "a"]']),
    (grown(kind={"vocabulary_ids": 5}), ["field 'kind'", "6 committed, 5 now", "use 6 or more"]),
    # 1 + m * 4: 13 and 17 lie about 15; below 5 there is none but 5 itself.
    (grown(user={"hash_ids": 15}), ["field 'user'", "5 committed, 15 now", "use 13 or 17"]),
    (grown(user={"hash_ids": 3}), ["field 'user'", "5 committed, 3 now", "use 5 or 9"]),
    (dataclasses.replace(SPEC, label=Label("click", 3.0)), ["features.label", "3.0"]),
    (dataclasses.replace(SPEC, time_column=None), ["features.time", '"time" committed, null now']),
])
def test_all_else_is_refused_with_both_values(spec, words):
  with pytest.raises(ConfigError) as caught:
    plan_migration(SPEC, spec)
  assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_salt_neither_comes_nor_goes():
  for old, new in ((SPEC, SPEC.with_salt(Salt("SALT"))), (SPEC.with_salt(Salt("SALT", "ab")), SPEC)):
    with pytest.raises(ConfigError, match="privacy.salt_environment_variable.*begin a new store"):
      plan_migration(old, new)


def test_a_grown_spec_stays_bound_to_the_secret_of_the_old_one():
  old = SPEC.with_salt(Salt("SALT", "0123456789abcdef"))
  plan = plan_migration(old, with_fields(*SPEC.fields, HOUR).with_salt(Salt("SALT")))
  assert plan.new.salt == Salt("SALT", "0123456789abcdef") and plan.added == ("hour",)


def two_fields(user, *more):
  return FeatureSpec((Field("user", "user", hash_ids=user), Field("kind", "kind", vocabulary_ids=6), *more),
                     Label("click"))


def test_slots_share_the_weight_of_an_id_equally():
  slots = make_slots([[[2, 4], [3, 0]], [[0, 1], [2, 5]]], [[[0.75, 0.25], [1, 0]], [[0.5, 0.5], [0.5, 0.5]]])
  moved = migrate_slots(slots, plan_migration(two_fields(5), two_fields(9, HOUR)))
  assert moved.ids.shape == (2, 3, 4)
  found = [[{one: weight for one, weight in zip(ids.tolist(), weights.tolist()) if weight}
            for ids, weights in zip(*slot)] for slot in zip(moved.ids, moved.weights)]
  # User 2 becomes 2 and 6, user 4 becomes 4 and 8, user 1 becomes 1 and 5; missing stays so.
  assert found[0][0] == {2: 0.375, 6: 0.375, 4: 0.125, 8: 0.125}
  assert found[1][0] == {0: 0.5, 1: 0.25, 5: 0.25}
  assert moved.ids[:, 1, :2].tolist() == [[3, 0], [2, 5]]
  assert moved.ids[:, 2].tolist() == [[0] * 4] * 2 and moved.weights[:, 2].tolist() == [[1, 0, 0, 0]] * 2
  for name in ("labels", "sample_weights", "slot_ids", "born_spans", "updated_spans", "influences"):
    np.testing.assert_array_equal(getattr(moved, name), getattr(slots, name))


def test_where_not_all_ids_fit_each_old_id_keeps_its_weight(monkeypatch):
  monkeypatch.setattr(migration_module, "MAX_IDS_PER_FIELD", 5)
  num_slots, growth = 40, 8
  slots = make_slots(np.tile([[[2, 4], [1, 0]]], (num_slots, 1, 1)),
                     np.tile([[[0.75, 0.25], [1, 0]]], (num_slots, 1, 1)))
  moved = migrate_slots(slots, plan_migration(two_fields(5), two_fields(1 + 4 * growth)))
  assert moved.max_ids == 4  # Two each.
  for ids, weights in zip(moved.ids[:, 0], moved.weights[:, 0]):
    old = 1 + (ids - 1) % 4
    assert len(set(ids.tolist())) == 4
    assert weights[old == 2].sum() == pytest.approx(0.75) and weights[old == 4].sum() == pytest.approx(0.25)
  # All slots together have every id.
  assert set(moved.ids[:, 0].ravel().tolist()) == {user + 4 * k for k in range(growth) for user in (2, 4)}


def test_a_slot_with_more_ids_than_fit_keeps_their_number(monkeypatch):
  monkeypatch.setattr(migration_module, "MAX_IDS_PER_FIELD", 2)
  slots = make_slots([[[1, 2, 3], [0, 0, 0]]], [[[0.5, 0.25, 0.25], [1, 0, 0]]])
  moved = migrate_slots(slots, plan_migration(two_fields(5), two_fields(17)))
  assert moved.max_ids == 3 and moved.weights[0, 0].tolist() == [0.5, 0.25, 0.25]
  assert (1 + (moved.ids[0, 0] - 1) % 4).tolist() == [1, 2, 3]


def test_a_memory_keeps_all_but_ids_and_says_what_it_came_from(tmp_path):
  slots = make_slots([[[2, 4], [3, 0]], [[0, 1], [2, 5]]], [[[0.75, 0.25], [1, 0]], [[0.5, 0.5], [0.5, 0.5]]])
  first = {"span": 3, "digest": "ab" * 32}
  memory = save_memory(str(tmp_path / "old"), Memory.create(
      slots, two_fields(5), Recipe(batch_size=2), span=4, num_examples_seen=100, budget={"fraction": 0.02},
      lineage=(first,), settings_digest="cd" * 32))
  plan = plan_migration(memory.spec, two_fields(9, HOUR))
  saved = save_memory(str(tmp_path / "new"), migrate_memory(memory, plan))
  loaded = load_memory(str(tmp_path / "new"), spec=plan.new)
  assert loaded.manifest.max_ids == {"user": 4, "kind": 2, "hour": 1}
  for name in ("span", "num_examples_seen", "budget", "settings_digest", "recipe", "num_slots"):
    assert getattr(loaded.manifest, name) == getattr(memory.manifest, name)
  # What grows from the copy has the committed memory in its lineage, and not the copy.
  committed = {"span": 4, "digest": memory.digest}
  assert saved.digest != memory.digest
  assert loaded.manifest.grown_lineage() == memory.manifest.grown_lineage() == (first, committed)


def test_rows_with_sets_of_values_grow_as_single_ones():
  old = small_sets.SPEC
  fields = (old.fields[0], dataclasses.replace(old.fields[1], hash_ids=17), *old.fields[2:],
            Field("tones", "tones", hash_ids=5, max_values=2, weights="w"))
  plan = plan_migration(old, dataclasses.replace(old, fields=fields))
  rows = np.concatenate([small_sets.row(5, [2, 4], {1: 0.25, 3: 0.75}, 2), small_sets.row(6, [0], {0: 1.0}, 3)])
  one = np.float32(1).view(np.int32)
  # The second copy of a genre's id is 8 further; what is missing stays so, and the new field is missing.
  assert plan.ids(rows, np.array([1, 1])).tolist() == [
      [5, 10, 12, -1, 1, 3, 2, 0, -1, *rows[0, 7:].tolist(), one, 0],
      [6, 0, -1, -1, 0, -1, 3, 0, -1, *rows[1, 7:].tolist(), one, 0]]
  for change in ({"max_values": 4}, {"separator": ","}, {"max_values": None, "separator": None}):
    changed = dataclasses.replace(old, fields=(old.fields[0], dataclasses.replace(old.fields[1], **change),
                                               *old.fields[2:]))
    with pytest.raises(ConfigError, match="what says which values a row has"):
      plan_migration(old, changed)
