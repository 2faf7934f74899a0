"""Configs that would import code, and the argument that refuses them."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from diet_tf.config.config import build_config, load_config
from diet_tf.config.user_code import refuse_user_code
from diet_tf.errors import ConfigError

PLAIN = {"name": "x", "log": {"pattern": "day-{SPAN}.csv"},
         "features": {"label": "click", "fields": [{"name": "user", "hash": 100}]}}


def test_every_key_that_names_architectures_is_looked_at():
  members = build_config(PLAIN).members()
  assert set(members) == {"teacher.members", "distill.proxies", "gate.members", "panel.members"}
  assert members["panel.members"] == ("lr", "fm", "dnn", "dcn_v2")
  refuse_user_code(members)


@pytest.mark.parametrize("key", ["teacher.members", "distill.proxies", "gate.members", "panel.members"])
@pytest.mark.parametrize("member", ["os:system", "my_models:TwoTower(dim=8)", "tfrs_ranking(member=os:system)"])
def test_config_that_imports_code_is_refused_where_that_is_asked_for(tmp_path: pathlib.Path, key: str, member: str):
  path = tmp_path / "config.yaml"
  path.write_text(yaml.safe_dump(PLAIN))
  section, name = key.split(".")
  overrides = {key: ["dnn", member]}
  assert member in load_config(str(path), overrides).members()[key]
  with pytest.raises(ConfigError, match="--no-user-code.*imports code") as caught:
    load_config(str(path), overrides, user_code=False)
  assert caught.value.subject == f"{section}.{name}" and repr(member) in caught.value.received


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "..", ".", "", ".hidden", "a\\b", "a\nb"])
def test_name_that_leads_elsewhere_is_refused(name: str):
  with pytest.raises(ConfigError, match="name.*a plain name"):
    build_config({**PLAIN, "name": name})
