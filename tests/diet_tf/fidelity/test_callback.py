"""The callback on a model of two weights, whose figures are worked out by hand."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from diet_tf import FidelityCallback
from diet_tf.errors import ConfigError, DataError, NumericsError

# Scores of four rows, of which the second and third are clicked: of the four pairs two are in order, (1 > 0), (2 > 0).
SCORES = np.array([0.0, 1.0, 2.0, 3.0], np.float32)
CLICKS = np.array([0.0, 1.0, 1.0, 0.0], np.float32)
AUC = 0.5
LOG_LOSS = (math.log(2) + math.log1p(math.exp(-1)) + math.log1p(math.exp(-2)) + math.log1p(math.exp(3))) / 4


class Scale(tf.keras.Model):
  """Returns `scale * x`; `scale` is 1 to begin with, and training by SGD of rate 0 leaves it so."""

  def __init__(self, sigmoid: bool = False, width: int | None = None) -> None:
    super().__init__()
    self.scale = self.add_weight(name="scale", shape=[], initializer="ones")
    self.sigmoid, self.width = sigmoid, width

  def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
    outputs = self.scale * features["x"]
    outputs = tf.sigmoid(outputs) if self.sigmoid else outputs
    return outputs if self.width is None else tf.tile(outputs[:, None], [1, self.width])


def rows(batch_size: int = 3, scores: np.ndarray = SCORES, clicks: np.ndarray = CLICKS) -> tf.data.Dataset:
  return tf.data.Dataset.from_tensor_slices(({"x": scores}, clicks)).batch(batch_size)


def fit(model: tf.keras.Model, *callbacks: tf.keras.callbacks.Callback, rate: float = 0.0, epochs: int = 1,
        steps_per_execution: int = 1) -> tf.keras.callbacks.History:
  """Trains for three steps an epoch; the loss is the mean output, so that SGD lowers `scale` by the rate a step."""
  model.compile(tf.keras.optimizers.SGD(rate), loss=lambda labels, outputs: tf.reduce_mean(outputs),
                steps_per_execution=steps_per_execution)
  data = tf.data.Dataset.from_tensor_slices(({"x": np.ones(6, np.float32)}, np.ones(6, np.float32))).batch(2)
  return model.fit(data, epochs=epochs, callbacks=list(callbacks), verbose=0)


def scalars(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
  """Steps and values by tag, of all event files in a folder."""
  found: dict[str, list[tuple[int, float]]] = {}
  for record in tf.data.TFRecordDataset([str(path) for path in sorted(folder.iterdir())]):
    event = event_pb2.Event.FromString(record.numpy())
    for value in event.summary.value:
      found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
  return found


def test_figures_by_hand_whatever_the_batches() -> None:
  clicks = np.array([0.0, 1.0, 0.0, 1.0], np.float32)
  for batch_size in (1, 3, 4):
    history = fit(Scale(), FidelityCallback(rows(batch_size, clicks=clicks), log_auc=0.9, from_logits=True)).history
    # Pairs of click and no click: (1 > 0), (3 > 0), (3 > 2) in order, (1 < 2) not.
    assert history["held_out_auc"] == [0.75]
    assert history["recovery"] == [pytest.approx(0.25 / 0.4)]
    # log(1 + exp(z)) - y z of (0, 0), (1, 1), (2, 0), (3, 1).
    expected = (math.log(2) + math.log1p(math.exp(-1)) + math.log1p(math.exp(2)) + math.log1p(math.exp(-3))) / 4
    assert history["held_out_log_loss"] == [pytest.approx(expected, rel=1e-6)]


def test_probabilities_give_the_figures_of_their_logits() -> None:
  history = fit(Scale(sigmoid=True), FidelityCallback(rows(), from_logits=False)).history
  assert history["held_out_auc"] == [AUC]
  assert history["held_out_log_loss"] == [pytest.approx(LOG_LOSS, rel=1e-5)]
  assert "recovery" not in history


def test_a_pair_of_arrays_and_an_output_of_one_column() -> None:
  history = fit(Scale(width=1), FidelityCallback(({"x": SCORES}, CLICKS), from_logits=True)).history
  assert history["held_out_log_loss"] == [pytest.approx(LOG_LOSS, rel=1e-6)]


def test_the_attribute_or_the_loss_says_what_is_returned() -> None:
  model = Scale(sigmoid=True)
  model.from_logits = False
  assert fit(model, FidelityCallback(rows())).history["held_out_log_loss"] == [pytest.approx(LOG_LOSS, rel=1e-5)]
  model = Scale()
  model.compile("sgd", tf.keras.losses.BinaryCrossentropy(from_logits=True))
  callback = FidelityCallback(rows())
  callback.set_model(model)
  callback.on_train_begin()
  logs = {}
  callback.on_epoch_end(0, logs)
  assert logs["held_out_log_loss"] == pytest.approx(LOG_LOSS, rel=1e-6)


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_tensorboard_by_epoch_and_step(tmp_path, steps_per_execution: int) -> None:
  # Scale falls by 1/2 each step: after steps 1, 2, 3, ... it is 0.5, 0, -0.5, -1, -1.5, -2.
  clicks = np.array([0.0, 1.0, 0.0, 1.0], np.float32)
  every = {1: 2, 3: 3}[steps_per_execution]
  callback = FidelityCallback(rows(clicks=clicks), log_dir=tmp_path, log_auc=1.0, from_logits=True, every_steps=every)
  history = fit(Scale(), callback, rate=0.5, epochs=2, steps_per_execution=steps_per_execution).history
  assert history["held_out_auc"] == [0.25, 0.25]
  found = scalars(tmp_path / "held_out")
  assert found["epoch_auc"] == [(0, 0.25), (1, 0.25)]
  assert found["epoch_recovery"] == [(0, -0.5), (1, -0.5)]
  assert [step for step, _ in found["epoch_loss"]] == [0, 1]
  # A score of 0 for all ties all pairs.
  assert found["batch_auc"] == ([(2, 0.5), (4, 0.25), (6, 0.25)] if every == 2 else [(3, 0.25), (6, 0.25)])
  assert found["batch_loss"][-1][1] == pytest.approx(history["held_out_log_loss"][-1])


def test_a_model_is_not_judged_twice_at_one_step(monkeypatch) -> None:
  callback = FidelityCallback(rows(), from_logits=True, every_steps=3)
  judged = []
  judge = callback._judge
  monkeypatch.setattr(callback, "_judge", lambda: judged.append(1) or judge())
  fit(Scale(), callback, epochs=2)
  assert len(judged) == 2


def test_keras_own_callbacks_see_the_figures(tmp_path) -> None:
  stopping = tf.keras.callbacks.EarlyStopping(monitor="held_out_auc", patience=2)
  board = tf.keras.callbacks.TensorBoard(tmp_path, write_graph=False)
  callbacks = [FidelityCallback(rows(), log_dir=tmp_path, from_logits=True), stopping, board]
  history = fit(Scale(), *callbacks, epochs=9)
  # The first epoch is the best of equals; two more bring nothing.
  assert len(history.epoch) == 3
  tags = scalars(tmp_path / "train")
  assert [value for _, value in tags["epoch_held_out_auc"]] == [AUC] * 3
  assert [value for _, value in scalars(tmp_path / "held_out")["epoch_auc"]] == [AUC] * 3


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch) -> None:
  monkeypatch.chdir(tmp_path)
  fit(Scale(), FidelityCallback(rows(), from_logits=True, every_steps=1))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "message"), [
    ({"log_auc": 0.5}, "log_auc"), ({"log_auc": 73.0}, "log_auc"), ({"every_steps": 0}, "every_steps"),
    ({"rows": [1, 2]}, "a list"), ({"rows": rows().repeat()}, "repeats"),
    ({"rows": rows().map(lambda x, y: (x, y, y))}, "not those of a memory")])
def test_misuse_is_refused(arguments, message: str) -> None:
  with pytest.raises(ConfigError, match=message):
    FidelityCallback(**{"rows": rows(), **arguments})


def test_a_model_that_does_not_say_what_it_returns_is_refused() -> None:
  with pytest.raises(ConfigError, match="from_logits=True"):
    fit(Scale(), FidelityCallback(rows()))


def test_logits_are_no_probabilities() -> None:
  with pytest.raises(ConfigError, match="outputs from 0 to 2"):
    fit(Scale(), FidelityCallback(rows(), from_logits=False))


def test_two_outputs_a_row_are_refused() -> None:
  with pytest.raises(ConfigError, match="one output a row"):
    fit(Scale(width=2), FidelityCallback(rows(), from_logits=True))


def test_rows_must_have_both_classes_and_scores_be_finite() -> None:
  with pytest.raises(DataError, match="both classes"):
    fit(Scale(), FidelityCallback(rows(clicks=np.zeros(4, np.float32)), from_logits=True))
  with pytest.raises(DataError, match="at least one"):
    fit(Scale(), FidelityCallback(rows().take(0), from_logits=True))
  steps: list[int] = []
  counter = tf.keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: steps.append(batch))
  with pytest.raises(DataError, match="4 examples of class 1"):
    fit(Scale(), counter, FidelityCallback(rows(clicks=np.ones(4, np.float32)), from_logits=True))
  assert not steps  # It is told before training, not after the first epoch.
  for from_logits in (True, False):
    with pytest.raises(NumericsError, match="finite"):
      fit(Scale(), FidelityCallback(rows(scores=SCORES * np.float32("nan")), from_logits=from_logits))
