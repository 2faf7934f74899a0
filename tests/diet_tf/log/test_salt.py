"""Keyed hashing: known answers, the same in every process, and no other secret in its place."""

import dataclasses
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from diet_tf.errors import ConfigError
from diet_tf.log.encoding import encode, fingerprints, keyed_fingerprints, row_ids
from diet_tf.log.features import FeatureSpec, Field, Label
from diet_tf.log.salt import Salt, check_value

VARIABLE = "DIET_TF_TEST_SALT"
SECRET = "a secret of more than sixteen bytes"
SALT = Salt(VARIABLE)
FIELD = Field("user", "user", hash_ids=1001, salt=SALT)
SPEC = FeatureSpec((Field("user", "user", hash_ids=1001), Field("kind", "kind", vocabulary_ids=9)), Label("click"))


@pytest.fixture(autouse=True)
def secret(monkeypatch):
  monkeypatch.setenv(VARIABLE, SECRET)


def texts(*values):
  array = np.empty(len(values), object)
  array[:] = values
  return array


def test_the_hash_is_blake2b_under_a_key_stretched_by_scrypt():
  key = hashlib.scrypt(SECRET.encode(), salt=b"diet_tf", n=16384, r=8, p=1, dklen=32)
  digest = hashlib.blake2b("Zoë".encode(), key=key, digest_size=8, person=b"diet_tf text").digest()
  expected = int.from_bytes(digest, "little")
  assert keyed_fingerprints(texts("Zoë", "b"), SALT)[0] == expected
  assert encode(FIELD, ["Zoë", None, "Zoë"]).tolist() == [1 + expected % 1000, 0, 1 + expected % 1000]


def test_known_answers():
  # These must never change: the ids of every salted store hang on them.
  assert SALT.bound().check == "20e4fbfc7d6ee246"
  assert keyed_fingerprints(texts("user 1", "a", ""), SALT).tolist() == [
      13889856841467102646, 14263736914942462129, 16561515897177851865]
  assert row_ids(np.array([1, 2], np.uint64), SALT).tolist() == [5474040970095532094, 6994454334933777726]


def test_another_secret_gives_other_hashes_and_so_does_none(monkeypatch):
  names = texts(*(f"user {number}" for number in range(50)))
  first, plain = keyed_fingerprints(names, SALT), fingerprints(names)
  monkeypatch.setenv(VARIABLE, SECRET + "!")
  other = keyed_fingerprints(names, SALT)
  assert len({*first.tolist(), *plain.tolist(), *other.tolist()}) == 150


def test_row_ids_are_keyed_and_have_63_bits():
  sums = np.arange(1000, dtype=np.uint64)
  keyed = row_ids(sums, SALT)
  assert keyed.dtype == np.int64 and (keyed >= 0).all() and len(set(keyed.tolist())) == 1000
  assert not set(keyed.tolist()) & set(row_ids(sums).tolist())


def test_another_process_gives_the_same_ids():
  code = ("from diet_tf.log.encoding import encode; from diet_tf.log.features import Field; "
          "from diet_tf.log.salt import Salt; "
          f"print(encode(Field('user', 'user', hash_ids=1001, salt=Salt({VARIABLE!r})), ['a', 'b', 7]).tolist())")
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True,
                        env={**os.environ, "PYTHONHASHSEED": "7"})
  assert done.stdout.strip() == str(encode(FIELD, ["a", "b", 7]).tolist())


def test_white_space_around_the_secret_does_not_count(monkeypatch):
  key = SALT.key()
  monkeypatch.setenv(VARIABLE, f" {SECRET}\n")
  assert SALT.key() == key


@pytest.mark.parametrize(("value", "received"), [(None, "nothing"), ("", "nothing"), ("fifteen bytes..", "15 bytes"),
                                                 ("short" + " " * 20, "5 bytes")])
def test_a_missing_or_short_secret_is_refused(monkeypatch, value, received):
  monkeypatch.delenv(VARIABLE) if value is None else monkeypatch.setenv(VARIABLE, value)
  with pytest.raises(ConfigError, match=f"{VARIABLE}.*at least 16 bytes.*{received}.*openssl rand") as caught:
    encode(FIELD, ["a"])
  assert not value or value.strip() not in str(caught.value)


def test_sixteen_bytes_are_enough(monkeypatch):
  monkeypatch.setenv(VARIABLE, "0123456789abcdef")
  assert len(SALT.key()) == 32


def test_another_secret_than_the_stores_is_refused(monkeypatch):
  bound = SALT.bound()
  assert bound.key() == SALT.key()
  monkeypatch.setenv(VARIABLE, SECRET + "!")
  with pytest.raises(ConfigError, match=f"check value {bound.check}.*check value.*new store") as caught:
    encode(dataclasses.replace(FIELD, salt=bound), ["a"])
  assert SECRET not in str(caught.value)


def test_the_check_value_is_none_of_the_hashes_of_data():
  key = SALT.key()
  assert int(check_value(key), 16) not in keyed_fingerprints(texts("", "check"), SALT).tolist()


@pytest.mark.parametrize("name", ["", "diet_salt", "9LIVES", "A B", "c2VjcmV0LXBhc3RlZA=="])
def test_a_name_that_may_be_the_secret_is_refused_and_not_shown(name):
  with pytest.raises(ConfigError, match="upper-case") as caught:
    Salt(name)
  assert not name or name not in str(caught.value)


class TestFeatureSpec:

  def test_only_hashed_fields_are_salted(self):
    salted = SPEC.with_salt(SALT)
    assert [field.salt for field in salted.fields] == [SALT, None] and salted.salt == SALT and SPEC.salt is None
    with pytest.raises(ConfigError, match="salt is for hashed fields"):
      Field("kind", "kind", vocabulary_ids=9, salt=SALT)

  def test_all_hashed_fields_have_one_salt(self):
    with pytest.raises(ConfigError, match="all hashed fields have one salt"):
      FeatureSpec((FIELD, Field("item", "item", hash_ids=9)), Label("click"))

  def test_it_is_written_and_read_with_the_salt_named_once(self):
    salted = SPEC.with_salt(SALT.bound())
    value = salted.to_dict()
    assert value["salt"] == {"environment_variable": VARIABLE, "check": SALT.bound().check}
    assert all("salt" not in field for field in value["fields"])
    assert FeatureSpec.from_dict(value) == salted

  def test_without_a_salt_it_is_written_as_before(self):
    assert "salt" not in SPEC.to_dict() and FeatureSpec.from_dict(SPEC.to_dict()) == SPEC

  def test_its_digest_says_that_there_is_a_salt_and_not_which(self):
    digests = {SPEC.with_salt(salt).digest() for salt in (SALT, SALT.bound(), Salt("OTHER_NAME", "0" * 16))}
    assert len(digests) == 1 and SPEC.digest() not in digests

  def test_it_is_bound_to_a_known_secret(self):
    assert SPEC.bound_to("ab") == SPEC and SPEC.with_salt(SALT).bound_to(None) == SPEC.with_salt(SALT)
    assert SPEC.with_salt(SALT).bound_to("ab").salt == Salt(VARIABLE, "ab")
