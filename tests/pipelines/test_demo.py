import numpy as np
import pytest

from diet_tf.config.config import load_config
from diet_tf.errors import ConfigError
from diet_tf.log.simulate import SimulatedLog, SimulatedLogSettings, simulated_feature_spec
from diet_tf.store.pins import pin_commit, unpin_commits
from diet_tf.store.store import Store
from pipelines import demo

SMALL = SimulatedLogSettings(rows_per_span=200)


def test_the_demo_writes_its_log_and_a_config_that_reads_it(tmp_path):
  output = str(tmp_path / "demo")
  demo.prepare(output, SMALL)
  names = sorted(path.name for path in (tmp_path / "demo" / "log").iterdir())
  assert names == [f"span-{span}.csv" for span in range(6)]
  config = load_config(f"{output}/config.yaml", {"output": output})
  assert config == demo.demo_config(output)
  assert config.features == simulated_feature_spec(SMALL)


def test_a_second_demo_begins_anew(tmp_path):
  output = tmp_path / "demo"
  demo.prepare(str(output), SMALL)
  (output / "store").mkdir()
  (output / "store" / "left-over").write_text("")
  demo.prepare(str(output), SMALL)
  assert not (output / "store").exists() and (output / "log" / "span-5.csv").exists()


def test_a_demo_whose_memory_is_pinned_is_left_alone(tmp_path):
  output = tmp_path / "demo"
  demo.prepare(str(output), SMALL)
  (tmp_path / "content").write_text("x")
  store = Store(str(output / "store"))
  store.commit(0, {"notes": str(tmp_path / "content")}, parent=None, settings={}, run_id="demo")
  pin_commit(store, 0, "shown to the board")
  with pytest.raises(ConfigError, match="a pinned commit is never removed.*unpin"):
    demo.prepare(str(output), SMALL)
  assert store.spans() == [0]
  unpin_commits(store, 0)
  demo.prepare(str(output), SMALL)
  assert store.spans() == []


def test_a_folder_of_something_else_is_left_alone(tmp_path):
  (tmp_path / "thesis.txt").write_text("my only copy")
  with pytest.raises(ConfigError, match="--output"):
    demo.prepare(str(tmp_path), SMALL)
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_overrides_reach_the_demos_config(tmp_path):
  config = demo.demo_config(str(tmp_path), ["distill.outer_steps=3", "panel.members=[lr]"])
  assert config.distill.outer_steps == 3 and config.panel.members == ("lr",)
  assert demo.demo_config(str(tmp_path)).panel.members == tuple(demo.CONFIG["panel"]["members"])
  with pytest.raises(ConfigError, match="outer_step"):
    demo.demo_config(str(tmp_path), ["distill.outer_step=3"])


def test_the_best_possible_auc_of_the_test_spans():
  assert demo.bayes_auc([5], SMALL) == pytest.approx(SimulatedLog(SMALL).bayes_auc(5))
  assert 0.6 < demo.bayes_auc([4, 5], SMALL) < 0.95


def test_the_simulated_log_is_the_same_every_time():
  one, other = (SimulatedLog(demo.LOG_SETTINGS).span(0, 100)[0] for _ in range(2))
  for name, column in one.items():
    np.testing.assert_array_equal(column, other[name])
