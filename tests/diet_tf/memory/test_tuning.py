"""Factors of the recipe's rates: which are tried, which is chosen, and the rows that they are chosen by."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from diet_tf.errors import ConfigError, NumericsError
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.tuning import (
  RateFactors,
  ScoredRows,
  TunedRates,
  Tuning,
  calibrated_cross_entropy,
  choose_factors,
  drawn_from_slots,
)
from tests.diet_tf.small_slots import small_slots


def chosen(losses: dict[tuple[float, float], float], *, has_linear: bool = True,
           tuning: Tuning | None = None) -> TunedRates:
  return choose_factors(lambda factors: losses[factors], tuning or Tuning(), "model", "scored rows",
                        has_linear=has_linear)


@pytest.mark.parametrize(("losses", "best"), [
    # As long as the loss falls, and then not the other way; at the edge it ends.
    ({(1, 1): 0.5, (2, 1): 0.4, (2, 0.25): 0.3}, (2, 0.25)),
    ({(1, 1): 0.5, (2, 1): 0.6, (0.5, 1): 0.7, (1, 0.25): 0.6, (1, 4): 0.5}, (1, 1)),
    ({(1, 1): 0.5, (2, 1): math.inf, (0.5, 1): 0.4, (0.5, 0.25): 0.4, (0.5, 4): 0.3}, (0.5, 4)),
    ({(1, 1): math.inf, (2, 1): math.inf, (0.5, 1): 0.4, (0.5, 4): 0.5, (0.5, 0.25): 0.5}, (0.5, 1))])
def test_the_search_goes_one_way_while_the_loss_falls_and_otherwise_the_other(losses, best):
  tuned = chosen(losses)
  assert tuned.factors == best and tuned.num_trainings == len(losses) and dict(tuned.losses) == losses


def test_a_model_without_linear_weights_has_no_rate_of_theirs_to_choose():
  assert chosen({(1, 1): 0.5, (2, 1): 0.6, (0.5, 1): 0.4}, has_linear=False).factors == (0.5, 1)


def test_a_longer_ladder_is_climbed_to_where_it_stops_falling():
  tuning = Tuning(overall=(1, 2, 4, 8))
  assert chosen({(1, 1): 4, (2, 1): 3, (4, 1): 2, (8, 1): 2}, has_linear=False, tuning=tuning).factors == (4, 1)


def test_a_model_that_always_diverges_is_refused():
  with pytest.raises(NumericsError, match="model.*none of the factors 1, 2, 0.5"):
    chosen(dict.fromkeys([(1, 1), (2, 1), (0.5, 1)], math.inf), has_linear=False)


@pytest.mark.parametrize("values", [(0.5, 2), (1, 0.5), (1, 1), (0, 1), (1, math.inf)])
def test_factors_that_are_no_ladder_around_the_recipe_are_refused(values):
  with pytest.raises(ConfigError, match="tuning.linear.*1 is one of them"):
    Tuning(linear=values)


def test_factors_multiply_the_rates_of_their_groups():
  recipe = Recipe(learning_rates={"embedding": 0.1, "linear": 0.2, "dense": 0.3})
  rates = RateFactors(2, 0.25).of(recipe).learning_rates
  assert rates == pytest.approx({"embedding": 0.2, "linear": 0.1, "dense": 0.6})
  assert dataclasses.replace(RateFactors(2).of(recipe), learning_rates=recipe.learning_rates) == recipe
  assert str(RateFactors(2)) == "2" and str(RateFactors(2, 0.25)) == "2, linear 0.5"


def entropy(*probabilities: float) -> float:
  return -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in probabilities) / len(probabilities)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.01, 3.0), (50.0, -400.0)])
def test_the_loss_does_not_ask_how_sure_a_model_is(scale, shift):
  """Logits in the right order and at the right distances lose the entropy of the probabilities, the least there is."""
  rows = ScoredRows(np.zeros([3, 1], np.int32), np.array([0.25, 0.5, 0.9]), "scored rows")
  logits = scale * np.array([-math.log(3), 0.0, math.log(9)]) + shift
  assert rows.loss(logits) == pytest.approx(entropy(0.25, 0.5, 0.9), abs=1e-7)


@pytest.mark.parametrize("logits", [[5.0, 5.0, 5.0], [2.0, 1.0, 0.0], [math.log(9), 0.0, -math.log(3)]])
def test_logits_that_say_nothing_or_the_opposite_lose_as_much_as_the_mean(logits):
  rows = ScoredRows(np.zeros([3, 1], np.int32), np.array([0.25, 0.5, 0.9]), "scored rows")
  assert rows.loss(np.array(logits)) == pytest.approx(entropy(0.55))


def test_the_loss_is_the_least_over_a_grid_of_calibrations():
  rng = np.random.default_rng(3)
  probabilities, logits = rng.uniform(0.02, 0.98, 200), rng.normal(0, 3, 200)
  logits += 2 * np.log(probabilities / (1 - probabilities))
  grid = [np.mean(np.logaddexp(0, a * logits + b) - probabilities * (a * logits + b))
          for a in np.linspace(0, 1, 401) for b in np.linspace(-1, 1, 201)]
  assert 0 <= min(grid) - calibrated_cross_entropy(logits, probabilities) < 1e-5


def test_the_loss_of_logits_that_are_not_finite_is_infinite():
  rows = ScoredRows(np.zeros([2, 1], np.int32), np.array([0.25, 1.0]), "scored rows")
  assert rows.loss(np.array([0.0, np.nan])) == math.inf
  assert rows.loss(np.array([1e6, -1e6])) == pytest.approx(entropy(0.625))


def test_rows_of_slots_are_drawn_by_the_weights_of_slots_and_ids():
  slots = small_slots([[[1, 2], [3, 0]], [[4, 5], [6, 7]]], [[[0.25, 0.75], [1, 0]], [[0.5, 0.5], [0.9, 0.1]]],
                      labels=[0.2, 0.7], sample_weights=[0.5, 1.5])
  rows = drawn_from_slots(slots, 4000, seed=2)
  shares = {number: float(np.mean(rows.ids == number)) * 2 for number in range(8)}
  # A quarter of the rows is of the first slot, and its ids have a quarter and three quarters of these.
  expected = {0: 0, 1: 1 / 16, 2: 3 / 16, 3: 1 / 4, 4: 3 / 8, 5: 3 / 8, 6: 27 / 40, 7: 3 / 40}
  assert shares == pytest.approx(expected, abs=0.03)
  of_first = np.isin(rows.ids[:, 0], (1, 2))
  np.testing.assert_allclose(rows.probabilities, np.where(of_first, 0.2, 0.7), rtol=1e-6)
  assert set(rows.ids[of_first, 1]) == {3} and rows.source == "slots"
