"""What the containers of a run would come to only after hours, told when their pipeline is compiled."""

from __future__ import annotations

from tensorflow_metadata.proto.v0 import anomalies_pb2

from diet_tf.config.config import Config
from diet_tf.distillation.early_checks import check_stage, loaded_teacher_need, teacher_need
from diet_tf.errors import ConfigError
from diet_tf.training.memory_needs import machine_memory_bytes, require_memory
from pipelines.kubeflow.deployment import TRAINING_NODES, Deployment


def check_config(config: Config, deployment: Deployment) -> list[str]:
  """Checks the members, devices and anomalies of a config, and its tables against the memory of the containers.

  Args:
    config: config that the pipeline is made from.
    deployment: deployment, which says what the containers have.

  Returns:
    The members whose modules are not on this machine.

  Raises:
    ConfigError: no run of the config could come to its end.
  """
  config.validation.require_known(anomalies_pb2.AnomalyInfo.Type.keys(), config.features.names)
  training, plain = deployment.training_resources, deployment.resources
  if config.strategy in ("gpu", "mirrored") and not training.num_gpus:
    raise ConfigError("strategy", rule=f"{config.strategy!r} needs a GPU in {' and '.join(TRAINING_NODES)}.",
                      received="--gpus 0.", remedy="pass --gpus 1, or use strategy: auto.")
  unseen = check_stage(config.features, config.stage_settings(), limit_bytes=machine_memory_bytes(), elsewhere=True)
  if not set(config.teacher.members) & set(unseen):
    on_gpu = bool(training.num_gpus) and config.strategy != "cpu"
    for need, resources, option, gpu in (
        (teacher_need, training, "--training-memory", on_gpu), (loaded_teacher_need, plain, "--memory", False)):
      require_memory(need(config.features, config.teacher), config.features, int(resources.memory_gigabytes * 10**9),
                     on_gpu=gpu, limited_by=f"a container of {option} {resources.memory_gigabytes:g}",
                     remedy=f"raise {option}")
  return unseen
