"""Where executors report their progress."""

import logging

from diet_tf.progress import PlainProgress
from tfx_components import progress


def test_progress_is_logged_unless_it_is_shown(caplog, monkeypatch):
  # Its own, since that of the process still knows the steps that other tests began.
  monkeypatch.setattr(progress, "_log", PlainProgress(progress.log_line))
  shown = []
  with caplog.at_level(logging.INFO, logger="absl"):
    progress.report("steps", 25, 25)
    with progress.shown_by(lambda *report: shown.append(report)):
      progress.report("steps", 1, 2)
    progress.report("trainings [%s]", 2, 2)
  assert [record.message for record in caplog.records] == ["steps: 25/25, 0 s", "trainings [%s]: 2/2, 0 s"]
  assert shown == [("steps", 1, 2)]
