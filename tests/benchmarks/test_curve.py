"""The curve of cost against worth: its points, the days it reads, and a point's figures by hand."""

import numpy as np
import pytest

from benchmarks.curve import DevelopmentBenchmark, point_figures, variant_of
from benchmarks.fidelity.benchmark import Benchmark
from benchmarks.fidelity.encoded_log import EncodedLog
from benchmarks.fidelity.trained import Trained
from diet_tf.distillation.settings import StageSettings
from diet_tf.log.encoded_rows import EncodedRows
from diet_tf.log.features import FeatureSpec, Field

LABELS = np.array([1.0, 1.0, 0.0, 0.0], np.float32)
# Logits of the four examples by the AUC that they have.
LOGITS = {1.0: [3, 2, 1, 0], 0.75: [3, 1, 2, 0], 0.5: [3, 0, 2, 1]}
SPEC = FeatureSpec(label="click", fields=(Field("user", "user", hash_ids=8),))


def trained(*aucs):
  return Trained(np.array([LOGITS[auc] for auc in aucs], np.float32), None, 1, 20, 1.0, 1.0)


def test_a_point_changes_settings_and_says_whether_it_is_a_stream():
  variant = variant_of("whole distill.outer_steps=40 distill.proxies=[\"dnn\"] addressing.rule=random")
  assert variant.stages == "whole" and variant_of("").stages == "stream"
  settings = variant.settings(StageSettings())
  assert settings.distill.outer_steps == 40 and settings.distill.proxies == ("dnn",)
  assert settings.addressing.rule == "random"
  assert (variant.targets, variant_of("whole in_fold").targets) == ("teacher", "in_fold")
  with pytest.raises(ValueError, match="'distill.outer_steps:40'"):
    variant_of("distill.outer_steps:40")


@pytest.mark.parametrize("num_test_spans", [1, 2])
def test_the_newest_span_is_not_read(monkeypatch, num_test_spans):
  spans = np.array([0, 0, 1, 2, 3, 3])
  rows = EncodedRows(np.zeros((6, 1), np.int32), np.ones(6, np.float32), np.arange(6), spans)
  whole = EncodedLog(rows, SPEC, tuple(range(4))[:-num_test_spans], tuple(range(4))[-num_test_spans:], {}, {})
  monkeypatch.setattr(Benchmark, "log", lambda self: whole)
  log = DevelopmentBenchmark.log(DevelopmentBenchmark.__new__(DevelopmentBenchmark))
  assert log.train_spans == (0, 1) and log.test_spans == (2,)
  assert log.rows.spans.tolist() == [0, 0, 1, 2]


def test_figures_of_a_point_by_hand():
  on_log = {"a": trained(1.0, 1.0), "b": trained(0.75, 0.75), "c": trained(0.5, 0.5)}
  on_memory = {"a": trained(0.75, 0.75), "b": trained(0.5, 1.0), "c": trained(0.5, 0.5)}
  figures = point_figures(LABELS, {name: on_log[name] for name in "ab"}, {name: on_memory[name] for name in "ab"})
  # a recovers half of its lift with both seeds; b none of its lift of 1/4 with the first, twice it with the second.
  assert figures["recovery"].mean == pytest.approx((0.5 + 1.0) / 2)
  assert figures["least"] == pytest.approx(0.5) and figures["least_member"] == "a"
  # The second memory puts b first, which costs 1/4 on the log.
  assert figures["regret"] == pytest.approx(0.125)
