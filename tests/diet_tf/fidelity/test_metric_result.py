"""A panel by another metric than the AUC, by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from diet_tf.errors import FormatError
from diet_tf.fidelity.metric_result import MetricFigures, MetricScope, MetricTally
from diet_tf.fidelity.panel_metrics import MetricOnRows, PanelMetric
from diet_tf.fidelity.result import FidelityResult
from diet_tf.group_metrics import Groups
from tests.diet_tf.small_report import make_by_metric, make_result

# Of "lr" and "dnn", the log says that dnn is better; the memory does not.
WORTH = {"lr": {"log": 0.70, "memory": 0.60, "random_hard": 0.55},
         "dnn": {"log": 0.72, "memory": 0.59, "random_hard": 0.56}}


def test_figures_have_the_noise_of_seeds_and_of_rows():
  """Two rows lose 1 and 3 with one seed, 2 and 6 with the other: means 2 and 4, of both seeds 1.5 and 4.5."""
  on_rows = MetricOnRows(PanelMetric.of("log_loss"), lambda logits: logits, (np.arange(2),), 2)
  found = MetricFigures.of(on_rows, *on_rows.of_seeds(np.array([[1.0, 3.0], [2.0, 6.0]])))
  assert found.values == (2.0, 4.0) and found.estimate.mean == 3
  assert found.standard_error_units == pytest.approx(1.5)  # sqrt(4.5 / 2)
  assert found.standard_error == pytest.approx(math.sqrt(1.5**2 + 1.0**2))  # The seeds' variance is 2, over 2 seeds.
  value = found.to_dict()
  assert value["standard_error_seeds"] == pytest.approx(1.0)
  assert MetricFigures.from_dict(value) == found
  alone = MetricFigures.of(on_rows, *on_rows.of_seeds(np.array([[1.0, 3.0]])))
  assert alone.standard_error == alone.standard_error_units == pytest.approx(1.0)


def test_a_loss_ranks_the_other_way_round():
  """Logits that are right and surer lose less."""
  labels = np.tile([1.0, 0.0], 50)
  sure, unsure = np.where(labels == 1, 2.0, -2.0), np.where(labels == 1, 1.0, -1.0)
  noise = np.random.default_rng(0).normal(size=[2, 2, 100]) * 0.1
  tally = MetricTally(MetricOnRows.of(PanelMetric.of("log_loss"), labels))
  tally.add("unsure", {"log": unsure + noise[0], "memory": sure + noise[1], "random_hard": unsure + noise[1]})
  tally.add("sure", {"log": sure + noise[0], "memory": unsure + noise[1], "random_hard": sure + noise[1]})
  found = tally.result()
  log = [member.trainings["log"].estimate.mean for member in found.members]
  assert log[0] > log[1] and found.merits("log") == [-log[0], -log[1]]
  assert found.resolved_pairs == ((0, 1),) and found.agreement.share == 0 and found.agreement.tau_b == -1
  # Picking the memory's best, "unsure", loses the log's difference of the two.
  assert found.regret == pytest.approx(log[0] - log[1]) and found.regret_at_3 == 0
  assert found.baselines["random_hard"]["agreement"] == 1 and set(found.baselines) == {"random_hard"}
  difference = found.members[0].differences["log"]
  assert difference.resolved and difference.mean < 0


def test_members_are_compared_over_groups():
  labels, keys = np.tile([1.0, 0.0], 40), np.repeat(np.arange(40), 2)
  right = np.where(labels == 1, 1.0, -1.0) + np.zeros([2, 1])
  often = right * np.where(keys % 4 == 0, -1.0, 1.0)  # One user in four sees the wrong order.
  tally = MetricTally(MetricOnRows.of(PanelMetric.of("gauc"), labels, Groups.of(keys)))
  tally.add("right", {"log": right, "memory": right})
  tally.add("often", {"log": often, "memory": often})
  found = tally.result()
  assert [member.trainings["log"].values for member in found.members] == [(1.0, 1.0), (0.75, 0.75)]
  # Of 40 users the variance is 10 * 30 / (40 * 39), and the seeds add nothing.
  assert found.members[1].trainings["log"].standard_error == pytest.approx(math.sqrt(300 / 1560 / 40))
  assert found.resolved_pairs == ((0, 1),) and found.agreement.share == 1 and found.regret == 0


def test_a_scope_is_told():
  said = MetricScope(PanelMetric.of("gauc"), 120, 30, 70).text
  assert said == ("GAUC is the mean over 120 groups, each weighed by its rows; left out are 30 groups with rows of one "
                  "class alone, and 70 rows, theirs and those of no group.")
  assert MetricScope(PanelMetric.of("ndcg@5"), 9, 0, 0).text == "NDCG@5 is the mean over 9 groups, each counting once."
  assert MetricScope(PanelMetric.of("rmse"), 900, 0, 0).text == "RMSE is of 900 rows; lower is better."


def test_the_panel_is_ranked_by_its_metric():
  plain = make_result(soft=False)
  result = make_by_metric(plain, "ndcg@10", WORTH)
  assert result.metric.name == "ndcg@10" and plain.metric.name == "auc"
  # The log's best is dnn, .73 of both seeds; the memory's is lr, .71.
  assert result.regret == pytest.approx(0.02) and plain.regret == 0
  assert result.baselines["random_hard"]["agreement"] == 1 and result.bill.agreement == 0
  assert result.recovery == plain.recovery  # Recovery stays the share of the lift of the AUC.
  text = " ".join(result.summary())
  assert "Agreement by NDCG@10: 0.00 of 1 resolved pair of 1; Kendall's tau-b -1.00; regret 0.0200 NDCG@10." in text
  assert "grouped by user: 150 ids of it occur; 5 rows without user are in none." in text
  assert "about 12.5% of its values share one with another value" in text and "mean over 120 groups" in text
  assert "resolved on the log by NDCG@10" in result.verdict.text
  assert "NDCG@10" in result.table() and "0.7100 ± 0.0400" in result.table()


def test_a_metric_beside_the_auc_has_a_ranking_of_its_own():
  beside = make_by_metric(make_result(), "log_loss", WORTH)
  result = beside.replace(settings={"more_metrics": ["log_loss"]}, agreement=make_result().agreement)
  assert result.metric.name == "auc" and result.regret == 0
  text = " ".join(result.summary())
  assert "Agreement: 1.00 of 1" in text
  assert "over 2 seeds; of log loss, over test rows or groups as well; random" in text
  assert result.table().count("log loss  ") == 1  # With the noise of rows, in the place of the plain one.
  assert "Log loss is of 900 rows; lower is better. Agreement by log loss: 0.00" in text


def test_a_result_by_metric_survives_json():
  result = make_by_metric(make_result(), "gauc", WORTH)
  again = FidelityResult.from_json(result.to_json())
  assert again.by_metric == result.by_metric and again.grouping == result.grouping
  assert again.to_json() == result.to_json()
  value = json.loads(result.to_json())
  assert value["by_metric"]["gauc"]["units"] == "groups" and value["grouping"]["field"] == "user"
  assert not {"by_metric", "grouping"} & set(make_result().to_dict())


def test_a_document_without_what_it_is_ranked_by_is_refused():
  value = json.loads(make_by_metric(make_result(), "gauc", WORTH).to_json())
  with pytest.raises(FormatError, match="x.json: by_metric: .*ranked by.*no 'gauc'"):
    FidelityResult.from_dict({**value, "by_metric": {}}, "x.json")
  value["by_metric"]["gauc"]["name"] = "mrr"
  with pytest.raises(FormatError, match="x.json: by_metric: .*gauc, ndcg@K.*mrr"):
    FidelityResult.from_dict(value, "x.json")
