"""What trainings hold in memory, told beforehand, and what this machine has: too large a table is refused by name.

The tables of a model have a row for each id of each field, and an optimizer two numbers for each of theirs. Nothing
else of a stage grows with the id spaces, so that an estimate of them is one of what is needed.
"""

from __future__ import annotations

import dataclasses
import os
import re

import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.models.member_checks import num_weights

BYTES_PER_NUMBER = 4
# A training of the panel holds a model, the two moments of two optimizers, and new weights when it is set back.
LEARNER_COPIES = 6
# Groups of processes say "max", or a number of pages that no machine has, where nothing bounds them.
_UNBOUNDED_BYTES = 1 << 60


@dataclasses.dataclass(frozen=True)
class MemoryNeed:
  """What a part of a run holds in memory at its peak.

  Attributes:
    subject: what holds it, as in "training the teacher (dnn, deepfm)".
    device_bytes: bytes that lie where models are trained, on a GPU where there is one.
    host_bytes: bytes that lie in the machine's own memory in any case.
  """

  subject: str
  device_bytes: int
  host_bytes: int = 0


def learner_need(member: str, spec: FeatureSpec) -> MemoryNeed | None:
  """What one training of a panel member holds; None for a model whose weights cannot be counted."""
  count = num_weights(member, spec)
  if count is None:
    return None
  return MemoryNeed(f"training {member}", LEARNER_COPIES * BYTES_PER_NUMBER * count)


def require_memory(need: MemoryNeed | None, spec: FeatureSpec, limit_bytes: int | None, *, on_gpu: bool = False,
                   limited_by: str = "this machine", remedy: str = "run on a machine with more") -> None:
  """Refuses what needs more memory than there is.

  Args:
    need: what is needed; None, where it is not known, checks nothing.
    spec: feature spec, whose largest field the message names.
    limit_bytes: the memory that there is, as of `machine_memory_bytes`; None checks nothing.
    on_gpu: whether models are trained on a GPU, whose memory is not counted here.
    limited_by: whose memory it is, in messages.
    remedy: how there can be more of it, in messages.

  Raises:
    ConfigError: it is not enough.
  """
  if need is None or limit_bytes is None:
    return
  needed = need.host_bytes + (0 if on_gpu else need.device_bytes)
  if needed <= limit_bytes:
    return
  sizes = dict(zip(spec.names, spec.num_ids, strict=True))
  largest = max(sizes, key=lambda name: sizes[name])
  bytes_per_id = needed / sum(sizes.values())
  fitting = int(limit_bytes / bytes_per_id) - (sum(sizes.values()) - sizes[largest])
  smaller = f"give the field at most {fitting:,} ids" if fitting > 1 else "give the fields fewer ids"
  raise ConfigError(
      f"field {largest!r}", rule=f"the tables of all ids fit into the memory of {limited_by}.",
      received=f"{need.subject} takes about {gigabytes(needed)} for {sum(sizes.values()):,} ids, {sizes[largest]:,} of "
      f"them of this field; {limited_by} has {gigabytes(limit_bytes)}.",
      remedy=f"{smaller}, use a smaller embedding_dim or fewer members, as in 'dnn(embedding_dim=4)', or {remedy}.")


def gigabytes(num_bytes: int) -> str:
  """A number of bytes in 10^9 bytes, for people."""
  return f"{num_bytes / 1e9:,.1f} GB"


def trains_on_gpu(strategy: str) -> bool:
  """Whether models are trained on a GPU under the strategy of that name."""
  return strategy != "cpu" and bool(tf.config.list_physical_devices("GPU"))


def machine_memory_bytes(root: str = "/") -> int | None:
  """The memory that this process may take: that of the machine, or of the smallest group of processes that it is in.

  Containers, and services under systemd, are such groups (`cgroup`, of version 1 or 2).

  Args:
    root: folder that `proc` and `sys` are in.

  Returns:
    Bytes; None where the system does not say.
  """
  total = re.search(r"^MemTotal:\s+(\d+) kB", _read(os.path.join(root, "proc/meminfo")), re.MULTILINE)
  limits = [int(total[1]) * 1024] if total else []
  for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
    _, controllers, path = line.split(":", 2)
    if not controllers:
      limits += _group_limits(os.path.join(root, "sys/fs/cgroup"), path, "memory.max")
    elif "memory" in controllers.split(","):
      limits += _group_limits(os.path.join(root, "sys/fs/cgroup/memory"), path, "memory.limit_in_bytes")
  return min((limit for limit in limits if 0 < limit < _UNBOUNDED_BYTES), default=None)


def _group_limits(mount: str, path: str, name: str) -> list[int]:
  """The limits of a group and those around it; of a path from outside the container, only the last is there."""
  parts = [part for part in path.split("/") if part]
  texts = [_read(os.path.join(mount, *parts[:size], name)).strip() for size in range(len(parts), -1, -1)]
  return [int(text) for text in texts if text.isdecimal()]


def _read(path: str) -> str:
  try:
    with open(path, encoding="utf-8", errors="replace") as file:
      return file.read()
  except OSError:
    return ""
