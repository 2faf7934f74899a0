from __future__ import annotations

import csv
import tracemalloc

import numpy as np
import pytest

from diet_tf import errors, metrics
from diet_tf.log import simulate

SMALL = simulate.SimulatedLogSettings(num_users=60, num_items=40, num_authors=8, num_categories=5, rows_per_span=700,
                                      block_rows=256)


def _log(**changes) -> simulate.SimulatedLog:
  values = {field: getattr(SMALL, field) for field in SMALL.__dataclass_fields__}
  return simulate.SimulatedLog(simulate.SimulatedLogSettings(**{**values, **changes}))


def test_a_span_is_the_same_whenever_it_is_asked_for():
  columns, probabilities = _log().span(3)
  other = _log()
  other.span(7)
  again, same = other.span(3)
  np.testing.assert_array_equal(probabilities, same)
  for name in columns:
    np.testing.assert_array_equal(columns[name], again[name])


def test_blocks_make_up_the_span_and_the_last_is_short():
  blocks = list(_log().blocks(1))
  assert [len(block.probabilities) for block in blocks] == [256, 256, 188]
  columns, _ = _log().span(1)
  np.testing.assert_array_equal(columns["user_id"][256:512], blocks[1].columns["user_id"])


def test_rows_are_in_time_order_inside_their_day():
  columns, _ = _log().span(2)
  day = 24 * 3_600_000
  offset = columns["time_ms"] - simulate.FIRST_DAY_MS - 2 * day
  assert (np.diff(offset) >= 0).all()
  assert offset.min() >= 0 and offset.max() < day
  np.testing.assert_array_equal(columns["hour"], offset // 3_600_000)


def test_the_seed_changes_the_log():
  assert not np.array_equal(_log().span(0)[1], _log(seed=1).span(0)[1])


def test_clicks_follow_the_probabilities():
  columns, probabilities = _log().span(0, num_rows=40_000)
  for low, high in [(0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 1.0)]:
    chosen = (probabilities >= low) & (probabilities < high)
    error = 4 * 0.5 / np.sqrt(chosen.sum())
    assert columns["click"][chosen].mean() == pytest.approx(probabilities[chosen].mean(), abs=error)


def test_bayes_auc_is_what_the_true_probabilities_reach():
  log = _log()
  columns, probabilities = log.span(0, num_rows=40_000)
  assert log.bayes_auc(0, num_rows=40_000) == pytest.approx(metrics.auc(columns["click"], probabilities), abs=0.01)


def test_without_strength_nothing_can_be_predicted():
  log = _log(strength=0.0, intercept=0.0)
  assert np.all(log.span(0)[1] == 0.5)
  assert log.bayes_auc(0) == pytest.approx(0.5)


def test_without_drift_a_user_keeps_to_their_ways():
  """Two spans' mean probability by user agrees without drift, and less so a quarter turn apart."""
  def correlation(drift: float) -> float:
    log = _log(drift=drift, churn=0.0)
    means = []
    for span in (0, 5):
      columns, probabilities = log.span(span, num_rows=30_000)
      sums = np.bincount(columns["user_id"], probabilities, 60)
      means.append(sums / np.maximum(np.bincount(columns["user_id"], minlength=60), 1))
    return float(np.corrcoef(*means)[0, 1])

  assert correlation(0.0) > 0.97
  assert correlation(np.pi / 10) < 0.7


def test_new_users_and_items_appear_and_old_ones_fade():
  log = _log(churn=0.1)
  first, _ = log.span(0, num_rows=5000)
  later, _ = log.span(5, num_rows=5000)
  assert first["user_id"].max() < 60 and later["user_id"].min() >= 30 and later["user_id"].max() >= 60
  assert later["item_id"].max() >= 40 > first["item_id"].max()


def test_an_item_keeps_its_properties_while_it_ages():
  log = _log(churn=0.1)
  known: dict[int, tuple[int, str, int]] = {}
  for span in range(4):
    columns, _ = log.span(span)
    assert (columns["item_age"] >= 0).all()
    born = span - columns["item_age"]
    for item, *properties in zip(columns["item_id"], columns["author_id"], columns["category"], born, strict=False):
      assert known.setdefault(int(item), tuple(properties)) == tuple(properties)


def test_csv_holds_the_columns_and_missing_prices_are_empty(tmp_path):
  log = _log(missing_price=0.3)
  reports: list[tuple[int, int | None]] = []
  path = str(tmp_path / "span.csv")
  assert log.write_csv(path, 1, progress=lambda _, done, total: reports.append((done, total))) == 700
  assert reports == [(256, 700), (512, 700), (700, 700)]
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  columns, _ = log.span(1)
  assert list(rows[0]) == list(columns)
  assert [int(row["user_id"]) for row in rows] == columns["user_id"].tolist()
  for row, price in zip(rows, columns["price"], strict=False):
    assert row["price"] == ("" if np.isnan(price) else repr(float(price)))


def test_the_feature_spec_reads_every_column():
  spec = simulate.simulated_feature_spec(SMALL)
  columns, _ = _log().span(0)
  assert {field.column for field in spec.fields} | {"click", "time_ms"} == set(columns)
  assert dict(zip(spec.names, spec.num_ids, strict=False))["user_id"] == 512
  for field in spec.fields:
    if field.vocabulary_ids and not field.vocabulary:
      assert len(np.unique(columns[field.column])) + 2 <= field.vocabulary_ids
    if field.vocabulary:
      assert set(columns[field.column]) <= set(field.vocabulary)


def test_memory_is_that_of_a_block_and_not_of_the_span():
  log = _log(block_rows=2048)

  def peak(num_rows: int) -> int:
    tracemalloc.start()
    for _ in log.blocks(0, num_rows):
      pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most

  peak(2048)  # Fills the span's parameters.
  assert peak(40_960) < 1.2 * peak(4096)


@pytest.mark.parametrize("changes", [{"num_users": 1}, {"rows_per_span": 0}, {"churn": 1.5}, {"drift": -0.1},
                                     {"seed": -1}, {"num_items": 2.5}, {"missing_price": float("nan")}])
def test_settings_that_make_no_log_are_refused(changes):
  with pytest.raises(errors.ConfigError, match=next(iter(changes))):
    _log(**changes)


def test_a_negative_span_is_refused():
  with pytest.raises(errors.ConfigError, match="numbered from 0"):
    _log().span(-1)
