"""A minimum of users behind every id weight and every slot: by hand, for any rows, and through a refinement."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diet_tf.distillation.centres import Centres
from diet_tf.distillation.clusters import nearest_centre, random_clusters
from diet_tf.distillation.refinement import DistillSettings, initial_recipe, refine
from diet_tf.distillation.squash import SquashSettings, UserRule, squash
from diet_tf.errors import ConfigError, DataError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.slot_records import check_slots
from diet_tf.training.bilevel import InnerSettings

USER, ITEM, HOUR = 0, 1, 2
SPEC = FeatureSpec((Field("user", "user", hash_ids=13), Field("item", "item", hash_ids=9),
                    Field("hour", "hour", hash_ids=5)), Label("click"))
MAX_IDS = (2, 2, 3)


def rows(*triples, logits=None):
  ids = np.asarray(triples, np.int32)
  logits = np.zeros(len(ids)) if logits is None else np.asarray(logits)
  return EncodedRows(ids, example_ids=np.arange(len(ids)), teacher_logits=logits.astype(np.float32),
                     influences=np.ones(len(ids), np.float32))


def squashed(examples, centres, min_users, size=1000, kept=256):
  """Clusters by the logit alone, so that they can be told by eye."""
  centres = np.asarray(centres, np.float32)[:, None]
  users = UserRule(USER, min_users) if min_users > 1 else None
  return squash(lambda: (examples.take(np.arange(start, min(start + size, len(examples))))
                         for start in range(0, len(examples), size)),
                nearest_centre(lambda batch: batch.teacher_logits[:, None], Centres(centres)), len(centres), MAX_IDS,
                SquashSettings(kept_rows_per_slot=kept), span=7, first_slot_id=0, seed=3, users=users, centres=centres)


def shares(slots):
  """Per slot and field, the weight of each id that has one."""
  return [[{int(one): round(float(weight), 4) for one, weight in zip(*field, strict=True) if weight > 0}
           for field in zip(*slot, strict=True)] for slot in zip(slots.ids, slots.weights, strict=True)]


def test_ids_of_too_few_users_lose_their_weight():
  # Three users. Item 1 is of users 1, 2 and 3; item 2 of user 1 alone, three times; item 3 of users 2 and 3.
  examples = rows((1, 1, 1), (1, 2, 1), (1, 2, 1), (1, 2, 1), (2, 1, 2), (2, 3, 1), (3, 1, 2), (3, 3, 3))
  assert shares(squashed(examples, [0.0], 1))[0][ITEM:] == [{1: 0.5, 2: 0.5}, {1: 0.625, 2: 0.25, 3: 0.125}]
  # The heaviest item has one user; the others share its weight. Every user has one user: nobody is named.
  assert shares(squashed(examples, [0.0], 2)) == [[{0: 1.0}, {1: 0.6, 3: 0.4}, {1: 0.7143, 2: 0.2857}]]
  # Hour 1 is of users 1 and 2 only: of three users is none of them.
  assert shares(squashed(examples, [0.0], 3)) == [[{0: 1.0}, {1: 1.0}, {0: 1.0}]]


def test_missing_is_an_id_as_any_other_and_no_user():
  # Rows without a user count for nobody; a missing item of one user must not show either.
  examples = rows((0, 1, 1), (0, 1, 1), (1, 1, 1), (2, 1, 1), (2, 0, 1))
  assert shares(squashed(examples, [0.0], 2)) == [[{0: 1.0}, {1: 1.0}, {1: 1.0}]]
  with pytest.raises(DataError, match="distinct users.*Received: 2 for 3"):
    squashed(examples, [0.0], 3)
  with pytest.raises(DataError, match="Received: 0 for 2"):
    squashed(rows((0, 1, 1), (0, 1, 1)), [0.0], 2)


def test_a_cluster_of_too_few_users_joins_the_nearest():
  # Clusters at -4 (user 1), 0 (users 2 and 3), 5 (users 4 and 5).
  examples = rows((1, 1, 1), (1, 1, 1), (2, 2, 1), (3, 2, 1), (4, 3, 2), (5, 3, 2), logits=[-4, -4, 0, 0, 5, 5])
  assert len(squashed(examples, [-4.0, 0.0, 5.0], 1)) == 3
  slots = squashed(examples, [-4.0, 0.0, 5.0], 2)
  assert shares(slots) == [[{0: 1.0}, {2: 1.0}, {1: 1.0}], [{0: 1.0}, {3: 1.0}, {2: 1.0}]]
  # Masses 4 and 2 about their mean 3; labels are means over all rows of the joined clusters.
  np.testing.assert_allclose(slots.sample_weights, [4 / 3, 2 / 3], rtol=1e-6)
  sigmoid = lambda logit: 1 / (1 + np.exp(-logit))  # noqa: E731
  np.testing.assert_allclose(slots.labels, [(2 * sigmoid(-4) + 2 * 0.5) / 4, sigmoid(5)], rtol=1e-6)
  assert slots.slot_ids.tolist() == [0, 1]


def test_small_clusters_join_until_none_is_small():
  # One user each at 0, 1, 4, 5 and two at 9: those at 0 and 1, and at 4 and 5, find each other.
  examples = rows(*((user, 1, 1) for user in range(1, 7)), logits=[0, 1, 4, 5, 9, 9])
  slots = squashed(examples, [0.0, 1.0, 4.0, 5.0, 9.0], 2)
  np.testing.assert_allclose(slots.sample_weights * 2, [2, 2, 2], rtol=1e-6)
  # Asked for four users, the pairs join once more, until one slot is left.
  assert len(squashed(examples, [0.0, 1.0, 4.0, 5.0, 9.0], 4)) == 1


def test_random_clusters_join_by_their_numbers():
  examples = rows(*((user, 1, 1) for user in range(1, 13)))
  slots = squash(lambda: [examples], random_clusters(6, 0), 6, MAX_IDS, SquashSettings(), span=1, first_slot_id=0,
                 seed=0, users=UserRule(USER, 4))
  assert 1 <= len(slots) <= 3 and slots.sample_weights.sum() == pytest.approx(len(slots))


def test_more_users_than_kept_rows_cannot_be_counted():
  with pytest.raises(ConfigError, match="kept_rows_per_slot.*9 for 8"):
    squashed(rows((1, 1, 1)), [0.0], 9, kept=8)


def test_users_of_rows_that_are_not_kept_count_for_nothing_and_the_refusal_says_so():
  # Nine users, one of whom has most rows: of six rows at least five are needed to be of others.
  examples = rows(*((1, 1, 1) for _ in range(200)), *((user, 1, 1) for user in range(2, 10)))
  assert len(squashed(examples, [0.0], 6)) == 1
  with pytest.raises(DataError, match="among the 6 rows.*for 6.*squash.kept_rows_per_slot"):
    squashed(examples, [0.0], 6, kept=6)


LOGS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 8), st.integers(0, 4), st.sampled_from([-2, 0, 1, 4])),
                min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(LOGS, st.integers(2, 5), st.sampled_from([6, 256]), st.randoms(use_true_random=False))
def test_behind_every_weight_and_every_slot_stand_enough_users(log, min_users, kept, random):
  values = np.asarray(log)
  # Distinct clusters by the logit, which the rows behind each slot are found by below.
  examples = rows(*values[:, :3].tolist(), logits=values[:, 3])
  centres = [-2.0, 0.0, 1.0, 4.0]
  try:
    slots = squashed(examples, centres, min_users, kept=kept)
  except DataError:
    # All rows together have enough users only if so many of them are kept.
    assert len(set(values[:, USER]) - {0}) < min_users or kept < len(values)
    return
  check_slots(slots, SPEC)
  order = random.sample(range(len(log)), len(log))
  for other in (squashed(examples.take(np.asarray(order)), centres, min_users, kept=kept),
                squashed(examples, centres, min_users, size=7, kept=kept)):
    for name in slots.DTYPES:
      np.testing.assert_allclose(getattr(other, name), getattr(slots, name), rtol=1e-6, err_msg=name)
  assert set(slots.ids[:, USER].ravel().tolist()) == {0}
  masses = slots.sample_weights / slots.sample_weights.sum() * len(log)
  for slot in range(len(slots)):
    behind = [rows_of for rows_of in _unions(values, centres)
              if len(rows_of) == round(masses[slot]) and abs(_mean_label(rows_of) - slots.labels[slot]) < 1e-5]
    assert any(_holds(slots, slot, rows_of, min_users) for rows_of in behind)


def _unions(values, centres):
  """The rows of every set of clusters: those behind a slot are one of them."""
  for chosen in range(1, 1 << len(centres)):
    mask = np.isin(values[:, 3], [centre for place, centre in enumerate(centres) if chosen >> place & 1])
    if mask.any():
      yield values[mask]


def _mean_label(behind):
  return float(np.mean(1 / (1 + np.exp(-behind[:, 3].astype(np.float64)))))


def _holds(slots, slot, behind, min_users):
  if len(set(behind[:, USER]) - {0}) < min_users:
    return False
  for field in (ITEM, HOUR):
    weighted = slots.ids[slot, field][slots.weights[slot, field] > 0]
    counted = [one for one in weighted
               if len(set(behind[behind[:, field] == one, USER]) - {0}) >= min_users]
    if len(counted) < len(weighted) and weighted.tolist() != [0]:
      return False
  return True


def test_a_refinement_brings_no_weight_to_other_ids():
  random = np.random.default_rng(0)
  count = 400
  ids = np.stack([random.integers(1, size, count) for size in SPEC.num_ids], axis=1)
  examples = rows(*ids.tolist(), logits=random.normal(size=count))
  slots = squashed(examples, np.linspace(-2, 2, 16), 3)
  slots = slots.take(np.arange(len(slots) // 8 * 8))
  assert len(slots) >= 8 and (slots.weights == 0).any()
  distill = DistillSettings(inner=InnerSettings(batch_size=8, epochs=1), proxies=("lr", "fm(embedding_dim=2)"),
                            outer_steps=8, outer_batch_size=64, num_initialisations=1)
  outer = EncodedRows(examples.ids, random.random(count).astype(np.float32))
  refined = refine(slots, np.ones(len(slots), bool), outer, None, 0.0, SPEC, initial_recipe(distill, len(slots), None),
                   distill, seed=0)
  assert not np.array_equal(refined.slots.weights, slots.weights)
  np.testing.assert_array_equal(refined.slots.ids, slots.ids)
  np.testing.assert_array_equal(refined.slots.weights > 0, slots.weights > 0)
