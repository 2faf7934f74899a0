"""Fidelity while a model is trained: what it learns from the memory, measured on unseen rows of the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from diet_tf import metrics
from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.models.inputs import logits_of

# The run in TensorBoard, beside Keras' own "train" and "validation".
RUN_NAME = "held_out"
AUC, LOG_LOSS, RECOVERY = "held_out_auc", "held_out_log_loss", "recovery"
# Keras' names of the first two, so that one chart shows them beside Keras' own curves.
_CHARTS = {AUC: "auc", LOG_LOSS: "loss", RECOVERY: "recovery"}
_ARRAY_ROWS = 8192


class FidelityCallback(tf.keras.callbacks.Callback):
  """Judges the model under training on rows of the log, for TensorBoard and for Keras' logs.

  Each epoch ends with three figures in Keras' logs, and so in `History`: `held_out_auc`, `held_out_log_loss` and, where
  the AUC of a training on the log is given, `recovery = (AUC - 0.5) / (log AUC - 0.5)`. All three are exact
  (`diet_tf.metrics`), not sums over thresholds. Callbacks that come later in the list see them: `EarlyStopping` with
  `monitor="held_out_auc"`, say. TensorBoard gets them as the run "held_out": `epoch_auc`, `epoch_loss` and
  `epoch_recovery` by epoch, and the same with `batch_` by step where `every_steps` is given.

  Args:
    rows: dataset of batches `(features, label)` that ends, as `LogExamples.dataset` gives it, or a pair of arrays as
      Keras' `validation_data`; features are of the form that the model takes, labels are 0 or 1.
    log_dir: folder of TensorBoard, the same as of Keras' own callback; None writes nothing there.
    log_auc: AUC on these rows of the model, or of one like it, trained on the log; None leaves recovery out.
    from_logits: whether the model returns logits rather than probabilities; None asks the model's attribute
      `from_logits`, and then that of the loss that it was compiled with.
    every_steps: number of steps after which the model is judged as well; None judges at the end of epochs alone.

  Raises:
    ConfigError: an argument is not usable.
    DataError: once training begins, if there are no rows, or they are of one class.
  """

  def __init__(self, rows: tf.data.Dataset | tuple[Any, Any], *, log_dir: str | os.PathLike[str] | None = None,
               log_auc: float | None = None, from_logits: bool | None = None,
               every_steps: int | None = None) -> None:
    super().__init__()
    if log_auc is not None and not 0.5 < log_auc <= 1.0:
      raise _refused("log_auc", "recovery is a share of the log's lift over chance: it is above 0.5 and at most 1.",
                     repr(log_auc), "pass the AUC of a training on the log, or leave it out.")
    if every_steps is not None and every_steps < 1:
      raise _refused("every_steps", "it is at least 1.", repr(every_steps), "pass a number of steps, or None.")
    self.log_dir = None if log_dir is None else os.fspath(log_dir)
    self.log_auc = log_auc
    self.from_logits = from_logits
    self.every_steps = every_steps
    self._rows = _batches(rows)
    self._writer: tf.summary.SummaryWriter | None = None
    self._step, self._epoch_start = 0, 0
    self._judged: tuple[int, dict[str, float]] | None = None

  def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
    """Learns what the model returns, and opens the run in TensorBoard."""
    del logs
    self._returns_logits = self._asked_for_logits()
    self._check_labels()
    # Not `predict_on_batch`, which takes several batches where `steps_per_execution` says so.
    self._predict = tf.function(lambda features: self.model(features, training=False), reduce_retracing=True)
    self._judged = None
    if self.log_dir is not None:
      self._writer = tf.summary.create_file_writer(files.join(self.log_dir, RUN_NAME))

  def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
    """Counts steps, and judges after every so many."""
    del logs
    # Keras calls once for several steps where `steps_per_execution` says so; `batch` is then the last of them.
    before, self._step = self._step, self._epoch_start + batch + 1
    if self.every_steps is not None and self._step // self.every_steps > before // self.every_steps:
      self._write("batch", self._figures(), self._step)

  def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
    """Judges, and adds the figures to the logs."""
    self._epoch_start = self._step
    figures = self._figures()
    self._write("epoch", figures, epoch)
    if logs is not None:
      logs.update(figures)

  def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
    """Closes the run in TensorBoard."""
    del logs
    if self._writer is not None:
      self._writer.close()
      self._writer = None

  def _figures(self) -> dict[str, float]:
    """The figures of the model as it is now; those of a step are computed once."""
    if self._judged is None or self._judged[0] != self._step:
      self._judged = (self._step, self._judge())
    return self._judged[1]

  def _judge(self) -> dict[str, float]:
    batches = []
    for features, label in self._rows:
      clicks = np.asarray(label).ravel()
      batches.append((clicks, self._logits(self._predict(features), len(clicks))))
    labels, logits = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    auc = metrics.auc(labels, logits)
    figures = {AUC: auc, LOG_LOSS: metrics.log_loss(labels, logits)}
    if self.log_auc is not None:
      figures[RECOVERY] = metrics.recovery(auc, self.log_auc)
    return figures

  def _check_labels(self) -> None:
    """Reads rows until both classes have occurred, so that what cannot be judged is told before an epoch is over."""
    seen = np.zeros(0, np.float32)
    for _, label in self._rows:
      seen = np.concatenate([seen, np.asarray(label, np.float32).ravel()])
      if 0.0 < seen.mean() < 1.0:
        break
    metrics.check_classes(seen, "FidelityCallback: rows", "name a span with clicks and without.")

  def _logits(self, returned: Any, num_rows: int) -> np.ndarray:
    if not tf.is_tensor(returned) or tuple(returned.shape) not in ((num_rows,), (num_rows, 1)):
      raise _refused("model", "it returns one output a row, [batch] or [batch, 1].", f"shape {returned.shape} for "
                     f"{num_rows} rows." if tf.is_tensor(returned) else f"a {type(returned).__name__}.",
                     "judge a model of one output.")
    outputs = returned.numpy()
    if not self._returns_logits and not ((outputs >= 0) & (outputs <= 1)).all() and np.isfinite(outputs).all():
      raise _refused("from_logits", "a model without logits returns probabilities, in [0, 1].",
                     f"outputs from {outputs.min():g} to {outputs.max():g}.", "pass from_logits=True.")
    return logits_of(returned, self._returns_logits).numpy()

  def _asked_for_logits(self) -> bool:
    stated = (self.from_logits, getattr(self.model, "from_logits", None),
              getattr(getattr(self.model, "loss", None), "from_logits", None))
    for value in stated:
      if value is not None:
        return bool(value)
    raise _refused("from_logits", "it must be known whether the model returns logits or probabilities.",
                   f"a {type(self.model).__name__} that says so neither itself nor in its loss.",
                   "pass from_logits=True (no sigmoid at the end) or from_logits=False.")

  def _write(self, prefix: str, figures: Mapping[str, float], step: int) -> None:
    if self._writer is None:
      return
    with self._writer.as_default(step=step):
      for name, value in figures.items():
        tf.summary.scalar(f"{prefix}_{_CHARTS[name]}", value)
    self._writer.flush()


def _batches(rows: tf.data.Dataset | tuple[Any, Any]) -> tf.data.Dataset:
  """Rows as a dataset of pairs that ends."""
  if isinstance(rows, tuple) and len(rows) == 2:
    return tf.data.Dataset.from_tensor_slices(rows).batch(_ARRAY_ROWS)
  if not isinstance(rows, tf.data.Dataset):
    raise _refused("rows", "they are a dataset, or a pair of features and labels.", f"a {type(rows).__name__}.",
                   "pass LogExamples.dataset(mode=...).")
  elements = rows.element_spec
  if not isinstance(elements, tuple) or len(elements) != 2:
    raise _refused("rows", "a batch is (features, label): rows of the log count alike, and their labels are clicks.",
                   f"elements of {len(elements) if isinstance(elements, tuple) else 1} parts.",
                   "pass rows of the log (LogExamples.dataset), not those of a memory.")
  if rows.cardinality() == tf.data.INFINITE_CARDINALITY:
    raise _refused("rows", "they end.", "a dataset that repeats.", "leave out repeat().")
  return rows


def _refused(argument: str, rule: str, received: str, remedy: str) -> ConfigError:
  return ConfigError(f"FidelityCallback: {argument}", rule=rule, received=received, remedy=remedy)
