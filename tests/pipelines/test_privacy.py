"""Spans with a secret salt and a minimum of users, through the whole pipeline and everything that encodes after it."""

import gzip
import json
import pathlib
import shutil

import numpy as np
import pytest
import yaml

from diet_tf.cli import main as cli
from diet_tf.errors import ConfigError, FormatError
from diet_tf.log.encoding import encode
from diet_tf.store.memories import load_memory
from diet_tf.store.store import Store
from diet_tf.store.verification import check_store
from pipelines import command_line
from pipelines.compare_command import compare

VARIABLE = "DIET_TF_TINY_SALT"
SECRET = "the-secret-of-a-tiny-log-8d1f"


def with_privacy(tiny_log, **privacy):
  path = pathlib.Path(tiny_log.config_path)
  values = yaml.safe_load(path.read_text())
  values["privacy"] = privacy
  path.write_text(yaml.safe_dump(values, sort_keys=False))


def files_with(folder, text):
  """The files below a folder that hold a text, GZIP files unpacked."""
  found = []
  for path in folder.rglob("*"):
    if path.is_file():
      content = path.read_bytes()
      if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
      if text.encode() in content:
        found.append(str(path))
  return found


@pytest.mark.slow
def test_two_spans_with_a_salt_and_a_minimum_of_users(tiny_log, tmp_path, capsys, monkeypatch):
  def run(*arguments):
    return command_line.run(["--config", tiny_log.config_path, "--data-dir", str(tiny_log.folder),
                             "--output", str(tmp_path / "out"), *arguments])

  monkeypatch.setenv("COLUMNS", "200")
  monkeypatch.delenv(VARIABLE, raising=False)
  with_privacy(tiny_log, user_field="user_id", min_users_per_id=3, salt_environment_variable=VARIABLE)
  with pytest.raises(ConfigError, match=f"{VARIABLE}.*at least 16 bytes.*nothing"):
    run("--span", "0", "--no-evaluate")
  monkeypatch.setenv(VARIABLE, SECRET)
  assert run("--span", "0", "--no-evaluate") == 0
  assert run("--span", "1") == 0  # And the panel, judged on span 2.
  store = Store(str(tmp_path / "out" / "store"))
  check_store(store).require_sound()
  memory = load_memory(store.uri)
  assert memory.manifest.users_per_id == tuple(
      {"born_span": span, "user_field": "user_id", "min_users": 3} for span in (0, 1))
  assert not memory.slots.ids[:, memory.spec.names.index("user_id")].any()
  # Items of slots are those of the log, by the secret.
  items = encode(memory.spec.fields[1], [str(item) for item in range(100)])
  item_ids = memory.slots.ids[:, 1][memory.slots.weights[:, 1] > 0]
  assert set(item_ids.tolist()) - {0} <= set(items.tolist())

  capsys.readouterr()
  assert cli.main(["memory", "show", store.uri]) == 0
  text = capsys.readouterr().out
  assert "at least 3 users (field user_id) behind every id weight and every slot" in text
  assert "with a secret salt: user_id, item_id; in the clear: category, price, tab" in text
  assert cli.main(["memory", "show", store.uri, "--json"]) == 0
  assert json.loads(capsys.readouterr().out)["privacy"]["salt_check"] == memory.spec.salt.check

  # Held-out rows are encoded the same way, with the config and without it.
  log = str(tiny_log.folder / "span-{SPAN}.csv")
  assert compare(["lr", "--store", store.uri, "--seeds", "1", "--log", log]) == 0
  assert files_with(tmp_path / "out", SECRET) == []
  assert files_with(tmp_path / "out", VARIABLE) != []

  # Another secret: refused by the next span, by the evaluation and by the comparison; the store is as it was.
  monkeypatch.setenv(VARIABLE, SECRET + "!")
  before = sorted(path.name for path in (tmp_path / "out" / "store" / "commits").iterdir())
  with pytest.raises(ConfigError, match=f"check value {memory.spec.salt.check}.*another secret needs a new store"):
    run("--span", "2", "--no-evaluate")
  with pytest.raises(FormatError, match=f"{memory.spec.salt.check}.*another secret needs a new store"):
    run("--span", "0", "--replace", "--no-evaluate")  # Nothing below it says what the secret was.
  shutil.rmtree(tmp_path / "out" / "examples")
  with pytest.raises(ConfigError, match=memory.spec.salt.check):
    compare(["lr", "--store", store.uri, "--seeds", "1", "--config", tiny_log.config_path, "--data-dir",
             str(tiny_log.folder)])
  assert sorted(path.name for path in (tmp_path / "out" / "store" / "commits").iterdir()) == before
  monkeypatch.setenv(VARIABLE, SECRET)

  # Without the salt nothing fits; a weaker rule for users must be declared, and is what the memory then claims.
  with_privacy(tiny_log, user_field="user_id", min_users_per_id=3)
  with pytest.raises(ConfigError, match="hashed with a salt.*true committed, not set now.*cannot be declared"):
    run("--span", "2", "--no-evaluate")
  with_privacy(tiny_log, user_field="user_id", min_users_per_id=2, salt_environment_variable=VARIABLE)
  with pytest.raises(ConfigError, match="privacy.min_users_per_id: 3 committed, 2 now"):
    run("--span", "2", "--no-evaluate")
  assert run("--span", "2", "--no-evaluate", "--accept-changes") == 0
  claim = load_memory(store.uri).manifest.claim()
  assert (claim.user_field, claim.min_users) == ("user_id", 2)
  assert np.isfinite(load_memory(store.uri).slots.weights).all()
