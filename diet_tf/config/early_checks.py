"""What can be known of a whole config before its log is read, on the machine that runs it."""

from __future__ import annotations

from diet_tf.config.config import Config
from diet_tf.distillation.early_checks import PROCESS_BYTES, check_members, check_stage, teacher_need
from diet_tf.training.devices import make_strategy
from diet_tf.training.memory_needs import (
  MemoryNeed,
  learner_need,
  machine_memory_bytes,
  require_memory,
  trains_on_gpu,
)


def check_config(config: Config, *, distils: bool = True, evaluates: bool = True) -> None:
  """Checks the devices, the secret, the members and the memory that a run needs.

  Args:
    config: config of the run.
    distils: whether spans are distilled.
    evaluates: whether the panel is trained.

  Raises:
    ConfigError: something is not there, a member does not take the fields, or the tables do not fit into memory.
  """
  make_strategy(config.strategy)
  if config.features.salt is not None:
    config.features.salt.bound()
  limit, on_gpu = machine_memory_bytes(), trains_on_gpu(config.strategy)
  if distils:
    check_stage(config.features, config.stage_settings(), limit_bytes=limit)
    require_memory(teacher_need(config.features, config.teacher), config.features, limit, on_gpu=on_gpu)
  if evaluates:
    _check_panel(config, limit, on_gpu)


def _check_panel(config: Config, limit: int | None, on_gpu: bool) -> None:
  check_members("panel.members", config.panel.members, config.features, limit_bytes=limit)
  needs = [need for member in config.panel.members if (need := learner_need(member, config.features)) is not None]
  teacher = teacher_need(config.features, config.teacher)
  if not needs or teacher is None:
    return
  largest = max(needs, key=lambda need: need.device_bytes)
  # The teacher labels the random rows: without what scoring a span takes, it is less than half of that.
  need = MemoryNeed(f"{largest.subject}, beside the teacher,", largest.device_bytes + teacher.device_bytes // 2,
                    PROCESS_BYTES)
  require_memory(need, config.features, limit, on_gpu=on_gpu)
