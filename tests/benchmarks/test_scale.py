"""What the pipeline costs: measuring in a process of its own, figures and tables by hand, and a span end to end."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.scale import tables
from benchmarks.scale.__main__ import main, parse
from benchmarks.scale.figures import ScaleFigures, cpu_seconds_per_row, row_cost_growth
from benchmarks.scale.measuring import MIB, Cost, WorkError, kept
from benchmarks.scale.refinement import ROWS_PER_SLOT, Rows, mixed_slots, refinement_figures
from benchmarks.scale.simulated import ID_FIELDS, LOG, simulated_config
from benchmarks.scale.stream import COMPONENTS, SpanFigures
from diet_tf.log.simulate import SimulatedLogSettings

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = SimulatedLogSettings(num_users=60, num_items=40, num_authors=8, num_categories=5, num_attributes=2)


def figures_of(span, num_rows, cpu_seconds, peak_mib=100, **peaks):
  names = dict.fromkeys(COMPONENTS.values())
  each = cpu_seconds / len(names)
  return SpanFigures(span, num_rows, 32, 70, 3 * MIB, 5 * MIB, {
      name: Cost(2 * each, each, peaks.get(name.split(",")[0].split(" ")[0], peak_mib) * MIB) for name in names})


def wait_until(holds, seconds=60):
  end = time.monotonic() + seconds
  while not holds():
    assert time.monotonic() < end
    time.sleep(0.05)


class TestMeasuring:

  def test_work_is_done_once_and_its_cost_is_kept(self, tmp_path):
    path = str(tmp_path / "figures" / "one.json")
    cost, result = kept(path, lambda: {"answer": 42})
    assert result == {"answer": 42} and 0 <= cost.cpu_seconds < cost.wall_seconds + 1
    assert kept(path, lambda: 1 / 0) == (cost, result)

  def test_the_peak_is_of_the_work_alone(self, tmp_path):
    small, _ = kept(str(tmp_path / "small.json"), lambda: None)
    large, _ = kept(str(tmp_path / "large.json"), lambda: float(np.ones(100 * MIB // 8).sum()))
    again, _ = kept(str(tmp_path / "again.json"), lambda: None)
    assert 90 * MIB < large.peak_bytes - small.peak_bytes < 130 * MIB
    assert again.peak_bytes - small.peak_bytes < 20 * MIB

  def test_an_error_is_told_and_nothing_is_kept(self, tmp_path):
    path = tmp_path / "one.json"
    with pytest.raises(WorkError, match="ZeroDivisionError"):
      kept(str(path), lambda: 1 / 0)
    assert not path.exists()

  def test_a_killed_process_is_told_with_its_signal(self, tmp_path):
    with pytest.raises(WorkError, match="exit code -9"):
      kept(str(tmp_path / "one.json"), lambda: os.kill(os.getpid(), 9))


  def test_work_ends_with_the_process_that_asked_for_it(self, tmp_path):
    mark = tmp_path / "pid"
    code = ("import os, pathlib, time\nfrom benchmarks.scale.measuring import kept\n"
            f"kept({str(tmp_path / 'one.json')!r}, lambda: (pathlib.Path({str(mark)!r}).write_text(str(os.getpid())), "
            "time.sleep(300)))")
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until(lambda: mark.exists() and mark.read_text())
    parent.kill()
    parent.wait()
    status = pathlib.Path(f"/proc/{mark.read_text()}/stat")
    # A process that nobody has waited for yet is a zombie, Z.
    wait_until(lambda: not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z")


class TestFigures:

  def test_growth_is_that_of_the_components_that_stream(self):
    spans = (figures_of(0, 10_000, 8, LogGen=150), figures_of(0, 1000, 8, LogGen=100, addressing=50))
    assert ScaleFigures(spans=spans).growth() == {"LogGen": 1.5, "statistics, validation": 1.0, "teacher, scores": 1.0}
    assert ScaleFigures(spans=spans[:1]).growth() == {}

  def test_the_cost_of_a_row_so_far(self):
    """10 spans of 100 rows and 7 s, then one of 14 s: 0.07 and 84 / 1,100 s a row, which is 12 / 11 of it."""
    spans = [*(figures_of(span, 100, 7) for span in range(10)), figures_of(10, 100, 14)]
    np.testing.assert_allclose(cpu_seconds_per_row(spans)[[0, 9, 10]], [0.07, 0.07, 84 / 1100])
    assert row_cost_growth(spans) == pytest.approx(12 / 11)
    assert row_cost_growth(spans[:10]) is None
    value = ScaleFigures(stream=tuple(spans)).to_dict()
    assert value["row_cost_growth"] == pytest.approx(12 / 11) and list(value["totals"]) == ["stream"]
    assert value["totals"]["stream"] == pytest.approx({"wall_seconds": 168, "cpu_seconds": 84, "peak_bytes": 100 * MIB})

  def test_a_span_knows_its_largest_component_and_its_cost_without_refinement(self):
    one = figures_of(0, 100, 7, refinement=200)
    assert one.largest == "refinement" and one.total == Cost(14.0, 7.0, 200 * MIB)
    assert one.without_refinement.cpu_seconds == pytest.approx(6)
    assert one.without_refinement.peak_bytes == 100 * MIB


class TestTables:

  def test_one_span(self):
    text = tables.markdown(ScaleFigures(spans=(figures_of(0, 1000, 7), figures_of(0, 2000, 7, LogGen=120))))
    assert "| 1,000 | LogGen | 500 | 2.0 | 1.0 | 100 |" in text
    assert "| 2,000 | all of them | 167 | 12.0 | 6.0 | 120 |" in text and "refinement" not in text
    assert "LogGen 1.20, statistics, validation 1.00" in text

  def test_a_stream_shows_some_spans_and_the_last(self):
    spans = tuple(figures_of(span, 100, 7) for span in range(11))
    lines = tables.markdown(ScaleFigures(stream=spans)).splitlines()
    rows = [line.split(" | ") for line in lines if line[:3] > "| 0" and line[2].isdigit()]
    assert [row[0] for row in rows] == ["| 1", "| 2", "| 3", "| 4", "| 6", "| 8", "| 10", "| 11"]
    assert rows[0][1:4] == ["32", "70", "1.0"] and rows[0][-4:] == ["70.00", "100 (LogGen)", "3.0", "5.0 |"]
    assert lines[-1].startswith("1,100 rows in 11 spans: 2.6 minutes, 1.3 of processor time, peak 100 MiB. Cost of a")
    assert lines[-1].endswith("span 10: 1.00.")


class TestCommand:

  def test_quick_changes_what_is_not_given(self):
    assert parse([]).rows == [100_000, 1_000_000] and parse([]).stream_spans == 12
    options = parse(["--quick", "--slots", "64"])
    assert options.rows == [20_000, 100_000] and options.slots == [64]

  def test_parts(self):
    assert parse([]).parts == ("span", "refinement", "stream", "log")
    assert parse(["--only", "log", "span", "--without", "span"]).parts == ("log",)

  def test_what_is_below_one_is_refused(self, capsys):
    with pytest.raises(SystemExit):
      parse(["--rows", "1000", "0"])
    assert "--rows is at least 1" in capsys.readouterr().err


class TestSimulated:

  def test_the_log_has_twenty_fields_two_of_them_of_a_million_ids(self, tmp_path):
    config = simulated_config(LOG, str(tmp_path))
    assert len(config.features.fields) == 20
    assert sum(field.num_ids == 1 << 20 for field in config.features.fields) == 2
    kept_ids = dict(zip(config.features.names, config.features.ids_per_slot(config.squash.ids_per_slot), strict=True))
    assert {name: count for name, count in kept_ids.items() if count != 4} == dict.fromkeys(ID_FIELDS, 32)

  def test_a_slot_keeps_the_most_frequent_ids_of_its_rows(self, tmp_path):
    config = simulated_config(SMALL, str(tmp_path))
    slots = mixed_slots(Rows(SMALL, config.features), 3, 4)
    ids, labels = Rows(SMALL, config.features).take(3 * ROWS_PER_SLOT)
    tab = config.features.names.index("tab")
    counts = np.bincount(ids[ROWS_PER_SLOT:2 * ROWS_PER_SLOT, tab])
    kept_ids = slots.ids[1, tab][slots.weights[1, tab] > 0]
    np.testing.assert_array_equal(counts[kept_ids], np.sort(counts[counts > 0])[::-1][:4])
    np.testing.assert_allclose(slots.weights[1, tab, :len(kept_ids)], counts[kept_ids] / counts[kept_ids].sum(),
                               rtol=1e-6)
    assert slots.labels[1] == pytest.approx(labels[ROWS_PER_SLOT:2 * ROWS_PER_SLOT].mean())


TINY = ["teacher.members=[lr]", "distill.proxies=[lr]", "distill.outer_batch_size=64", "distill.num_initialisations=1",
        "gate.members=[lr]", "gate.num_seeds=1", "squash.num_components=3"]


def test_refinement_is_measured_apart(tmp_path, monkeypatch):
  """In this process, which has run TensorFlow and cannot be forked any more."""
  monkeypatch.setattr("benchmarks.scale.refinement.kept", lambda path, work: (Cost(1.0, 1.0, MIB), work()))
  monkeypatch.setattr("benchmarks.scale.refinement._POOL_ROWS", 256)
  found = refinement_figures(SMALL, simulated_config(SMALL, str(tmp_path), TINY), str(tmp_path), 64, 2)
  assert (found.num_slots, found.num_steps) == (64, 2)
  assert found.num_ids > 60 and found.seconds_per_step > 0


@pytest.mark.slow(seconds=40)
def test_a_stream_ends_and_is_read_again(tmp_path, capsys):
  arguments = ["--only", "stream", "--stream-spans", "1", "--stream-rows", "1000", "--work", str(tmp_path / "work"),
               *(word for one in [*TINY, "budget.fraction=0.064", "distill.outer_steps=1"] for word in ("--set", one))]
  done = subprocess.run([sys.executable, "-m", "benchmarks.scale", *arguments], cwd=ROOT, capture_output=True,
                        text=True, timeout=500, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
  assert done.returncode == 0, done.stderr
  out = tmp_path / "figures.json"
  assert main([*arguments, "--json", str(out)]) == 0
  assert capsys.readouterr().out.splitlines()[-1] == done.stdout.splitlines()[-1]
  (span,) = json.loads(out.read_text())["stream"]
  nodes = {path.stem for path in (tmp_path / "work").glob("*/figures/0/*.json")}
  assert nodes == {*COMPONENTS, "prepare", "memory"}
  assert set(span["costs"]) == set(COMPONENTS.values()) and span["num_rows"] == 1000 and span["num_slots"] == 64
  assert all(cost["peak_bytes"] > 100 * MIB for cost in span["costs"].values())
  # What the components handed on is gone, and so are the rows.
  assert not list((tmp_path / "work").glob("*/artifacts/*")) and not list((tmp_path / "work").glob("*/log/*"))
