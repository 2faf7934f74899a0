import json
import math

import numpy as np
import pytest

from diet_tf.io.shapes import Place, shaped
from diet_tf.report.histogram import INFLUENCE_EDGES, LABEL_EDGES, WEIGHT_EDGES, Histogram, occupied


def test_counts_by_bin_with_all_that_is_beyond_in_the_outermost():
  found = Histogram.of(np.array([-5.0, 0.0, 0.5, 1.0, 1.5, 9.0, math.nan, math.inf]), (0.0, 1.0, 2.0))
  assert found.counts == (3, 3)  # Infinity and NaN are left out.
  assert found.total == 6 and found.shares() == [50.0, 50.0]


def test_nothing_has_no_shares():
  assert Histogram.of(np.zeros(0), (0.0, 1.0)).shares() == [0.0]


def test_a_sum_counts_both_and_needs_the_same_bins():
  one, other = Histogram.of(np.array([0.1]), (0.0, 1.0, 2.0)), Histogram.of(np.array([0.1, 1.1]), (0.0, 1.0, 2.0))
  assert (one + other).counts == (2, 1)
  with pytest.raises(ValueError, match="different bins"):
    one + Histogram.of(np.zeros(1), (0.0, 1.0))


def test_it_survives_json():
  found = Histogram.of(np.linspace(-1, 1, 7), INFLUENCE_EDGES)
  assert shaped(json.loads(json.dumps(found.to_dict())), Histogram, Place("histogram", "")) == found


def test_the_bins_fit_what_they_are_for():
  assert LABEL_EDGES[0] == 0 and LABEL_EDGES[-1] == 1 and len(LABEL_EDGES) == 21
  assert WEIGHT_EDGES[14] == 1.0 and WEIGHT_EDGES[0] * WEIGHT_EDGES[-1] == pytest.approx(1.0)
  assert INFLUENCE_EDGES == tuple(-edge for edge in reversed(INFLUENCE_EDGES))
  assert all(a < b for a, b in zip(INFLUENCE_EDGES, INFLUENCE_EDGES[1:]))


def test_occupied_bins():
  edges = (0.0, 1.0, 2.0, 3.0, 4.0)
  assert occupied([Histogram(edges, (0, 1, 0, 0)), Histogram(edges, (0, 0, 5, 0))]) == (1, 3)
  assert occupied([Histogram(edges, (0, 0, 0, 0))]) == (0, 4)
