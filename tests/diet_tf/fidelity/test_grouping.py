"""Rows in groups by the ids of a field."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diet_tf.errors import ConfigError
from diet_tf.fidelity.grouping import group_rows, require_group_field
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec, Field, Label

SPEC = FeatureSpec((Field("user", "user", hash_ids=101), Field("tag", "tag", vocabulary_ids=9),
                    Field("price", "price", boundaries=(1.0, 2.0))), Label("click"))


def test_rows_of_no_one_are_in_no_group():
  rows = EncodedRows(np.array([[5, 2, 1], [0, 1, 2], [5, 0, 1], [7, 2, 0]], np.int32))
  groups, grouping = group_rows(rows, SPEC, "user")
  assert groups.codes.tolist() == [0, -1, 0, 1]
  assert (grouping.field, grouping.num_groups, grouping.num_rows_without) == ("user", 2, 1)
  # Id 1 of a vocabulary is all values that are not listed, and no one of them.
  groups, grouping = group_rows(rows, SPEC, "tag")
  assert groups.codes.tolist() == [0, -1, -1, 0] and grouping.num_rows_without == 2 and math.isnan(grouping.sharing)
  assert grouping.text == "The rows are grouped by tag: 1 id of it occurs; 2 rows without tag are in none."
  assert group_rows(rows, SPEC, "price")[0].codes.tolist() == [0, 1, 0, -1]


def test_the_share_of_hashed_values_that_share_an_id_is_estimated():
  """Sixty values in a hundred ids, drawn again and again: the estimate is right on average."""
  random = np.random.default_rng(0)
  shared, estimated = [], []
  for _ in range(300):
    ids = random.integers(1, 101, 60)
    shared.append(np.mean(np.bincount(ids)[ids] > 1))
    rows = EncodedRows(np.stack([ids, ids * 0, ids * 0], 1).astype(np.int32))
    estimated.append(group_rows(rows, SPEC, "user")[1].sharing)
  assert np.mean(estimated) == pytest.approx(np.mean(shared), abs=0.02)
  one = EncodedRows(np.array([[3, 0, 0]], np.int32))
  assert group_rows(one, SPEC, "user")[1].sharing == pytest.approx(0, abs=1e-9)
  full = EncodedRows(np.stack([np.arange(1, 101)] * 3, 1).astype(np.int32))
  assert group_rows(full, SPEC, "user")[1].sharing == 1
  assert "about 100.0% of its values share one" in group_rows(full, SPEC, "user")[1].text


def test_rows_with_sets_of_values_are_grouped_by_a_field_behind_them():
  spec = FeatureSpec((Field("tags", "tags", vocabulary_ids=9, max_values=3), *SPEC.fields[:1]), Label("click"))
  rows = EncodedRows(np.array([[2, 3, -1, 5], [0, -1, -1, 7], [2, -1, -1, 5]], np.int32))
  assert group_rows(rows, spec, "user")[0].codes.tolist() == [0, 1, 0]
  with pytest.raises(ConfigError, match="group: a row is in one group.*tags, which is multi-valued"):
    group_rows(rows, spec, "tags")


def test_a_group_is_a_field():
  require_group_field(None, SPEC, "panel.group")
  require_group_field("tag", SPEC, "panel.group")
  with pytest.raises(ConfigError, match="panel.group: it is one of the fields: user, tag, price.*'users'"):
    require_group_field("users", SPEC, "panel.group")
