"""Architectures ranked on a memory."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from diet_tf import group_metrics, metrics
from diet_tf.errors import ConfigError, DataError, NumericsError
from diet_tf.fidelity import comparison
from diet_tf.fidelity.trainings import choose_rates, choosing_flops, flops_per_slot, train_on_memory
from diet_tf.group_metrics import Groups
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.memory.memory import Memory
from diet_tf.memory.recipe import Recipe
from diet_tf.memory.scored_sample import ScoredSample
from diet_tf.memory.tuning import Tuning
from diet_tf.training.learner import Learner
from tests.diet_tf.small_log import SPEC, draw
from tests.diet_tf.small_slots import small_slots

RECIPE = Recipe(batch_size=16, epochs=2, learning_rates={"embedding": 0.05, "linear": 0.1, "dense": 0.02})
SAME, BROKEN = f"{__name__}:Same", f"{__name__}:Broken"


class Same(tf.keras.Model):
  """A model that gives every row the same logit."""

  def __init__(self, spec, seed=0):
    super().__init__()
    self.bias = self.add_weight(name="bias", shape=[], initializer="zeros")

  def call(self, features, training=False):
    return self.bias + tf.zeros(tf.shape(features["ids"])[0])


class Broken(Same):
  """A model without a finite loss."""

  def call(self, features, training=False):
    return super().call(features) * float("nan")


@pytest.fixture(scope="module")
def memory():
  ids, labels, _ = draw(256, seed=1)
  slots = small_slots(ids, labels=labels, born_spans=1, influences=1, spec=SPEC)
  return Memory.create(slots, SPEC, RECIPE, span=4, num_examples_seen=9000, budget={})


@pytest.fixture(scope="module")
def unseen():
  ids, labels, _ = draw(800, seed=2)
  return EncodedRows(ids, labels)


def test_members_are_ranked_and_compared_with_the_best(memory, unseen):
  steps = []
  result = comparison.compare(memory, unseen, [SAME, "lr", "lr()"], num_seeds=2,
                              progress=lambda *step: steps.append(step[1:]))
  assert [member.name for member in result.members] == ["lr", "lr()", SAME]  # Of equals, the first named comes first.
  assert steps == [(done, 6) for done in range(1, 7)]

  # The figures are those of trainings by hand.
  learner, aucs, components = Learner("lr", SPEC, RECIPE), [], []
  for seed in (0, 1):
    train_on_memory(learner, memory, seed=seed)
    logits = learner.logits(unseen.ids)
    aucs.append(metrics.auc(unseen.labels, logits))
    components.append(metrics.auc_components(unseen.labels, logits))
  best, twin, same = result.members
  assert best.aucs == pytest.approx(aucs) and best.to_best is None
  # A model is not told from itself.
  assert twin.aucs == best.aucs and twin.to_best.mean == 0 and not twin.to_best.resolved
  # Without an order of the rows, half of the pairs are right.
  assert same.aucs == (0.5, 0.5) and best.auc.mean > 0.6
  expected = metrics.paired_auc_difference(unseen.labels, np.full([2, 800], 0.5), np.stack(components))
  assert same.to_best.mean == pytest.approx(expected.mean, abs=1e-6)
  assert same.to_best.standard_error == pytest.approx(expected.standard_error, rel=1e-4)
  assert same.to_best.resolved
  assert result.unresolved == (("lr", "lr()"),) and result.level_with_best == ("lr", "lr()")


def test_what_is_printed(memory, unseen):
  result = comparison.compare(memory, unseen, ["lr", "lr()", SAME], num_seeds=1)
  rows = result.rows()
  assert [row[:2] for row in rows] == [["1", "lr"], ["2", "lr()"], ["3", SAME]]
  assert [row[4] for row in rows] == ["the best", "no", "yes"]
  assert rows[1][3] == "+0.0000 ± 0.0000"
  notes = " ".join(result.notes())
  assert "memory of span 4 (256 slots) with 1 seed, judged on 800 held-out rows" in notes
  assert f"({int(unseen.labels.sum())} clicks)" in notes
  assert "Not told apart from the best (95 %, in pairs over seeds and rows): lr()." in notes
  assert "With one seed" in notes and "on the log" in notes
  value = json.loads(result.to_json())
  assert [member["rank"] for member in value["members"]] == [1, 2, 3]
  assert value["members"][0]["auc_standard_error"] is None  # Not known from one seed.
  assert value["members"][2]["to_best"]["resolved"] is True and value["unresolved"] == [["lr", "lr()"]]


def test_members_are_ranked_by_a_metric_within_users(memory, unseen):
  result = comparison.compare(memory, unseen, [SAME, "lr"], num_seeds=2, by=("gauc", "log_loss"), group="user")
  best, same = result.members
  assert best.name == "lr" and same.by_metric["gauc"].values == (0.5, 0.5)
  groups = Groups.of(unseen.ids[:, 0])
  learner = Learner("lr", SPEC, RECIPE)
  train_on_memory(learner, memory, seed=1)
  gauc = group_metrics.gauc(unseen.labels, learner.logits(unseen.ids), groups)
  assert best.by_metric["gauc"].values[1] == pytest.approx(gauc)
  assert same.to_best.mean == pytest.approx(0.5 - best.by_metric["gauc"].estimate.mean) and same.to_best.resolved
  assert result.columns == ("rank", "architecture", "GAUC", "to the best", "resolved", "log loss", "AUC", "rates")
  row = result.rows()[0]
  assert row[2] == str(best.by_metric["gauc"].estimate) and row[6] == str(best.auc)
  notes = " ".join(result.notes())
  assert "Ranked by GAUC; errors of the metrics that were asked for are over seeds and groups or rows" in notes
  assert "GAUC is the mean over 12 groups, each weighed by its rows." in notes
  assert "lr is better than each of the others (95 %, in pairs over seeds and groups)." in notes
  value = result.to_dict()
  assert [metric["name"] for metric in value["metrics"]] == ["gauc", "log_loss"]
  assert value["grouping"]["num_groups"] == 12
  assert value["members"][0]["by_metric"]["gauc"]["mean"] == pytest.approx(best.by_metric["gauc"].estimate.mean)


def test_a_lower_loss_is_better(memory, unseen):
  result = comparison.compare(memory, unseen, [SAME, "lr"], num_seeds=1, by=("log_loss",))
  assert [member.name for member in result.members] == ["lr", SAME]
  assert result.members[1].to_best.mean > 0 and result.grouping is None
  assert result.columns == ("rank", "architecture", "log loss", "to the best", "resolved", "AUC", "rates")
  assert result.members[1].by_metric["log_loss"].values[0] == pytest.approx(math.log(2), abs=0.2)


def test_the_auc_alone_adds_nothing_to_the_document(memory, unseen):
  value = comparison.compare(memory, unseen, ["lr"], num_seeds=1).to_dict()
  assert not {"metrics", "grouping"} & set(value) and "by_metric" not in value["members"][0]


@pytest.mark.parametrize(("by", "group", "message"), [
    (("gauc",), None, "--group: .*no field, and the metric gauc"), (("gauc",), "users", "--group: .*user, item, hour"),
    (("map",), None, "--metric: it is one of auc, gauc"), (("auc", "auc"), None, "--metric: no metric is named twice")])
def test_what_is_no_metric_is_refused_before_any_training(memory, unseen, by, group, message):
  with pytest.raises(ConfigError, match=message):
    comparison.compare(memory, unseen, ["lr"], num_seeds=1, by=by, group=group,
                       progress=lambda *step: pytest.fail("nothing is trained"))


def test_each_architecture_trains_by_rates_of_its_own(memory, unseen):
  ids, labels, _ = draw(500, seed=3)
  scored = dataclasses.replace(memory, scored_sample=ScoredSample(ids, labels, 9000))
  result = comparison.compare(scored, unseen, ["lr", "dnn(hidden_units=4-)"], num_seeds=2)
  learner = Learner("lr", SPEC, RECIPE)
  expected = choose_rates(learner, scored, Tuning(), seed=0)
  lr = next(member for member in result.members if member.name == "lr")
  assert lr.rates.factors == expected.factors and expected.losses == lr.rates.losses
  # No other factor that was tried has a lower loss, and the trainings that are ranked are by this one.
  assert expected.losses[expected.factors] == min(expected.losses.values()) and 2 <= expected.num_trainings <= 3
  train_on_memory(learner, scored, seed=1, factors=expected.factors)
  assert lr.aucs[1] == pytest.approx(metrics.auc(unseen.labels, learner.logits(unseen.ids)))
  value = next(member for member in result.to_dict()["members"] if member["name"] == "lr")
  assert value["rates"]["trainings"] == expected.num_trainings and value["rates"]["source"] == "scored rows"
  assert "Each with its own factor of the recipe's learning rates" in " ".join(result.notes())
  assert choosing_flops(learner, scored, expected) > expected.num_trainings * 512 * flops_per_slot(learner, scored)


def test_why_no_rates_are_chosen_is_said(memory, unseen):
  ruled = dataclasses.replace(memory, manifest=dataclasses.replace(memory.manifest, users_per_id=(
      {"born_span": 1, "user_field": "user", "min_users": 2},)))
  for some, tuning, said in ((memory, Tuning(), "no scored rows to choose by"), (memory, None, "it was not wanted"),
                             (ruled, Tuning(), "rows drawn from the slots")):
    result = comparison.compare(some, unseen, ["lr"], num_seeds=1, tuning=tuning)
    assert said in " ".join(result.notes())
    assert (result.members[0].rates is None) == (result.why_not_tuned != "")


class Gathered(tf.keras.Model):
  """A model of single ids without an embedding layer, which no `BagModel` can be made of."""

  def __init__(self, spec, seed=0):
    super().__init__()
    self.values = self.add_weight(name="values", shape=[max(spec.num_ids)], initializer="zeros")

  def call(self, features, training=False):
    return tf.gather(self.values, features["user"])


def test_a_model_of_drawn_ids_is_said_to_be_underrated(memory, unseen):
  gathered = f"{__name__}:Gathered"
  result = comparison.compare(memory, unseen, ["lr", gathered], num_seeds=1)
  notes = " ".join(result.notes())
  assert f"{gathered} was trained on drawn ids" in notes and "Why not on whole slots: outputs" in notes
  assert [member["input_form"] for member in result.to_dict()["members"]] == ["packed", "sampled"]
  assert "drawn" not in " ".join(comparison.compare(memory, unseen, ["lr"], num_seeds=1).notes())


def test_a_clear_winner_is_called_one(memory, unseen):
  notes = comparison.compare(memory, unseen, [SAME, "lr"], num_seeds=2).notes()
  assert "lr is better than each of the others (95 %, in pairs over seeds and rows)." in notes


def test_a_member_that_diverges_does_not_stop_the_others(memory, unseen):
  result = comparison.compare(memory, unseen, [BROKEN, "lr"], num_seeds=1)
  assert [member.name for member in result.members] == ["lr"]
  assert "finite" in result.diverged[BROKEN]
  assert any(note.startswith(f"{BROKEN} is not ranked") for note in result.notes())
  with pytest.raises(NumericsError, match="at least one architecture"):
    comparison.compare(memory, unseen, [BROKEN], num_seeds=1)


@pytest.mark.parametrize(("members", "num_seeds", "message"), [
    ([], 2, "at least one"), (["lr", "lr"], 2, "twice"), (["lr"], 0, "--seeds"), (["lr", "no_such"], 1, "no_such"),
    (["lr", "no_such_module:Model"], 1, "PYTHONPATH")])
def test_what_cannot_be_compared_is_refused_before_any_training(memory, unseen, members, num_seeds, message):
  steps = []
  with pytest.raises(ConfigError, match=message):
    comparison.compare(memory, unseen, members, num_seeds=num_seeds, progress=lambda *step: steps.append(step))
  assert not steps


@pytest.mark.parametrize(("labels", "message"), [
    (np.zeros(800, np.float32), "both classes.*800 examples of class 0"),
    (np.ones(800, np.float32), "both classes.*800 examples of class 1"), (np.zeros(0, np.float32), "at least one"),
    (np.full(800, 0.5, np.float32), "0 or 1")])
def test_rows_that_tell_nothing_are_refused_before_any_training(memory, unseen, labels, message):
  steps = []
  with pytest.raises(DataError, match=rf"held-out rows.*{message}.*--test-span|held-out rows.*{message}"):
    comparison.compare(memory, EncodedRows(unseen.ids[:len(labels)], labels), ["lr"], num_seeds=1,
                       progress=lambda *step: steps.append(step))
  assert not steps


def test_one_click_tells_no_noise_and_is_not_called_nan(memory, unseen):
  labels = np.zeros(800, np.float32)
  labels[17] = 1
  result = comparison.compare(memory, EncodedRows(unseen.ids, labels), [SAME, "lr"], num_seeds=2)
  assert [row[4] for row in result.rows()] == ["the best", "no"]
  assert "nan" not in json.dumps(result.rows()) and "One row of a class does not tell" in " ".join(result.notes())
  assert result.to_dict()["members"][1]["to_best"]["margin"] is None
