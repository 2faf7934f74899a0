"""The gate: a better memory passes, a spoiled one does not, and what is not finite stops it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from diet_tf.distillation.gate import GateSettings, judge
from diet_tf.errors import ConfigError, NumericsError
from diet_tf.memory.recipe import Recipe
from diet_tf.models.parameter_groups import PARAMETER_GROUPS
from diet_tf.training.bilevel import InnerSettings
from diet_tf.training.slot_trainer import Candidate, SlotTrainer, recipe_inputs, train_by_recipe
from tests.diet_tf.small_log import SPEC, draw, true_logits
from tests.diet_tf.small_slots import small_slots

NUM_SLOTS = 96
INNER = InnerSettings(batch_size=32, epochs=3)
RECIPE = Recipe(batch_size=32, epochs=3, beta_2=0.99, learning_rates=dict.fromkeys(PARAMETER_GROUPS, 0.1))
SETTINGS = GateSettings(members=("lr",), num_seeds=2)
IDS, LABELS, _ = draw(3000, seed=9)


class Probabilities(tf.keras.Model):
  """A user's model of one id per field that returns probabilities."""

  from_logits = False

  def __init__(self, spec, *, seed=0):
    super().__init__()
    self.tables = {name: tf.keras.layers.Embedding(num_ids, 1, "zeros")
                   for name, num_ids in zip(spec.names, spec.num_ids, strict=True)}

  def call(self, features, training=False):
    return tf.sigmoid(tf.add_n([table(features[name]) for name, table in self.tables.items()]))


def make_slots(seed=0, noise=0.0):
  """Rows labelled by their true probability, or by noise."""
  ids = draw(NUM_SLOTS, seed)[0]
  random = np.random.default_rng(seed)
  labels = (1 - noise) / (1 + np.exp(-true_logits(ids))) + noise * random.random(NUM_SLOTS)
  return small_slots(ids, labels=labels, spec=SPEC)


GOOD, WORSE = Candidate(make_slots(), RECIPE), Candidate(make_slots(noise=0.5), RECIPE)
SPOILED = Candidate(make_slots().replace(labels=np.random.default_rng(1).permutation(make_slots().labels)), RECIPE)


@pytest.fixture(scope="module")
def verdict_on_better():
  steps = []
  verdict = judge({"refined": GOOD, "start": WORSE, "previous": SPOILED}, SPEC, IDS, LABELS, SETTINGS, seed=4,
                  progress=lambda what, done, total: steps.append((done, total)))
  return verdict, steps


def test_a_better_memory_passes(verdict_on_better):
  verdict, steps = verdict_on_better
  assert verdict.chosen == "refined"
  assert verdict.losses["refined"] < verdict.losses["start"] < verdict.losses["previous"]
  for name in ("start", "previous"):
    np.testing.assert_allclose(verdict.differences[name], verdict.losses["refined"] - verdict.losses[name], rtol=1e-9)
    assert verdict.differences[name] < -SETTINGS.z * verdict.standard_errors[name] < 0
  assert steps == [(1, 3), (2, 3), (3, 3)]


def test_the_same_seed_gives_the_same_verdict(verdict_on_better):
  again = judge({"refined": GOOD, "start": WORSE, "previous": SPOILED}, SPEC, IDS, LABELS, SETTINGS, seed=4)
  assert again == verdict_on_better[0]


def test_a_spoiled_memory_gives_way_to_the_best_of_the_others():
  verdict = judge({"refined": SPOILED, "start": WORSE, "previous": GOOD}, SPEC, IDS, LABELS, SETTINGS, seed=4)
  assert verdict.chosen == "previous"
  assert judge({"refined": SPOILED, "start": WORSE}, SPEC, IDS, LABELS, SETTINGS, seed=4).chosen == "start"


def test_what_is_no_worse_beyond_noise_passes():
  few = slice(0, 60)
  nearly = Candidate(make_slots(noise=0.1), RECIPE)
  verdict = judge({"refined": nearly, "start": GOOD}, SPEC, IDS[few], LABELS[few],
                  dataclasses.replace(SETTINGS, z=50.0), seed=4)
  assert verdict.chosen == "refined"
  assert judge({"refined": GOOD, "start": GOOD}, SPEC, IDS[few], LABELS[few], SETTINGS, seed=4).differences == {
      "start": 0.0}


def test_labels_that_are_not_finite_stop_the_gate():
  broken = GOOD.slots.labels.copy()
  broken[5] = np.nan
  with pytest.raises(NumericsError, match="refined"):
    judge({"refined": Candidate(GOOD.slots.replace(labels=broken), RECIPE)}, SPEC, IDS, LABELS, SETTINGS, seed=4)


@pytest.mark.parametrize("order", [("start", "refined", "previous"), ("previous", "refined", "start")])
def test_another_candidate_that_is_not_finite_is_not_chosen(order):
  broken = Candidate(GOOD.slots.replace(labels=np.full(NUM_SLOTS, np.nan)), RECIPE)
  candidates = {"refined": SPOILED, "start": broken, "previous": GOOD}
  verdict = judge({name: candidates[name] for name in order}, SPEC, IDS, LABELS, SETTINGS, seed=4)
  assert verdict.chosen == "previous"


def test_the_last_step_multiplier_holds_beyond_its_end():
  steps = {given: recipe_inputs(GOOD.slots, dataclasses.replace(RECIPE, step_multipliers=given))
           for given in ((), (1.5, 0.5), tuple(range(20)))}
  found = [values["step_multipliers"].numpy().tolist() for values in steps.values()]
  assert found == [[1] * 9, [1.5] + [0.5] * 8, list(range(9))]


def test_training_starts_from_the_seeds_and_ends_apart():
  found = train_by_recipe("dnn(embedding_dim=2,hidden_units=4-)", SPEC, GOOD, [7, 8, 7], IDS[:50])
  assert found.shape == (3, 50)
  np.testing.assert_array_equal(found[0], found[2])
  assert np.abs(found[0] - found[1]).max() > 1e-3


def test_scores_do_not_depend_on_the_batch(monkeypatch):
  found = []
  for rows in (50, 16):
    trainer = SlotTrainer("lr", SPEC, [GOOD.slots], RECIPE)
    monkeypatch.setattr("diet_tf.training.blocks.BLOCK_ROWS", rows)
    found.append(trainer.outputs(GOOD, [7], IDS[:50]))
  np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_a_trainer_of_several_parts_is_traced_once_and_begins_anew():
  member = "dnn(embedding_dim=2,hidden_units=4-,dropout=0.5)"
  shorter = Candidate(GOOD.slots.take(np.arange(len(GOOD.slots) // 2)), RECIPE)
  trainer = SlotTrainer(member, SPEC, [GOOD.slots, shorter.slots], RECIPE)
  first = trainer.outputs(GOOD, [7], IDS[:50])
  trainer.outputs(shorter, [7, 8], IDS[:50])
  # The masks of the dropout are those of the first training again.
  np.testing.assert_array_equal(trainer.outputs(GOOD, [7], IDS[:50]), first)
  with pytest.raises(ConfigError, match="batch size"):
    trainer.train(Candidate(GOOD.slots, dataclasses.replace(RECIPE, batch_size=RECIPE.batch_size * 2)), 7)


def test_a_model_of_probabilities_is_judged_by_its_logits():
  verdict = judge({"refined": GOOD}, SPEC, IDS, LABELS, dataclasses.replace(
      SETTINGS, members=(f"{__name__}:Probabilities", "lr"), num_seeds=1), seed=4)
  alone = judge({"refined": GOOD}, SPEC, IDS, LABELS, dataclasses.replace(SETTINGS, num_seeds=1), seed=4)
  # It is a logistic regression too, so that the two cost nearly the same.
  assert abs(verdict.losses["refined"] - alone.losses["refined"]) < 0.01
  assert alone.losses["refined"] < 0.6


@pytest.mark.parametrize("broken", [{"members": ()}, {"num_seeds": 0}, {"max_examples": 0}, {"z": -1.0}])
def test_settings_are_checked(broken):
  with pytest.raises(ConfigError, match=next(iter(broken))):
    GateSettings(**broken)
