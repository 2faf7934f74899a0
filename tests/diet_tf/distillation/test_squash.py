"""Squashing: a literal case by hand, and that neither batches nor shards show in the slots."""

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation.centres import Centres, fit_centres
from diet_tf.distillation.clusters import TeacherSpace, influence_weights, nearest_centre, random_clusters
from diet_tf.distillation.squash import SquashSettings, UserRule, squash
from diet_tf.distillation.start import sampled
from diet_tf.errors import ConfigError, DataError
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.hashing import mix
from diet_tf.models import build_model
from tests.diet_tf import small_sets
from tests.diet_tf.small_log import SPEC, scored

MAX_IDS = (2, 1, 3)


def in_batches(examples, size):
  return lambda: (examples.take(np.arange(start, min(start + size, len(examples))))
                  for start in range(0, len(examples), size))


def logit_space(examples):
  """A space of one dimension, so that clusters can be told by eye."""
  return examples.teacher_logits[:, None]


def squashed(examples, centres, size=1000, settings=None, **kwargs):
  kwargs = {"span": 7, "first_slot_id": 40, "seed": 3, **kwargs}
  cluster_of = nearest_centre(logit_space, Centres(np.asarray(centres, np.float32)[:, None]))
  return squash(in_batches(examples, size), cluster_of, len(centres), MAX_IDS, settings or SquashSettings(), **kwargs)


def literal_examples():
  # Four examples of logit log 3 (probability 3/4) or 0 (1/2), then one of logit -log 4 (1/5).
  ids = np.array([[5, 1, 1], [5, 1, 2], [6, 2, 1], [5, 1, 3], [9, 4, 4]], np.int32)
  logits = np.log(np.array([3, 3, 1, 1, 0.25], np.float32))
  return EncodedRows(ids, example_ids=np.arange(5), teacher_logits=logits,
                     influences=np.array([1, 2, 3, -2, 0.5], np.float32))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_two_clusters_by_hand(size):
  slots = squashed(literal_examples(), [-1.4, 99.0, 0.5], size)
  assert len(slots) == 2  # The centre in the middle got no example.
  assert slots.slot_ids.tolist() == [40, 41]
  assert slots.born_spans.tolist() == slots.updated_spans.tolist() == [7, 7]
  # Masses 1 and 4, scaled to the mean 1; labels are means of sigmoid(logit).
  np.testing.assert_allclose(slots.sample_weights, [0.4, 1.6], rtol=1e-6)
  np.testing.assert_allclose(slots.labels, [0.2, (3 / 4 + 3 / 4 + 1 / 2 + 1 / 2) / 4], rtol=1e-6)
  np.testing.assert_allclose(slots.influences, [0.5, 1.0], rtol=1e-6)
  shares = [[dict(zip(ids[weights > 0].tolist(), weights[weights > 0].tolist(), strict=True))
             for ids, weights in zip(*slot, strict=True)] for slot in zip(slots.ids, slots.weights, strict=True)]
  assert shares[0] == [{9: 1.0}, {4: 1.0}, {4: 1.0}]
  # The user keeps both ids, the item only its heaviest.
  assert shares[1] == [{5: 0.75, 6: 0.25}, {1: 1.0}, {1: 0.5, 2: 0.25, 3: 0.25}]


def test_slots_do_not_depend_on_batches_or_shards():
  examples = scored(500)
  centres = np.linspace(-3, 3, 9)
  settings = SquashSettings(kept_rows_per_slot=10)
  whole = squashed(examples, centres, settings=settings)
  for size in (7, 100):
    parts = squashed(examples, centres, size, settings=settings)
    for name in whole.DTYPES:
      np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), err_msg=name)


def test_slots_do_not_depend_on_the_order_of_rows():
  examples = scored(500)
  shuffled = examples.take(np.random.default_rng(5).permutation(500))
  settings = SquashSettings(kept_rows_per_slot=10)
  first, second = (squashed(one, [-2, 0, 2], settings=settings) for one in (examples, shuffled))
  np.testing.assert_array_equal(first.ids, second.ids)
  np.testing.assert_array_equal(first.weights, second.weights)
  np.testing.assert_allclose(first.labels, second.labels, rtol=1e-6)


def test_shares_are_counted_on_a_bounded_draw_of_rows():
  # 200 rows of one cluster, each of its own user but for the bound; the count of rows shows in the shares.
  ids = np.ones((200, 3), np.int32)
  ids[:, 0] = 1 + np.arange(200) % 12
  examples = EncodedRows(ids, example_ids=np.arange(200), teacher_logits=np.zeros(200, np.float32),
                         influences=np.zeros(200, np.float32))
  kept = squash(in_batches(examples, 30), lambda batch: np.zeros(len(batch), np.int64), 1, (12, 1, 1),
                SquashSettings(kept_rows_per_slot=5), span=0, first_slot_id=0, seed=3)
  rows = np.argsort(mix(examples.example_ids, 3))[:5]
  users, counts = np.unique(ids[rows, 0], return_counts=True)
  found = kept.ids[0, 0][kept.weights[0, 0] > 0]
  assert sorted(found.tolist()) == users.tolist()
  np.testing.assert_allclose(kept.weights[0, 0][np.argsort(found)], counts / 5, rtol=1e-6)
  assert kept.sample_weights[0] == 1  # All 200 rows count for the mass.


def test_random_clusters_depend_on_ids_and_seed_alone():
  examples = EncodedRows(np.ones((4000, 3), np.int32), example_ids=np.arange(4000))
  clusters = random_clusters(8, 3)(examples)
  # 500 in each, give or take five standard deviations.
  assert np.abs(np.bincount(clusters, minlength=8) - 500).max() < 105
  order = np.random.default_rng(0).permutation(4000)
  np.testing.assert_array_equal(random_clusters(8, 3)(examples.take(order)), clusters[order])
  assert (random_clusters(8, 4)(examples) != clusters).mean() > 0.8


def test_progress_counts_examples():
  seen = []
  squashed(literal_examples(), [0.0], 2, progress=lambda what, done, total: seen.append((done, total)))
  assert [done for done, _ in seen] == [2, 4, 5]


def test_clusters_open_where_influence_lies():
  random = np.random.default_rng(0)
  points = random.uniform(size=(1000, 1)).astype(np.float32)
  influences = np.where(points[:, 0] < 0.5, 10.0, 0.1)
  opened = {}
  for exponent in (0.0, 0.5, 1.0):
    weights = influence_weights(influences, SquashSettings(influence_exponent=exponent, max_influence_weight=16.0))
    centres = fit_centres(points, weights, 20, num_iterations=20, seed=2)
    opened[exponent] = int((centres < 0.5).sum())
  assert 7 <= opened[0.0] <= 13
  assert opened[0.0] < opened[0.5] < opened[1.0]


def test_influence_weights_by_hand():
  influences = np.array([0.0, -1.0, 1.0, 2.0, 16.0])  # The mean of the sizes is 4.
  settings = SquashSettings(influence_exponent=0.5, max_influence_weight=2.0)
  np.testing.assert_allclose(influence_weights(influences, settings), [0.5, 0.5, 0.5, 0.5**0.5, 2.0])
  np.testing.assert_array_equal(influence_weights(influences, SquashSettings(influence_exponent=0)), np.ones(5))
  np.testing.assert_array_equal(influence_weights(np.zeros(3), settings), np.ones(3))


def test_a_sample_depends_on_the_example_ids_alone():
  examples = scored(300)
  whole = sampled(in_batches(examples, 300), 20, 4)
  assert set(whole.example_ids) == set(examples.example_ids[np.argsort(mix(examples.example_ids, 4))[:20]])
  for size in (1, 7, 50):
    np.testing.assert_array_equal(sampled(in_batches(examples, size), 20, 4).example_ids, whole.example_ids)
  shuffled = examples.take(np.random.default_rng(5).permutation(300))
  assert set(sampled(in_batches(shuffled, 9), 20, 4).example_ids) == set(whole.example_ids)
  assert set(sampled(in_batches(examples, 50), 20, 5).example_ids) != set(whole.example_ids)


def test_a_sample_keeps_rows_together_and_in_order():
  examples = scored(300)
  drawn = sampled(in_batches(examples, 31), 40, 4)
  rows = np.array([int(np.flatnonzero(examples.example_ids == one)[0]) for one in drawn.example_ids])
  assert (np.diff(rows) > 0).all()
  for name in ("ids", "teacher_logits", "influences"):
    np.testing.assert_array_equal(getattr(drawn, name), getattr(examples, name)[rows])


def test_a_sample_of_few_rows_is_all_of_them():
  assert len(sampled(in_batches(scored(5), 2), 20, 0)) == 5
  with pytest.raises(DataError, match="at least one example"):
    sampled(lambda: iter(()), 20, 0)


def test_the_order_by_example_id_is_even():
  shares = [(mix(np.arange(20_000), seed) < np.uint64(1 << 62)).mean() for seed in (0, 1)]
  np.testing.assert_allclose(shares, 0.25, atol=0.01)
  assert mix(np.array([-1]), 0).dtype == np.uint64


def teacher_space(examples, num_components=3, member="dnn"):
  model = build_model(member, SPEC, embedding_dim=2, hidden_units=(4,), embedding_stddev=0.5, seed=1)
  return TeacherSpace(model, examples, num_components), model


def test_the_teachers_space_scales_embeddings_by_how_they_move_the_logit():
  examples = scored(300)
  space, model = teacher_space(examples, num_components=6)
  points = space(examples)
  assert points.shape == (300, 7) and points.dtype == np.float32
  np.testing.assert_allclose(points[:, -1].std(), 1, rtol=1e-5)
  # With all components kept, distances are those of the scaled embeddings, up to one common factor.
  embedded, slopes = (value.numpy() for value in space._embedded(examples.ids))
  scaled = embedded * np.sqrt(np.square(slopes).mean(0))
  expected = np.square(scaled[:40, None] - scaled[None, :40]).sum(2)
  found = np.square(points[:40, None, :-1] - points[None, :40, :-1]).sum(2)
  np.testing.assert_allclose(found / found.max(), expected / expected.max(), atol=1e-4)


def test_points_do_not_depend_on_the_batch():
  examples = scored(100)
  space, _ = teacher_space(examples)
  parts = [space(batch) for batch in in_batches(examples, 33)()]
  np.testing.assert_allclose(np.concatenate(parts), space(examples), atol=1e-5)


def test_a_teacher_without_embeddings_clusters_by_its_logit():
  examples = scored(50)
  space, _ = teacher_space(examples, member="lr")
  assert space(examples).shape == (50, 1)


@pytest.mark.parametrize("broken", [{"ids_per_slot": 0}, {"kept_rows_per_slot": 0}, {"influence_exponent": 3},
                                    {"max_influence_weight": 0.5}])
def test_settings_are_checked(broken):
  with pytest.raises(ConfigError, match=next(iter(broken))):
    SquashSettings(**broken)


def of_one_cluster(rows, **kwargs):
  examples = EncodedRows(rows, example_ids=np.arange(len(rows)), teacher_logits=np.zeros(len(rows), np.float32))
  return squash(in_batches(examples, 2), lambda batch: np.zeros(len(batch), np.int64), 1, (2, 3, 3, 1),
                SquashSettings(), span=0, first_slot_id=0, seed=3, layout=small_sets.LAYOUT, **kwargs)


def by_id(slots, field):
  return {int(number): float(weight) for number, weight in zip(slots.ids[0, field], slots.weights[0, field]) if weight}


def test_the_values_of_a_row_share_its_one_vote():
  rows = np.concatenate([small_sets.row(1, [2, 4], {1: 0.25, 3: 0.75}, 2), small_sets.row(2, [2], {3: 1.0}, 2),
                         small_sets.row(3, [0], {0: 1.0}, 2), small_sets.row(1, [5, 6, 7], {1: 0.5, 2: 0.5}, 2)])
  slots = of_one_cluster(rows)
  # Genre 2: 1/2 + 1; 4: 1/2; 0: 1; 5, 6, 7: 1/3 each. The three heaviest are kept: 2, 0 and 4, of 3 in all.
  assert by_id(slots, 1) == pytest.approx({2: 1.5 / 3, 0: 1 / 3, 4: 0.5 / 3}, rel=1e-6)
  # Tags 3: .75 + 1; 1: .25 + .5; 0: 1; 2: .5. Kept are 3, 0 and 1, of 3.5 in all.
  assert by_id(slots, 2) == pytest.approx({3: 1.75 / 3.5, 0: 1 / 3.5, 1: 0.75 / 3.5}, rel=1e-6)


def test_a_slot_that_keeps_all_ids_is_what_a_model_reads_in_the_mean():
  rows, *_ = small_sets.draw(3, seed=5)
  model = build_model("fm", small_sets.SPEC, seed=1, embedding_stddev=1.0)
  examples = EncodedRows(rows, example_ids=np.arange(3), teacher_logits=np.zeros(3, np.float32))
  slots = squash(in_batches(examples, 3), lambda batch: np.zeros(3, np.int64), 1, (13, 9, 7, 5), SquashSettings(),
                 span=0, first_slot_id=0, seed=3, layout=small_sets.LAYOUT)
  of_slot, _ = model.embed({"ids": tf.constant(slots.ids), "weights": tf.constant(slots.weights)})
  of_rows, _ = model.embed({"ids": tf.constant(rows)})
  np.testing.assert_allclose(of_slot[0], np.mean(of_rows, axis=0), rtol=1e-5, atol=1e-6)


def test_a_value_in_a_set_counts_as_its_users():
  rows = np.concatenate([small_sets.row(1, [2, 4], {1: 1.0}, 2), small_sets.row(1, [4], {1: 1.0}, 2),
                         small_sets.row(2, [2], {3: 1.0}, 2), small_sets.row(2, [6, 7], {0: 1.0}, 2)])
  slots = of_one_cluster(rows, users=UserRule(0, 2))
  # Genre 2 had users 1 and 2; 4 twice, but of one user; no tag had two.
  assert by_id(slots, 1) == {2: 1.0}
  assert by_id(slots, 2) == {0: 1.0}
