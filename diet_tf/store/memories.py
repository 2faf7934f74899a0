"""Memories by the folder that they lie in, or by the store whose newest commit holds them."""

from __future__ import annotations

from diet_tf.log.features import FeatureSpec
from diet_tf.memory.memory import Memory, read_memory
from diet_tf.store.store import memory_folder


def load_memory(uri: str, verify: bool = True, *, spec: FeatureSpec | None = None, span: int | None = None,
                data: str | None = None) -> Memory:
  """The memory in a folder, or that of a commit of a store.

  Args:
    uri: folder of a memory, or root of a store: a local path or a URI.
    verify: whether the shards are checked against their digests.
    spec: feature spec that the memory must be of; None takes any.
    span: of a store, number of the span whose memory is meant, its newest revision; None takes the newest span.
    data: digest of the commit's content, or how it begins (`diet store log`), for an earlier revision of the span, or a
      commit that was replaced; None takes the current one.

  Raises:
    StoreError: there is no memory.
    FormatError: it is damaged, newer than this version reads, or of another feature spec.
  """
  return read_memory(memory_folder(uri, span=span, data=data), verify, spec=spec)
