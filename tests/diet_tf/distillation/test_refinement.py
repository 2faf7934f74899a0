"""Refinement: what may move and what may not, the same bits for one seed, and a lower loss on examples not seen."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation import refinement as distill
from diet_tf.distillation.learned_memory import LEARNABLE, LearnedMemory
from diet_tf.distillation.refinement import (
  DistillSettings,
  EncodedRows,
  OuterLoop,
  devices_of,
  initial_recipe,
  refine,
  replay,
  stretched,
)
from diet_tf.errors import ConfigError, NumericsError
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.slots import Slots
from diet_tf.models.parameter_groups import PARAMETER_GROUPS
from diet_tf.training.inner_settings import InnerSettings
from diet_tf.training.slot_trainer import Candidate, train_by_recipe
from tests.diet_tf.small_log import SPEC, draw, true_logits
from tests.diet_tf.small_slots import small_slots

NUM_SLOTS = 24
SETTINGS = DistillSettings(inner=InnerSettings(batch_size=8, epochs=2), proxies=("lr",), outer_steps=30,
                           outer_batch_size=128, outer_learning_rate=0.2, learning_rate_linear=0.2,
                           num_initialisations=2)
MOVABLE = np.arange(NUM_SLOTS) % 4 != 0


class OwnKeras(tf.keras.Model):
  """A user's plain Keras model of one id per field."""

  def __init__(self, spec, *, seed=0):
    super().__init__()
    start = tf.keras.initializers.RandomNormal(stddev=0.1, seed=seed)
    self.tables = {name: tf.keras.layers.Embedding(num_ids, 2, start)
                   for name, num_ids in zip(spec.names, spec.num_ids, strict=True)}
    self.out = tf.keras.layers.Dense(1, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))

  def call(self, features, training=False):
    return self.out(tf.concat([table(features[name]) for name, table in self.tables.items()], axis=1))


def make_slots():
  """Slots of two ids per field whose labels say nothing yet."""
  random = np.random.default_rng(0)
  ids = np.stack([draw(NUM_SLOTS, seed)[0] for seed in (1, 2)], axis=2)
  # An id that a field holds twice is one id: the second place stays empty.
  twice = ids[..., 0] == ids[..., 1]
  weights = np.stack([np.where(twice, 1, 0.6), np.where(twice, 0, 0.4)], axis=2)
  numbers = np.arange(NUM_SLOTS)
  return small_slots(np.where(weights > 0, ids, 0), weights, sample_weights=random.uniform(0.5, 1.5, NUM_SLOTS),
                     slot_ids=numbers + 100, born_spans=numbers, influences=numbers, spec=SPEC)


def outer_rows(num_rows, seed):
  ids = draw(num_rows, seed)[0]
  return EncodedRows(ids, (1 / (1 + np.exp(-true_logits(ids)))).astype(np.float32))


START, NEW, OLD = make_slots(), outer_rows(600, 3), outer_rows(100, 4)
RECIPE = initial_recipe(SETTINGS, NUM_SLOTS, None)


def refined_by(settings=SETTINGS, movable=MOVABLE, **kwargs):
  return refine(START, movable, NEW, OLD, 0.25, SPEC, RECIPE, settings, **{"seed": 6, **kwargs})


@pytest.fixture(scope="module")
def refined():
  """A refinement with its outer loop and what it reported."""
  loops, steps = [], []

  class Kept(OuterLoop):

    def __init__(self, *args):
      super().__init__(*args)
      loops.append(self)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(distill, "OuterLoop", Kept)
    result = refined_by(progress=lambda what, done, total: steps.append((done, total)))
  return result, loops[0], steps


def held_back_loss(slots, recipe, member="lr"):
  rows = outer_rows(2000, seed=77)
  logits = train_by_recipe(member, SPEC, Candidate(slots, recipe), [50, 51], rows.ids).astype(np.float64)
  return float((np.logaddexp(0, logits) - rows.labels * logits).mean())


def test_it_lowers_the_outer_loss(refined):
  losses = refined[0].losses
  assert losses.shape == (30,)
  assert losses[-5:].mean() < losses[:3].mean() - 0.03
  assert refined[0].num_skipped == 0 and refined[0].proxies == ("lr",) * 30
  assert refined[2] == [(step, 30) for step in range(1, 31)]


def test_it_beats_its_start_on_examples_not_seen(refined):
  result = refined[0]
  assert held_back_loss(result.slots, result.recipe) < held_back_loss(START, RECIPE) - 0.03
  # Also with an architecture that took no part.
  fm = "fm(embedding_dim=2)"
  assert held_back_loss(result.slots, result.recipe, fm) < held_back_loss(START, RECIPE, fm) - 0.03


def test_frozen_slots_stay_bit_for_bit(refined):
  slots = refined[0].slots
  for name in ("ids", "weights", "labels"):
    np.testing.assert_array_equal(getattr(slots, name)[~MOVABLE], getattr(START, name)[~MOVABLE], err_msg=name)
  for name in ("ids", "slot_ids", "born_spans", "updated_spans", "influences"):
    np.testing.assert_array_equal(getattr(slots, name), getattr(START, name), err_msg=name)


def test_movable_slots_move_and_stay_slots(refined):
  slots = refined[0].slots
  assert (np.abs(slots.labels - START.labels)[MOVABLE] > 1e-4).all()
  both = (START.weights > 0).all(2) & MOVABLE[:, None]
  assert (np.abs(slots.weights - START.weights)[both] > 1e-5).all()
  assert (slots.weights[START.weights == 0] == 0).all()
  np.testing.assert_allclose(slots.weights.sum(2), 1, rtol=1e-5)
  assert 0 < slots.labels.min() and slots.labels.max() < 1
  np.testing.assert_allclose(slots.sample_weights.mean(), 1, rtol=1e-5)
  # Frozen slots keep their weight against each other.
  ratio = (slots.sample_weights / START.sample_weights)[~MOVABLE]
  np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_the_recipe_is_learned(refined):
  recipe = refined[0].recipe
  assert recipe.learning_rates["linear"] != RECIPE.learning_rates["linear"]
  # No proxy has embeddings, so that their rate has no gradient.
  np.testing.assert_allclose(recipe.learning_rates["embedding"], RECIPE.learning_rates["embedding"], rtol=1e-6)
  assert len(recipe.step_multipliers) == 6 and set(recipe.step_multipliers) != {1.0}
  assert (recipe.batch_size, recipe.epochs, recipe.beta_2) == (8, 2, RECIPE.beta_2)


def test_an_update_is_traced_once(refined):
  assert refined[1].num_traces("lr") == 1


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
  short = dataclasses.replace(SETTINGS, outer_steps=3)
  first, second, other = refined_by(short), refined_by(short), refined_by(short, seed=7)
  for name in Slots.DTYPES:
    np.testing.assert_array_equal(getattr(first.slots, name), getattr(second.slots, name), err_msg=name)
  assert first.recipe == second.recipe
  np.testing.assert_array_equal(first.losses, second.losses)
  assert (first.slots.labels != other.slots.labels)[MOVABLE].mean() > 0.5


def test_a_proxy_with_dropout_and_normalisation_refines_to_the_same_bits_again():
  settings = dataclasses.replace(SETTINGS, proxies=("tests.diet_tf.training.test_replayable:User(act=both)",),
                                 outer_steps=4)
  first, second = (refined_by(settings) for _ in range(2))
  np.testing.assert_array_equal(first.losses, second.losses)
  np.testing.assert_array_equal(first.slots.labels, second.slots.labels)
  assert (first.slots.labels != START.labels)[MOVABLE].all() and first.recipe == second.recipe


def test_proxies_take_turns_the_users_own_among_them():
  names = (f"{__name__}:OwnKeras", "diet_tf.models:TfrsRanking(member=lr)")
  settings = dataclasses.replace(SETTINGS, proxies=names, outer_steps=4, learn_recipe=False)
  result = refined_by(settings)
  assert result.proxies == names * 2 and np.isfinite(result.losses).all()
  assert (result.slots.labels != START.labels)[MOVABLE].all()
  # Rates stay where they are told to.
  for group, rate in RECIPE.learning_rates.items():
    np.testing.assert_allclose(result.recipe.learning_rates[group], rate, rtol=1e-6)
  # Ids are drawn for the model of single ids, so that it alone moves no id weights; the model in TFRS takes them.
  assert np.abs(result.slots.weights - START.weights)[MOVABLE].max() > 1e-3
  alone = refined_by(dataclasses.replace(settings, proxies=names[:1]))
  np.testing.assert_allclose(alone.slots.weights, START.weights, rtol=1e-5)


@pytest.mark.parametrize("learned", LEARNABLE)
def test_what_is_not_learned_stays(learned):
  result = refined_by(dataclasses.replace(SETTINGS, outer_steps=4, learned=(learned,)))
  before = {"id_weights": START.weights, "labels": START.labels,
            "sample_weights": START.sample_weights / START.sample_weights.mean()}
  after = {"id_weights": result.slots.weights, "labels": result.slots.labels,
           "sample_weights": result.slots.sample_weights}
  for name in LEARNABLE:
    moved = np.abs(after[name] - before[name])[MOVABLE].max()
    assert moved > 1e-3 if name == learned else moved < 1e-5, name


def test_no_outer_steps_leave_the_start():
  result = refined_by(dataclasses.replace(SETTINGS, outer_steps=0))
  np.testing.assert_allclose(result.slots.labels, START.labels, rtol=1e-6)
  np.testing.assert_allclose(result.slots.weights, START.weights, rtol=1e-6)
  assert len(result.losses) == 0 and result.proxies == ()


def with_updates(monkeypatch, outcomes):
  """Outer steps that report these losses and gradient norms."""
  outcomes = iter(outcomes)
  monkeypatch.setattr(OuterLoop, "update", lambda self, *args: next(outcomes))
  return dataclasses.replace(SETTINGS, outer_steps=40)


def test_a_loss_that_is_not_finite_stops_the_step(monkeypatch):
  settings = with_updates(monkeypatch, [(0.5, 1.0), (np.nan, 1.0)])
  with pytest.raises(NumericsError, match=r"outer step 1(.|\n)*nan with proxy 'lr'"):
    refined_by(settings)


def test_a_few_gradients_may_be_infinite_and_no_more(monkeypatch):
  settings = with_updates(monkeypatch, [(0.5, np.inf)] * 2 + [(0.5, 1.0)] * 38)
  assert refined_by(settings).num_skipped == 2  # A twentieth of 40.
  settings = with_updates(monkeypatch, [(0.5, 1.0)] * 5 + [(0.5, np.nan)] * 3)
  with pytest.raises(NumericsError, match=r"outer step 7(.|\n)*3 so far"):
    refined_by(settings)


@pytest.mark.parametrize("tensor,index,match", [
    ("label_logits", 3, r"learned soft labels(.|\n)*slots \[103\]"),
    ("mixture_logits", (5, 1, 0), r"learned id weights(.|\n)*slots \[105\]"),
    ("log_sample_weights", 9, r"learned sample weights(.|\n)*slots \[109\]"),
    ("log_rates", 1, r"learned learning rates(.|\n)*entries \[1\]"),
])
def test_a_learned_tensor_that_is_not_finite_is_named_with_its_slots(monkeypatch, tensor, index, match):
  def broken(self):
    variable = getattr(self.memory, tensor)
    value = variable.numpy()
    value[index] = np.nan
    variable.assign(value)

  monkeypatch.setattr(OuterLoop, "finish", broken)
  with pytest.raises(NumericsError, match=match):
    refined_by(dataclasses.replace(SETTINGS, outer_steps=0))


def learned_memory(start=START, movable=MOVABLE):
  return LearnedMemory(start, RECIPE.learning_rates, np.asarray(RECIPE.step_multipliers), movable)


def test_learned_tensors_start_as_the_slots_say():
  inputs = learned_memory().inputs()
  np.testing.assert_allclose(inputs.weights, START.weights, atol=1e-6)
  np.testing.assert_allclose(inputs.labels, START.labels, rtol=1e-6)
  np.testing.assert_allclose(inputs.sample_weights, START.sample_weights / START.sample_weights.mean(), rtol=1e-5)
  np.testing.assert_allclose(inputs.learning_rates, [RECIPE.learning_rates[group] for group in PARAMETER_GROUPS],
                             rtol=1e-6)
  np.testing.assert_allclose(inputs.step_multipliers, 1)


def test_hard_labels_can_be_learned():
  hard = START.replace(labels=np.arange(NUM_SLOTS) % 2)
  labels = learned_memory(hard, np.ones(NUM_SLOTS, bool)).inputs().labels.numpy()
  assert np.abs(labels - hard.labels).max() < 1e-3 and 0 < labels.min() and labels.max() < 1


def constant_gradients(memory, size):
  return [tf.fill(variable.shape, np.float32(size)) for variable in memory.variables]


def test_a_gradient_that_is_not_finite_changes_nothing():
  memory = learned_memory()
  loop = OuterLoop(memory, {}, SETTINGS)
  before = [variable.numpy() for variable in memory.variables]
  gradients = constant_gradients(memory, 1.0)
  gradients[1] = tf.tensor_scatter_nd_update(gradients[1], [[2]], [np.inf])
  assert not np.isfinite(loop._apply(gradients).numpy())
  for variable, value in zip(memory.variables, before, strict=True):
    np.testing.assert_array_equal(variable, value)
  # Nor does it spoil the running norm, or Adam's moments, for the next one.
  assert np.isfinite(loop._apply(constant_gradients(memory, 1.0)).numpy())
  assert all(np.isfinite(variable.numpy()).all() for variable in memory.variables)
  assert (memory.label_logits.numpy() < before[1]).all()


def test_a_large_gradient_is_clipped_to_the_running_norm():
  memory = learned_memory()
  loop = OuterLoop(memory, {}, SETTINGS)
  norm = float(loop._apply(constant_gradients(memory, 1.0)))
  np.testing.assert_allclose(loop._norm.numpy(), norm, rtol=1e-6)
  loop._apply(constant_gradients(memory, 10.0))
  # The running norm counts it as three times itself, and Adam sees twice the running norm.
  np.testing.assert_allclose(loop._norm.numpy(), norm * (0.95 + 0.05 * 3), rtol=1e-5)
  np.testing.assert_allclose(loop._slot_optimizer._momentums[0], 0.9 * 0.1 * 1 + 0.1 * 2, rtol=1e-4)


def test_the_result_is_the_average_of_the_last_steps():
  memory = learned_memory()
  loop = OuterLoop(memory, {}, SETTINGS)
  loop.finish()  # Without any taken in, nothing changes.
  np.testing.assert_allclose(memory.label_logits, 0, atol=1e-6)
  for value in (1.0, 2.0, 6.0):
    memory.label_logits.assign(tf.fill([NUM_SLOTS], value))
    loop.accumulate()
  loop.finish()
  np.testing.assert_allclose(memory.label_logits, 3.0)


def test_replayed_rows_follow_the_weights():
  ids = np.array([[[1, 2, 0], [3, 0, 0]], [[4, 5, 6], [7, 8, 0]]])
  weights = np.array([[[0.25, 0.75, 0], [1, 0, 0]], [[0.2, 0.3, 0.5], [0.9, 0.1, 0]]])
  slots = small_slots(ids, weights, sample_weights=[0.5, 1.5])
  rows = replay(slots, 20_000, seed=1)
  assert rows.shape == (20_000, 2) and rows.dtype == np.int32
  shares = [np.bincount(rows[:, field], minlength=9) / len(rows) for field in range(2)]
  # A quarter of the rows is of the first slot.
  np.testing.assert_allclose(shares[0][:7], [0, 0.0625, 0.1875, 0, 0.15, 0.225, 0.375], atol=0.012)
  np.testing.assert_allclose(shares[1][:9], [0, 0, 0, 0.25, 0, 0, 0, 0.675, 0.075], atol=0.012)
  # Fields of one row are of one slot.
  assert (np.isin(rows[:, 0], [1, 2]) == (rows[:, 1] == 3)).all()
  np.testing.assert_array_equal(rows, replay(slots, 20_000, seed=1))


@pytest.mark.parametrize("share,num_old", [(0.5, 4), (0.9, 6), (0.1, 2)])
def test_outer_batches_weigh_old_and_new_by_what_stands_behind_them(share, num_old):
  batches = distill._OuterBatches(NEW, OLD, share, 8, np.random.default_rng(0))
  ids, targets, importances = batches.draw()
  assert ids.shape == (8, 3) and targets.shape == (8,)
  new, old = importances[:8 - num_old], importances[8 - num_old:]
  np.testing.assert_allclose([new.sum(), old.sum()], [1 - share, share], rtol=1e-6)
  known = {tuple(row): target for row, target in zip(NEW.ids.tolist(), NEW.labels, strict=True)}
  assert all(known[tuple(row)] == target for row, target in zip(ids[:8 - num_old].tolist(), targets, strict=False))


def test_a_first_stage_has_no_old_rows_in_its_batches():
  importances = distill._OuterBatches(NEW, None, 0.0, 8, np.random.default_rng(0)).draw()[2]
  np.testing.assert_allclose(importances, 1 / 8)


def test_multipliers_keep_their_course_over_another_length():
  np.testing.assert_allclose(stretched(np.array([1.0, 3.0]), 5), [1, 1.5, 2, 2.5, 3])
  np.testing.assert_allclose(stretched(np.array([1.0, 2.0, 3.0]), 2), [1, 3])
  np.testing.assert_allclose(stretched(np.zeros(0), 3), 1)
  np.testing.assert_allclose(stretched(np.array([0.5]), 3), 0.5)


def test_the_first_recipe_is_of_the_settings_and_later_ones_of_the_one_before():
  assert RECIPE.learning_rates == {"embedding": 0.01, "linear": 0.2, "dense": 0.01}
  assert RECIPE.step_multipliers == (1.0,) * 6
  before = Recipe(batch_size=4, epochs=1, learning_rates=dict.fromkeys(PARAMETER_GROUPS, 0.5),
                  step_multipliers=(1.0, 2.0))
  after = initial_recipe(SETTINGS, 16, before)
  assert after.learning_rates == before.learning_rates and (after.batch_size, after.epochs) == (8, 2)
  np.testing.assert_allclose(after.step_multipliers, [1, 4 / 3, 5 / 3, 2])


def test_without_a_strategy_there_is_one_device():
  assert len(devices_of(None)) == 1
  assert devices_of(tf.distribute.get_strategy()) == devices_of(None)
  assert len(devices_of(tf.distribute.OneDeviceStrategy("/CPU:0"))) == 1


@pytest.mark.parametrize("broken", [{"proxies": ()}, {"outer_steps": -1}, {"outer_batch_size": 0},
                                    {"outer_learning_rate": 0.0}, {"clip_ratio": 0.0}, {"averaged_fraction": 1.5},
                                    {"replay_rows": -1}, {"learning_rate_dense": -1.0}, {"learned": ("ids",)}])
def test_settings_are_checked(broken):
  with pytest.raises(ConfigError, match=next(iter(broken))):
    DistillSettings(**broken)


TWO_DEVICES = """
import dataclasses
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from diet_tf.distillation import refinement
from tests.diet_tf.distillation.test_refinement import RECIPE, SETTINGS, START, held_back_loss, refined_by
used = []
make_proxies = refinement.make_proxies
def kept(*args, **kwargs):
  used.append((kwargs["devices"], made := make_proxies(*args, **kwargs)))
  return made
refinement.make_proxies = kept
result = refined_by(strategy=tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
(devices, proxies), = used
print([proxy.training.variables[0].device[-5:] for proxy in proxies["lr"]], len(devices))
print(held_back_loss(result.slots, result.recipe), held_back_loss(START, RECIPE))
"""


@pytest.mark.slow
def test_two_devices_refine_together():
  done = subprocess.run([sys.executable, "-W", "ignore", "-c", TWO_DEVICES], capture_output=True, text=True,
                        cwd=pathlib.Path(__file__).parents[3],
                        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"})
  assert done.returncode == 0, done.stderr
  devices, losses = done.stdout.strip().splitlines()[-2:]
  assert devices == "['CPU:0', 'CPU:1'] 2"
  after, before = map(float, losses.split())
  assert after < before - 0.03
