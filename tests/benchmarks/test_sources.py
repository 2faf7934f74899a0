"""Names of what a member is trained on, and what its trainings there say."""

import numpy as np

from benchmarks.fidelity.sources import (
  EARLY_STOPPINGS,
  HALVINGS,
  LOG,
  OURS,
  RIVALS,
  SAMPLES,
  is_rival,
  parse_sample,
  sample_source,
)
from benchmarks.fidelity.trained import Choosing, Trained


def test_samples_are_named_by_kind_and_share():
  assert sample_source("users", 20) == "sample/users/1_20" in SAMPLES
  assert [sample_source(*parse_sample(source)) for source in SAMPLES] == list(SAMPLES)
  assert len(set(RIVALS)) == len(RIVALS) == 19 + 4
  assert all(map(is_rival, RIVALS)) and not any(map(is_rival, (*OURS, "random/hard", "stratified_field/soft")))


def test_searches_go_through_growing_samples():
  assert HALVINGS["halving/1_10"] == ("sample/uniform/1_10", "sample/uniform/1_5", "sample/uniform/1_2")
  assert EARLY_STOPPINGS["early_stopping/1_5"] == ("sample/oldest/1_5", "sample/oldest/1_2", LOG)
  assert {rung for rungs in (*HALVINGS.values(), *EARLY_STOPPINGS.values()) for rung in rungs} <= {*SAMPLES, LOG}


def test_who_was_given_up_stands_below_who_went_on():
  logits, labels = np.float32([[0, 1], [1, 0], [0, 1]]), np.array([0.0, 1.0])
  plain = Trained(logits, 0.01, 2, 100, 10.0, 4.0)
  np.testing.assert_array_equal(plain.standings(labels), [1, 0, 1])
  search = Trained(logits, None, 1, 100, 10.0, 4.0, rungs=np.array([0, 2, 1]))
  np.testing.assert_array_equal(search.standings(labels), [1, 2, 2])
  assert (plain.epoch_flops, plain.epoch_seconds) == (5, 2)
  assert Choosing(10, 2.0, 0.5) + Choosing(1, 1.0, 0.25) == Choosing(11, 3.0, 0.75)
