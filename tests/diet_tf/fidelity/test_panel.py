from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from diet_tf import errors, metrics
from diet_tf.fidelity import panel as fidelity
from diet_tf.fidelity import trainings
from diet_tf.fidelity.bill import Cost
from diet_tf.fidelity.result import FidelityResult
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.examples import is_held_back, log_dataset, write_example_shard
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.memory.memory import Memory, save_memory
from diet_tf.memory.recipe import Recipe
from diet_tf.models import build_model
from diet_tf.models.optimizers import GroupedAdam
from diet_tf.training.learner import Learner
from tests.diet_tf.small_slots import small_slots

SPEC = FeatureSpec((Field("user", "user", hash_ids=24), Field("item", "item", hash_ids=16),
                    Field("tab", "tab", hash_ids=4)), Label("click"))
RECIPE = Recipe(batch_size=8, epochs=2, learning_rates={"embedding": 0.02, "linear": 0.05, "dense": 0.01},
                step_multipliers=(1.0, 0.5))
ROWS = 600


def _examples(span: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Examples whose clicks follow the user and the item: `(ids, labels, example_ids)`."""
  truth = np.random.default_rng(99)
  user, item = truth.normal(size=24) * 1.5, truth.normal(size=16) * 1.5
  rng = np.random.default_rng(span)
  ids = np.stack([rng.integers(1, 24, rows), rng.integers(1, 16, rows), rng.integers(1, 4, rows)], 1).astype(np.int32)
  clicks = rng.random(rows) < 1 / (1 + np.exp(-user[ids[:, 0]] - item[ids[:, 1]]))
  return ids, clicks.astype(np.float32), span * 100_000 + np.arange(rows, dtype=np.int64)


def _write(directory: str, span: int, labels: np.ndarray | None = None, order: np.ndarray | None = None) -> list[str]:
  ids, clicks, example_ids = _examples(span)
  labels = clicks if labels is None else labels
  order = np.arange(ROWS) if order is None else order
  paths = []
  for part, rows in enumerate(np.array_split(order, 2)):
    paths.append(os.path.join(directory, f"{span}-{len(order)}-{part}.tfrecord.gz"))
    write_example_shard(paths[-1], ids[rows], labels[rows], example_ids[rows], rows, SPEC)
  return paths


@pytest.fixture(scope="module")
def log_shards(tmp_path_factory) -> dict[int, list[str]]:
  directory = str(tmp_path_factory.mktemp("log"))
  return {span: _write(directory, span) for span in (3, 4)}


@pytest.fixture(scope="module")
def memory(tmp_path_factory) -> Memory:
  ids, labels, _ = _examples(3)
  rng = np.random.default_rng(0)
  bags = ids[:32].reshape(16, 2, 3).transpose(0, 2, 1)
  first = rng.uniform(0.2, 0.8, (16, 3, 1))
  weights = np.concatenate([first, 1 - first], axis=2)
  sample_weights = rng.uniform(0.5, 1.5, 16)
  slots = small_slots(bags, weights, labels=labels[:32].reshape(16, 2).mean(1),
                      sample_weights=sample_weights / sample_weights.mean(), born_spans=3, spec=SPEC)
  whole = Memory.create(slots, SPEC, RECIPE, span=4, num_examples_seen=2 * ROWS, budget={"slots": 16})
  return save_memory(str(tmp_path_factory.mktemp("memory") / "memory"), whole)


class OwnWeighted(tf.keras.Model):
  """A user's model over weighted bags, which returns probabilities."""

  from_logits = False

  def __init__(self, spec, seed=0):
    super().__init__()
    self.spec = spec
    self.tables = [tf.keras.layers.Embedding(size, 1, embeddings_initializer="zeros") for size in spec.num_ids]

  def call(self, features, training=False):
    parts = [tf.reduce_sum(table(features[name])[..., 0] * features[name + "/weights"], axis=1)
             for table, name in zip(self.tables, self.spec.names, strict=True)]
    return tf.sigmoid(tf.add_n(parts))


class OwnSingle(tf.keras.Model):
  """A user's model over single ids."""

  def __init__(self, spec, seed=0):
    super().__init__()
    self.spec = spec
    self.tables = [tf.keras.layers.Embedding(size, 1, embeddings_initializer="zeros") for size in spec.num_ids]

  def call(self, features, training=False):
    return tf.add_n([table(features[name]) for table, name in zip(self.tables, self.spec.names, strict=True)])


class OwnDrawn(OwnSingle):
  """The same, which asks for drawn ids."""

  diet_inputs = "sampled"


class OwnConcatenated(tf.keras.Model):
  """A user's model over single ids that would take the embeddings of a bag for one that is longer."""

  def __init__(self, spec, seed=0):
    super().__init__()
    self.tables = {name: tf.keras.layers.Embedding(size, 2)
                   for name, size in zip(spec.names, spec.num_ids, strict=True)}
    self.dense = tf.keras.layers.Dense(1)

  def call(self, features, training=False):
    parts = [tf.keras.layers.Flatten()(table(features[name])) for name, table in self.tables.items()]
    return self.dense(tf.concat(parts, axis=1))


class OwnUseless(tf.keras.Model):
  """A model that returns one number for a whole batch."""

  def __init__(self, spec, seed=0):
    super().__init__()

  def call(self, features, training=False):
    return tf.constant(0.0)


def test_a_learner_starts_from_the_weights_of_the_seed():
  learner = Learner("dnn", SPEC, RECIPE)
  ids = _examples(3)[0]
  learner.reset(5)
  np.testing.assert_allclose(learner.logits(ids), build_model("dnn", SPEC, seed=5)({"ids": ids}).numpy(), atol=1e-6)


def test_training_by_recipe_is_what_recipe_fit_does(memory):
  learner = Learner("dnn", SPEC, RECIPE)
  trainings.train_on_memory(learner, memory, seed=2)
  model = build_model("dnn", SPEC, seed=2)
  memory.fit(model, verbose=0)
  ids = _examples(4)[0]
  np.testing.assert_allclose(learner.logits(ids), model({"ids": ids}).numpy(), atol=1e-5)


def test_a_users_dropout_draws_by_the_seed(memory):
  """Whatever was trained before, and in another model, which stands for another process."""
  member, ids, found = "tests.diet_tf.training.test_replayable:User(act=dropout)", _examples(3)[0], []
  for seeds in ([2], [1, 2]):
    learner = Learner(member, SPEC, RECIPE)
    for seed in seeds:
      trainings.train_on_memory(learner, memory, seed=seed)
    found.append(learner.logits(ids))
  np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("lazy", [False, True])
def test_training_on_rows_is_what_keras_does(lazy):
  learner = Learner("fm", SPEC, RECIPE, lazy=lazy)
  ids, labels, _ = _examples(3, 100)
  soft = np.linspace(0, 1, 100, dtype=np.float32)
  trainings.train_on_rows(learner, EncodedRows(ids, labels), seed=1, learning_rate=0.02, epochs=2, batch_size=32,
                         soft_labels=soft)
  model = build_model("fm", SPEC, seed=1)
  model.compile(GroupedAdam(0.02, lazy=lazy) if lazy else tf.keras.optimizers.Adam(0.02),
                tf.keras.losses.BinaryCrossentropy(from_logits=True))
  model.fit({"ids": ids}, soft, batch_size=32, epochs=2, shuffle=False, verbose=0)
  np.testing.assert_allclose(learner.logits(ids), model({"ids": ids}).numpy(), atol=1e-5)


def test_a_training_does_not_read_the_rows_of_the_one_before(log_shards):
  learner = Learner("fm", SPEC, RECIPE)
  trainings.train_on_log(learner, log_dataset(log_shards, SPEC, 64), seed=1, learning_rate=0.01)
  moving = [rows for pair in learner._plain._seen.values() for rows in pair]
  assert sum(len(rows.numpy()) for rows in moving)
  learner.reset(2)
  assert not sum(len(rows.numpy()) for rows in moving)


def test_passes_over_the_log_are_what_keras_does(log_shards):
  learner = Learner("fm", SPEC, RECIPE)
  dataset = log_dataset(log_shards, SPEC, 64)
  trainings.train_on_log(learner, dataset, seed=1, learning_rate=0.01, epochs=3)
  model = build_model("fm", SPEC, seed=1)
  model.compile(tf.keras.optimizers.Adam(0.01), tf.keras.losses.BinaryCrossentropy(from_logits=True))
  for _ in range(3):
    for ids, labels, _ in dataset:
      model.train_on_batch({"ids": ids}, labels)
  ids = _examples(4)[0]
  np.testing.assert_allclose(learner.logits(ids), model({"ids": ids}).numpy(), atol=1e-5)


def test_training_again_gives_the_same_and_traces_nothing(memory, log_shards):
  learner = Learner("dcn_v2", SPEC, RECIPE)
  ids = _examples(4)[0]
  dataset = log_dataset(log_shards, SPEC, 64)
  trainings.train_on_log(learner, dataset, seed=1, learning_rate=0.01)
  first = learner.logits(ids)
  trainings.train_on_memory(learner, memory, seed=3)
  passes = [learner._plain_pass, *learner._slot_passes.values()]
  traces = [function.experimental_get_tracing_count() for function in passes]
  trainings.train_on_log(learner, dataset, seed=2, learning_rate=0.001)
  assert np.abs(learner.logits(ids) - first).max() > 1e-3
  trainings.train_on_memory(learner, memory, seed=4)
  trainings.train_on_log(learner, dataset, seed=1, learning_rate=0.01)
  np.testing.assert_array_equal(learner.logits(ids), first)
  assert [function.experimental_get_tracing_count() for function in passes] == traces and len(learner._slot_passes) == 1


def test_the_log_is_read_in_the_order_of_spans(log_shards):
  ids = np.concatenate([batch[2].numpy() for batch in log_dataset(log_shards, SPEC, 100)])
  np.testing.assert_array_equal(ids, np.concatenate([_examples(3)[2], _examples(4)[2]]))


_UNDER_STRATEGIES = """
import numpy as np
import diet_tf
import tensorflow as tf
from diet_tf.fidelity import trainings
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.training.learner import Learner
from diet_tf.memory.recipe import Recipe

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
spec = FeatureSpec((Field("user", "user", hash_ids=24), Field("item", "item", hash_ids=16)), Label("click"))
rng = np.random.default_rng(0)
ids = rng.integers(0, 16, [101, 2]).astype(np.int32)
rows = EncodedRows(ids, (ids[:, 0] < 8).astype(np.float32))
logits = []
for strategy in (None, tf.distribute.OneDeviceStrategy("/CPU:0"), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
  learner = Learner("dnn(l2=0.01)", spec, Recipe(), strategy=strategy)
  trainings.train_on_rows(learner, rows, seed=1, learning_rate=0.05, epochs=4, batch_size=32)
  logits.append(learner.logits(rows.ids))
assert np.ptp(logits[0]) > 0.1
for other in logits[1:]:
  np.testing.assert_allclose(other, logits[0], atol=1e-4)
"""


def test_one_device_and_two_replicas_train_as_no_strategy_does():
  """In a process of its own: a device can be parted only before TensorFlow has used it."""
  done = subprocess.run([sys.executable, "-c", _UNDER_STRATEGIES], capture_output=True, text=True, check=False,
                        timeout=300)
  assert done.returncode == 0, done.stderr[-2000:]


def test_training_on_nothing_is_refused():
  learner = Learner("lr", SPEC, RECIPE)
  nothing = EncodedRows(np.zeros([0, 3], np.int32), np.zeros(0, np.float32))
  with pytest.raises(errors.DataError, match="at least one batch"):
    trainings.train_on_rows(learner, nothing, seed=0, learning_rate=0.1, epochs=1, batch_size=8)


def test_predictions_do_not_depend_on_how_rows_are_cut(monkeypatch):
  learner = Learner("dnn", SPEC, RECIPE)
  ids = _examples(3)[0]
  whole = learner.logits(ids)
  monkeypatch.setattr("diet_tf.training.blocks.BLOCK_ROWS", 256)
  np.testing.assert_allclose(learner.logits(ids), whole, atol=1e-6)


def test_a_survey_counts_and_draws_rows_that_are_not_held_back(log_shards):
  settings = fidelity.PanelSettings(seeds=(0, 1), selection_spans=1)
  survey = fidelity.survey_log(log_shards, SPEC, settings, 50)
  paths = [path for span in log_shards.values() for path in span]
  assert survey.num_examples == 2 * ROWS
  assert survey.num_bytes == sum(os.path.getsize(path) for path in paths)
  assert survey.num_raw_bytes == sum(len(record.numpy()) + 16
                                     for record in tf.data.TFRecordDataset(paths, compression_type="GZIP"))
  ids, _, example_ids = _examples(4)
  assert len(survey.selection) == np.count_nonzero(is_held_back(example_ids, 0.1))
  first, second = survey.random_rows
  assert len(first) == len(second) == 50
  assert not np.array_equal(first.ids, second.ids)


def test_random_rows_depend_on_the_examples_and_not_on_their_order(tmp_path):
  order = np.random.default_rng(0).permutation(ROWS)
  settings = fidelity.PanelSettings(seeds=(0,))
  draws = []
  for name, rows in (("a", None), ("b", order)):
    os.makedirs(tmp_path / name)
    shards = {3: _write(str(tmp_path / name), 3, order=rows)}
    draws.append(fidelity.survey_log(shards, SPEC, settings, 40).random_rows[0])
  np.testing.assert_array_equal(draws[0].ids, draws[1].ids)
  np.testing.assert_array_equal(draws[0].labels, draws[1].labels)


@pytest.fixture(scope="module")
def result(log_shards, memory, tmp_path_factory) -> FidelityResult:
  settings = fidelity.PanelSettings(members=("lr", "dnn"), seeds=(0, 1), learning_rates=(1e-3, 3e-2), row_epochs=(4,),
                                    log_epochs=(1,), log_batch_size=32)
  ids, labels, _ = _examples(4)
  means = np.bincount(ids[:, 1], labels, 16) / np.maximum(np.bincount(ids[:, 1], minlength=16), 1)
  reports: list[tuple[str, int, int | None]] = []
  test_shards = _write(str(tmp_path_factory.mktemp("test")), 5)
  value = fidelity.evaluate_panel(
      log_shards, memory, test_shards, settings, teacher_probabilities=lambda rows: means[rows[:, 1]], bayes_auc=0.9,
      memory_uri="memories/4", progress=lambda *report: reports.append(report))
  assert reports[-1] == ("panel (trainings)", 2 * 3 * 4 + 4, 2 * 3 * 4 + 4)
  return value


def test_the_panel_learns_from_the_log_and_figures_hang_together(result):
  for member in result.members:
    assert member.trainings["log"].auc.mean > 0.65
    assert member.trainings["log"].learning_rate == 3e-2  # 38 steps at 1e-3 learn next to nothing.
    assert member.trainings["memory"].examples == 32
    assert member.trainings["random_hard"].epochs in (2, 4)
    difference = member.differences["log"]
    assert difference.mean == pytest.approx(member.trainings["memory"].auc.mean - member.trainings["log"].auc.mean)
    assert all(training.flops > 0 and training.seconds > 0 for training in member.trainings.values())
  assert result.cost.examples == {"log": 2 * ROWS, "memory": 32}
  assert result.cost.cost_ratio == pytest.approx(2 * ROWS / 32)
  assert result.cost.records == {"log": 2 * ROWS, "memory": 16, "test": ROWS}


def test_the_verdicts_figures_are_those_of_the_trainings(result):
  assert result.num_test_clicks == int(_examples(5)[1].sum())
  for kind, difference in result.differences.items():
    assert difference.mean == pytest.approx(np.mean([member.differences[kind].mean for member in result.members]))
  for member in result.members:
    assert member.lift.mean == pytest.approx(member.trainings["log"].auc.mean - 0.5)
    assert member.is_lifted and member.lift.margin < 0.15  # 600 rows.
  assert result.recovery == pytest.approx(np.mean([member.recovery for member in result.members]))
  # Two members are no panel: one pair at most, and no draw of members holds it.
  assert np.isnan(result.agreement.low) and result.agreement.num_pairs == 1
  verdict = result.to_dict()["verdict"]
  assert verdict["outcome"] != "choose" and verdict["test_rows"] == ROWS
  assert verdict["test_clicks"] == result.num_test_clicks and verdict["text"] in result.table()
  assert f"Judged on 600 test rows, {result.num_test_clicks} of them clicks" in result.table()


def test_the_log_chooses_its_passes_on_held_back_rows(log_shards, memory, tmp_path):
  """At a rate at which one pass of 38 steps learns next to nothing, more passes are the better reference."""
  settings = fidelity.PanelSettings(members=("lr",), seeds=(0,), learning_rates=(1e-3,), row_epochs=(2,),
                                    log_epochs=(1, 2, 8), log_batch_size=32, selection="log_loss")
  test_shards = _write(str(tmp_path), 5)
  chosen = fidelity.evaluate_panel(log_shards, memory, test_shards, settings)
  once = fidelity.evaluate_panel(log_shards, memory, test_shards, dataclasses.replace(settings, log_epochs=(1,)))
  training = chosen.members[0].trainings["log"]
  assert training.epochs == 8 and training.examples == 8 * 2 * ROWS
  assert training.log_loss.mean < once.members[0].trainings["log"].log_loss.mean - 0.05
  assert training.flops == pytest.approx(8 * once.members[0].trainings["log"].flops)
  assert chosen.cost.examples["log"] == 8 * 2 * ROWS and once.cost.examples["log"] == 2 * ROWS
  assert "Passes over the log, the best of 1, 2, 8 on held-back rows: lr 8." in chosen.table()
  assert "On the log each model is trained in one pass: no more were tried." in once.table()
  read = FidelityResult.from_json(chosen.to_json())
  assert read.passes_text() == chosen.passes_text()


def test_a_log_of_noise_has_no_recovery_and_says_so_in_words(memory, tmp_path):
  """Clicks that follow nothing: what the log lifts above chance it lifts by less than the noise."""
  clicks = {span: (np.random.default_rng(span + 50).random(ROWS) < 0.26).astype(np.float32) for span in (3, 4, 5)}
  log = {span: _write(str(tmp_path), span, labels=clicks[span]) for span in (3, 4)}
  settings = fidelity.PanelSettings(members=("lr", "fm", "dnn"), seeds=(0, 1), learning_rates=(1e-2,), row_epochs=(2,))
  result = fidelity.evaluate_panel(log, memory, _write(str(tmp_path), 5, labels=clicks[5]), settings)
  assert not any(member.is_lifted for member in result.members)
  assert "no model trained on the log is better than chance beyond noise" in result.verdict.text
  assert "nan" not in result.table().replace("than", "") and "No recovery: no model" in result.table()
  value = json.loads(result.to_json())
  assert value["recovery"] is None and value["verdict"]["outcome"] in ("cannot be told", "do not choose")
  assert FidelityResult.from_dict(value).verdict == result.verdict


def test_the_machine_readable_results_have_the_promised_keys(result):
  value = json.loads(result.to_json())
  assert {"members", "records", "bytes", "cost_ratio", "memory_uri", "report_uri"} <= set(value)
  assert {"log", "memory"} <= set(value["records"]) and {"log", "memory"} <= set(value["bytes"])
  for member in value["members"]:
    assert {"name", "log_auc", "memory_auc", "random_hard_auc", "random_soft_auc", "log_logloss",
            "memory_logloss"} <= set(member)
  first = result.members[0]
  assert value["members"][0]["log_auc"] == pytest.approx(first.trainings["log"].auc.mean)
  assert value["members"][0]["memory_logloss"] == pytest.approx(first.trainings["memory"].log_loss.mean)
  assert value["memory_uri"] == "memories/4"
  # Of two members at most one pair is resolved; what making the memory took is not known here.
  assert value["resolved_pairs"] in ([], [[0, 1]]) and value["agreement_interval"] == [None, None]
  assert set(value["baselines"]) == {"random_hard", "random_soft"} and value["regret_at_3"] == 0
  assert value["distillation"] == {"seconds": None, "flops": None} and value["break_even_trainings"] is None
  assert [row["trainings"] for row in value["bill"]] == [10, 30, 100, 300, 1000]
  assert value["rival"] in ("log", "random_hard")
  known = result.replace(distillation=Cost(60.0, 1e9)).to_dict()
  assert known["distillation_passes_flops"] == pytest.approx(1e9 / known["pass"]["flops"])


def test_the_panel_is_judged_by_other_metrics(log_shards, memory, tmp_path):
  """Users are the groups, as the field `user` tells them apart."""
  settings = fidelity.PanelSettings(members=("lr", "fm"), seeds=(0, 1), learning_rates=(3e-2,), row_epochs=(2,),
                                    log_epochs=(1,), log_batch_size=32, metric="gauc", group="user",
                                    more_metrics=("ndcg@5", "log_loss", "auc"))
  value = fidelity.evaluate_panel(log_shards, memory, _write(str(tmp_path), 5), settings)
  assert list(value.by_metric) == ["gauc", "ndcg@5", "log_loss", "auc"]
  by_loss, by_auc = value.by_metric["log_loss"], value.by_metric["auc"]
  for number, member in enumerate(value.members):
    for kind, training in member.trainings.items():
      assert by_loss.members[number].trainings[kind].values == pytest.approx(training.log_losses)
      assert by_auc.members[number].trainings[kind].values == pytest.approx(training.aucs)
    assert by_auc.members[number].differences["log"].margin == pytest.approx(member.differences["log"].margin, rel=1e-4)
  # Users like what they like: within each, items alone tell clicks, so that there is less to tell.
  ids, labels, _ = _examples(5)
  gauc = value.by_metric["gauc"]
  rates = np.array([labels[ids[:, 0] == user].mean() for user in range(1, 24)])
  assert gauc.scope.num_units == np.count_nonzero((rates > 0) & (rates < 1))
  assert gauc.members[0].trainings["log"].estimate.mean < value.members[0].trainings["log"].auc.mean
  assert value.grouping.field == "user" and value.grouping.num_groups == 23
  assert value.agreement == gauc.agreement and value.resolved_pairs == gauc.resolved_pairs
  assert value.settings["metric"] == "gauc" and value.settings["group"] == "user"
  assert FidelityResult.from_json(value.to_json()).to_dict() == value.to_dict()


def test_the_auc_alone_goes_without_saying():
  assert not {"metric", "more_metrics", "group"} & set(fidelity.PanelSettings().to_dict())
  named = fidelity.PanelSettings(metric="ndcg@5", group="user", more_metrics=["auc"])
  assert [metric.name for metric in named.metrics_beside_auc] == ["ndcg@5", "auc"]
  named.require_fitting(SPEC)
  with pytest.raises(errors.ConfigError, match="panel.group: it is one of the fields: user, item, tab"):
    fidelity.PanelSettings(metric="gauc", group="users").require_fitting(SPEC)


def test_a_group_that_tells_nothing_is_refused_before_any_training(log_shards, memory, tmp_path):
  steps = []
  alike = (_examples(5)[0][:, 2] == 1).astype(np.float32)  # Each tab is of one class.
  settings = fidelity.PanelSettings(members=("lr",), metric="gauc", group="tab")
  with pytest.raises(errors.DataError, match="gauc: at least one group has clicks and rows without"):
    fidelity.evaluate_panel(log_shards, memory, _write(str(tmp_path), 5, labels=alike), settings,
                            progress=lambda *step: steps.append(step[0]))
  assert not steps


def test_a_result_survives_json(result):
  again = FidelityResult.from_json(result.replace(report_uri="report.html").to_json())
  assert again.report_uri == "report.html"
  assert again.replace(report_uri="").to_dict() == result.to_dict()
  assert again.members[0].trainings == result.members[0].trainings


def test_a_result_of_a_newer_version_is_refused(result):
  value = {**result.to_dict(), "format_version": 4}
  with pytest.raises(errors.FormatError, match="format version 4"):
    FidelityResult.from_dict(value, "panel.json")


def test_the_table_names_every_member_and_the_cost(result):
  table = result.table()
  lines = table.splitlines()
  assert [line.split()[0] for line in lines[2:4]] == [line.split()[0] for line in lines[7:9]] == ["lr", "dnn"]
  assert "16 slots" in table and "1,200 in the log" in table
  assert "best possible AUC on these test examples is 0.9" in table
  assert len({len(line) for line in lines[:4]}) == 1


def test_without_a_teacher_there_are_no_soft_rows(log_shards, memory, tmp_path):
  settings = fidelity.PanelSettings(members=("lr",), seeds=(0,), learning_rates=(1e-2,), row_epochs=(2,))
  value = fidelity.evaluate_panel(log_shards, memory, _write(str(tmp_path), 5), settings)
  member = json.loads(value.to_json())["members"][0]
  assert member["random_soft_auc"] is None and member["log_auc_se"] is None
  assert "random soft" in value.table()


def test_a_candidate_that_diverges_is_left_out(log_shards, memory, tmp_path):
  settings = fidelity.PanelSettings(members=("fm",), seeds=(0,), learning_rates=(1e30, 1e-2), row_epochs=(2,))
  value = fidelity.evaluate_panel(log_shards, memory, _write(str(tmp_path), 5), settings)
  assert value.members[0].trainings["log"].learning_rate == 1e-2
  with pytest.raises(errors.NumericsError, match="at least one learning rate"):
    fidelity.evaluate_panel(log_shards, memory, _write(str(tmp_path), 6),
                            fidelity.PanelSettings(members=("fm",), seeds=(0,), learning_rates=(1e30,)))


@pytest.mark.parametrize(("test_label", "log_label", "selection", "message"), [
    (0, None, "auc", "test rows.*both classes.*600 examples of class 0.*test_spans"),
    (1, None, "log_loss", "test rows.*both classes"),
    (None, 0, "auc", "held-back examples.*both classes.*panel.selection_spans.*log_loss")])
def test_examples_of_one_class_are_refused_before_any_training(memory, tmp_path, test_label, log_label, selection,
                                                               message):
  def labels(value):
    return None if value is None else np.full(ROWS, value, np.float32)

  settings = fidelity.PanelSettings(members=("lr",), seeds=(0,), learning_rates=(1e-2,), row_epochs=(2,),
                                    selection=selection)
  steps = []
  with pytest.raises(errors.DataError, match=message):
    fidelity.evaluate_panel({3: _write(str(tmp_path), 3, labels=labels(log_label))}, memory,
                            _write(str(tmp_path), 5, labels=labels(test_label)), settings,
                            progress=lambda *step: steps.append(step[0]))
  assert "panel (trainings)" not in steps


@pytest.mark.parametrize(("name", "form"), [("OwnWeighted", "weighted"), ("OwnSingle", "averaged"),
                                            ("OwnDrawn", "sampled"), ("OwnConcatenated", "averaged")])
def test_a_users_own_model_learns(name, form, memory, log_shards):
  learner = Learner(f"{__name__}:{name}", SPEC, RECIPE)
  assert learner.input_form == form
  trainings.train_on_log(learner, log_dataset(log_shards, SPEC, 32), seed=0, learning_rate=0.1)
  ids, labels, _ = _examples(5)
  assert metrics.auc(labels, learner.logits(ids)) > 0.7
  trainings.train_on_memory(learner, memory, seed=0)
  assert np.isfinite(learner.logits(ids)).all()


def test_a_model_without_one_output_a_row_is_refused():
  with pytest.raises(errors.ConfigError, match="diet_inputs"):
    Learner(f"{__name__}:OwnUseless", SPEC, RECIPE)


def test_operations_are_counted():
  learner = Learner("dnn(embedding_dim=4,hidden_units=8-)", SPEC, RECIPE)
  # 12 inputs to 8 units to 1, two operations each, three times for training, and a little for all the rest.
  assert 3 * 2 * (12 * 8 + 8) <= learner.flops_per_example(0) < 2 * 3 * 2 * (12 * 8 + 8)
  assert learner.flops_per_example(2) > learner.flops_per_example(0)


@pytest.mark.parametrize("changes", [{"members": ()}, {"seeds": (1, 1)}, {"learning_rates": (0.0,)},
                                     {"row_epochs": (0,)}, {"log_epochs": (0, 1)}, {"log_epochs": (10_001,)},
                                     {"selection": "test"}, {"holdback_fraction": 1.0}, {"metric": "map"},
                                     {"more_metrics": ("auc",)}, {"group": None, "metric": "gauc"},
                                     {"log_batch_size": 0}])
def test_settings_that_cannot_be_used_are_refused(changes):
  with pytest.raises(errors.ConfigError, match=next(iter(changes)).replace("more_metrics", "panel.metric")):
    fidelity.PanelSettings(**changes)
