import logging

from tfx_components.progress_log import ProgressLog, progress_line


def test_a_line_tells_rate_and_remaining_time():
  assert progress_line("steps", 0, 250, 0, 0) == "steps: 0 of 250"
  assert progress_line("steps", 40, 250, 30, 10) == "steps: 40 of 250, 3.0/s, 70 s left"
  assert progress_line("rows", 12_000, None, 12_000, 8) == "rows: 12,000, 1,500/s, 8 s"
  assert progress_line("steps", 250, 250, 240, 60) == "steps: 250 of 250, 4.0/s, 60 s"


def test_lines_are_spaced_and_the_last_always_comes(caplog):
  now = [0.0]
  progress = ProgressLog(seconds_between_lines=10, clock=lambda: now[0])
  with caplog.at_level(logging.INFO, logger="absl"):
    for done in range(26):
      progress("steps", done, 25)
      now[0] += 1
    progress("steps", 0, 25)
  assert [record.message for record in caplog.records] == [
      "steps: 0 of 25", "steps: 10 of 25, 1.0/s, 15 s left", "steps: 20 of 25, 1.0/s, 5 s left",
      "steps: 25 of 25, 1.0/s, 25 s", "steps: 0 of 25"]
