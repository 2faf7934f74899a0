import os

import pytest

from diet_tf.errors import ConfigError, StoreError
from pipelines import command_line


@pytest.fixture
def unread(monkeypatch):
  """Fails the test where the log is looked at."""
  monkeypatch.setattr("tfx_components.log_gen.available_spans", lambda *_: pytest.fail("the log is looked at"))


def run(tiny_log, *arguments):
  command_line.run(["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder), *arguments])


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(("setting", "message"), [
    ("gate.members=[dmn]", "gate.members: panel member 'dmn'"), ("panel.members=[dmn]", "panel.members"),
    ("validation.fatal=[NO_SUCH_ANOMALY]", "NO_SUCH_ANOMALY"),
    ("validation.drift_thresholds={usr: 0.5}", "validation.drift_thresholds.*usr"), ("strategy=gpu", "GPU"),
    ("teacher.members=['dnn(embedding_dim=1000000)']", "the tables of all ids fit into the memory of this machine")])
def test_settings_are_told_before_the_log_is_looked_at(tiny_log, tmp_path, setting, message):
  with pytest.raises(ConfigError, match=message):
    run(tiny_log, "--output", str(tmp_path / "out"), "--set", setting)
  assert not os.path.exists(tmp_path / "out")


@pytest.mark.usefixtures("unread")
def test_places_are_told_before_the_log_is_looked_at(tiny_log, tmp_path):
  (tmp_path / "file").write_text("")
  (tmp_path / "out" / "metadata.sqlite").mkdir(parents=True)
  (tmp_path / "store").mkdir()
  (tmp_path / "store" / "data").write_text("")
  for arguments, place in ((["--output", str(tmp_path / "file")], "file"),
                           (["--output", str(tmp_path / "out")], "metadata.sqlite"),
                           (["--output", str(tmp_path / "new"), "--store", str(tmp_path / "store")], "store/data"),
                           (["--output", str(tmp_path / "new"), "--json", str(tmp_path)], str(tmp_path))):
    with pytest.raises(StoreError, match=place):
      run(tiny_log, *arguments)


def test_little_room_is_said(tiny_log, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr("pipelines.early_checks.LEAST_FREE_BYTES", 1 << 62)
  monkeypatch.setattr("tfx_components.log_gen.available_spans", lambda *_: [])
  with pytest.raises(Exception, match="at least one span"):
    run(tiny_log, "--output", str(tmp_path / "out"))
  assert "There is little room" in capsys.readouterr().err
