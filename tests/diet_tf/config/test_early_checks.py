import pytest

from diet_tf.config import early_checks
from diet_tf.config.config import build_config
from diet_tf.errors import ConfigError

VALUES = {
    "name": "shop", "log": {"pattern": "log-{SPAN}.csv"},
    "features": {"label": "click", "fields": [{"name": "user", "hash": 50}, {"name": "item", "vocabulary": 10}]},
    "teacher": {"members": ["lr"]}, "distill": {"proxies": ["lr"]}, "gate": {"members": ["lr"]},
    "panel": {"members": ["lr", "dnn"]}}


def config(**sections):
  return build_config({**VALUES, **sections})


def test_a_sound_config_is_accepted():
  early_checks.check_config(config())


@pytest.mark.parametrize(("sections", "message"), [
    ({"panel": {"members": ["lr", "dmn"]}}, "panel.members: panel member 'dmn'"),
    ({"panel": {"members": ["dnn(without=usr)"]}}, "panel.members.*usr"),
    ({"gate": {"members": ["dmn"]}}, "gate.members: panel member 'dmn'"),
    ({"strategy": "mirrored"}, "strategy.*GPU"),
    ({"privacy": {"salt_environment_variable": "NO_SECRET_OF_TEST"}}, "NO_SECRET_OF_TEST")])
def test_what_a_run_would_come_to_hours_later(sections, message):
  with pytest.raises(ConfigError, match=message):
    early_checks.check_config(config(**sections))


def test_only_what_a_command_does_is_checked():
  early_checks.check_config(config(gate={"members": ["dmn"]}), distils=False)
  early_checks.check_config(config(panel={"members": ["dmn"]}), evaluates=False)


@pytest.mark.parametrize(("panel", "message"), [
    # A hundred embeddings of a thousand numbers, six times, are more than the teacher takes.
    (["lr", "dnn(embedding_dim=1000)"], r"field 'user'.*training dnn\(embedding_dim=1000\), beside the teacher,"),
    (["lr"], "training the teacher")])
def test_the_machine_is_asked_for_its_memory(monkeypatch, panel, message):
  many = {"features": {**VALUES["features"], "fields": [{"name": "user", "hash": 10**7}]}}
  limit = early_checks.PROCESS_BYTES + (2 * 10**9 if len(panel) > 1 else 10**8)
  monkeypatch.setattr(early_checks, "machine_memory_bytes", lambda: limit)
  with pytest.raises(ConfigError, match=message):
    early_checks.check_config(config(panel={"members": panel}, **many))
