"""A span whose hashed ids are keyed with a secret: in every worker the same one, or none of the work is done."""

import dataclasses
import json
import os
import random

import apache_beam as beam
import pytest

from diet_tf.errors import ConfigError
from diet_tf.log import encoding
from diet_tf.log.features import Field
from diet_tf.log.salt import Salt
from diet_tf.log.settings import Join
from tests.tfx_components.log_gen.conftest import SPEC, write_csv

VARIABLE = "DIET_TF_LOG_SALT"
SECRET = "correct horse battery staple"
SALTED = SPEC.with_salt(Salt(VARIABLE))


@pytest.fixture(autouse=True)
def secret(monkeypatch):
  monkeypatch.setenv(VARIABLE, SECRET)


def many_rows(count):
  rng = random.Random(3)
  return [{"user": rng.randrange(200), "item": rng.choice("abcdefgh"), "price": rng.random() * 8,
           "click": rng.randrange(2), "t": rng.randrange(10_000)} for _ in range(count)]


def test_hashed_fields_and_example_ids_are_keyed_and_nothing_else(log, rows):
  log.write("log-1.csv", rows)
  log.generate()
  plain = log.examples()
  summary = log.generate(spec=SALTED)
  keyed = log.examples()
  users = encoding.encode(SALTED.fields[0], [2, 1, 1, 2, 3, 4, 5])
  assert [row[0] for row in keyed[0]] == users.tolist() != [row[0] for row in plain[0]]
  assert [row[1:] for row in keyed[0]] == [row[1:] for row in plain[0]]
  assert (keyed[1], keyed[3]) == (plain[1], plain[3])
  assert not set(keyed[2]) & set(plain[2]) and min(keyed[2]) >= 0
  check = Salt(VARIABLE).bound().check
  assert summary.salt_check == check
  written = json.loads((log.output / "log_summary.json").read_text())
  assert written["salt_check"] == check and written["feature_spec_digest"] == SALTED.digest() != SPEC.digest()


def test_without_a_salt_the_summary_is_as_before(log, rows):
  log.write("log-1.csv", rows)
  log.generate()
  assert "salt_check" not in json.loads((log.output / "log_summary.json").read_text())


@pytest.mark.parametrize("arguments", [
    ["--direct_running_mode=multi_threading", "--direct_num_workers=3"],
    pytest.param(["--direct_running_mode=multi_processing", "--direct_num_workers=2"], marks=pytest.mark.slow)])
def test_parallelism_does_not_matter(log, arguments):
  log.write("log-1.csv", many_rows(2000))
  settings = log.settings(rows_per_shard=500, piece_bytes=8000)
  log.generate(settings, spec=SALTED)
  expected = log.contents()
  log.generate(settings, spec=SALTED, beam_pipeline_args=["--runner=DirectRunner", *arguments])
  assert log.contents() == expected


@pytest.mark.parametrize("limit", [1 << 20, 0], ids=["broadcast", "keyed"])
def test_fields_of_a_side_table_are_keyed_too(log, rows, limit):
  write_csv(log.folder / "side.csv", [{"user": user, "city": f"city {user % 2}"} for user in range(1, 6)])
  log.write("log-1.csv", rows)
  spec = dataclasses.replace(SPEC, fields=(*SPEC.fields, Field("city", "city", hash_ids=1000)))
  settings = log.settings(joins=(Join(str(log.folder / "side.csv"), "user"),), broadcast_limit_bytes=limit)
  salted = spec.with_salt(Salt(VARIABLE))
  log.generate(settings, spec=salted)
  ids, _, _, _ = log.examples(salted)
  cities = [f"city {user % 2}" for user in (2, 1, 1, 2, 3, 4, 5)]
  keyed, plain = (encoding.encode(one.fields[-1], cities).tolist() for one in (salted, spec))
  assert [row[3] for row in ids] == keyed != plain


@pytest.mark.parametrize(("value", "received"), [(None, "nothing"), ("too short", "9 bytes")])
def test_nothing_is_done_without_a_secret(log, rows, monkeypatch, value, received):
  log.write("log-1.csv", rows)
  monkeypatch.delenv(VARIABLE) if value is None else monkeypatch.setenv(VARIABLE, value)
  with pytest.raises(ConfigError, match=f"{VARIABLE}.*at least 16 bytes.*{received}"):
    log.generate(spec=SALTED)
  assert not log.output.exists()


def test_another_secret_than_before_is_refused(log, rows):
  log.write("log-1.csv", rows)
  with pytest.raises(ConfigError, match="check value 0123456789abcdef.*another secret needs a new store"):
    log.generate(spec=SALTED.bound_to("0123456789abcdef"))


@pytest.mark.parametrize(("in_worker", "message"), [(None, "each process that encodes rows.*nothing"),
                                                   (SECRET + "!", "ids were hashed with so far")])
def test_a_worker_without_the_secret_says_so(log, rows, in_worker, message):
  log.write("log-1.csv", rows)

  def make_pipeline():
    # As on a machine where the variable is not set, or another one's secret is.
    os.environ.pop(VARIABLE, None)
    if in_worker is not None:
      os.environ[VARIABLE] = in_worker
    return beam.Pipeline()

  with pytest.raises(ConfigError, match=message):
    log.generate(spec=SALTED, make_pipeline=make_pipeline)


def test_no_file_holds_the_secret(log, rows):
  log.write("log-1.csv", rows)
  log.generate(spec=SALTED)
  for path in log.folder.rglob("*"):
    assert not path.is_file() or SECRET.encode() not in path.read_bytes()
