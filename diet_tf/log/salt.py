"""The secret that hashed ids can be keyed with: read from the environment, never written anywhere.

An unkeyed hash hides nothing: who knows a user's name computes the id. With a secret, the fingerprint of a text is
BLAKE2b keyed by it, and only its holder can tell which id a value has. The key is stretched by scrypt, so that guesses
at a weak secret are slow, whether they are tried on ids or on the check value.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Iterable

from diet_tf.errors import ConfigError

MIN_SECRET_BYTES = 16

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
# What a key is used for is part of each hash: a check value is no fingerprint, and a row's id none of a text.
FOR_TEXTS, FOR_ROWS, _FOR_CHECK = b"diet_tf text", b"diet_tf row", b"diet_tf check"
_SCRYPT_COST = 1 << 14


@dataclasses.dataclass(frozen=True)
class Salt:
  """Which secret hashed ids are keyed with; the secret itself is no part of it.

  Attributes:
    environment_variable: name of the variable that holds the secret, in each process that encodes rows.
    check: check value, 16 hex digits, which tells the secret from another one and reveals nothing else of it; None
      before the first span is encoded.
  """

  environment_variable: str
  check: str | None = None

  def __post_init__(self) -> None:
    if not isinstance(self.environment_variable, str) or not _VARIABLE.fullmatch(self.environment_variable):
      # Not shown: it may be the secret itself.
      raise ConfigError("privacy.salt_environment_variable",
                        rule="it is the name of an environment variable: upper-case letters, digits and '_'.",
                        received=f"a text of {len(str(self.environment_variable))} characters.",
                        remedy="name the variable here, like DIET_TF_SALT, and put the secret into it.")
    if self.check is not None and not isinstance(self.check, str):
      raise ConfigError("salt", rule="its check value is a text.", received=repr(self.check),
                        remedy="take it from the manifest of a memory.")

  def key(self) -> bytes:
    """The key derived from the secret, 32 bytes.

    Raises:
      ConfigError: the variable is not set, its secret is too short, or it is not the secret that `check` is of.
    """
    key = _derived(self._secret())
    if self.check is not None and check_value(key) != self.check:
      raise ConfigError(f"environment variable {self.environment_variable}",
                        rule=f"it holds the secret that ids were hashed with so far, of the check value {self.check}.",
                        received=f"a secret of the check value {check_value(key)}.",
                        remedy="set it to the secret of this store; another secret needs a new store.")
    return key

  def bound(self) -> Salt:
    """The salt with the check value of the secret in the environment.

    Raises:
      ConfigError: as `key` does.
    """
    return dataclasses.replace(self, check=check_value(self.key()))

  def _secret(self) -> bytes:
    # Files and Kubernetes secrets are easily made with a line break at their end.
    secret = os.environb.get(self.environment_variable.encode(), b"").strip()
    if len(secret) < MIN_SECRET_BYTES:
      raise ConfigError(f"environment variable {self.environment_variable}",
                        rule=f"it holds the secret that ids are hashed with, of at least {MIN_SECRET_BYTES} bytes, in "
                        "each process that encodes rows.",
                        received=f"{len(secret)} bytes." if secret else "nothing.",
                        remedy="export it from where secrets are kept; `openssl rand -hex 32` makes a new one.")
    return secret


@functools.lru_cache(maxsize=4)
def _derived(secret: bytes) -> bytes:
  return hashlib.scrypt(secret, salt=b"diet_tf", n=_SCRYPT_COST, r=8, p=1, dklen=32)


def check_value(key: bytes) -> str:
  """What tells a key from another one, 16 hex digits."""
  return hashlib.blake2b(b"", key=key, digest_size=8, person=_FOR_CHECK).hexdigest()


def keyed_hashes(contents: Iterable[bytes], key: bytes, purpose: bytes) -> bytes:
  """BLAKE2b of each content, keyed, 8 bytes each, one after the other.

  Args:
    contents: the bytes of each thing that is hashed.
    key: key of 32 bytes, as `Salt.key` gives it.
    purpose: `FOR_TEXTS` or `FOR_ROWS`; hashes for different purposes have nothing to do with each other.
  """
  start = hashlib.blake2b(key=key, digest_size=8, person=purpose)
  digests = bytearray()
  for content in contents:
    one = start.copy()
    one.update(content)
    digests += one.digest()
  return bytes(digests)
