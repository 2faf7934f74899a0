"""The stand-in for pyfarmhash gives what the C++ library gives."""

from __future__ import annotations

import importlib.util
import pathlib
import types

import pytest
import tensorflow as tf

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "scripts" / "farmhash" / "farmhash.py"

# (text, Fingerprint32, Fingerprint64) by pyfarmhash 0.3.2, compiled; one for each length class of either function.
KNOWN = [
    ("", 3696677242, 11160318154034397263),
    ("a", 1016544589, 12917804110809363939),
    ("user_id", 886157827, 13947422501065765333),
    ("video_duration", 3413121617, 4187760231024704745),
    ("a feature name of 31 characters.", 2977257361, 9315761855397433779),
    ("y" * 100, 2767122098, 17121492607157028355),
]


@pytest.fixture(scope="module")
def farmhash() -> types.ModuleType:
  spec = importlib.util.spec_from_file_location("farmhash_stand_in", SOURCE)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize(("text", "expected_32", "expected_64"), KNOWN)
def test_known_fingerprints(farmhash: types.ModuleType, text: str, expected_32: int, expected_64: int):
  assert farmhash.fingerprint32(text) == expected_32
  assert farmhash.fingerprint64(text) == expected_64


def test_bytes_are_taken_as_they_are(farmhash: types.ModuleType):
  assert farmhash.fingerprint32("é".encode()) == farmhash.fingerprint32("é")
  assert farmhash.fingerprint64("é".encode()) == farmhash.fingerprint64("é")


def test_same_hash_as_tensorflow_buckets(farmhash: types.ModuleType):
  texts = ["", "abc", "x" * 65]
  buckets = tf.strings.to_hash_bucket_fast(texts, 1 << 40).numpy()
  assert [farmhash.fingerprint64(text) % (1 << 40) for text in texts] == buckets.tolist()
