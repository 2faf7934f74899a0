from __future__ import annotations

import pytest
import tensorflow as tf

from diet_tf.errors import ConfigError
from diet_tf.training import devices


def _with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
  gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{index}", "GPU") for index in range(count)]
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)


def test_cpu():
  strategy = devices.make_strategy("cpu")
  assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
  assert "CPU" in strategy.extended.worker_devices[0]


def test_auto_without_a_gpu_is_the_default_strategy(monkeypatch: pytest.MonkeyPatch):
  _with_gpus(monkeypatch, 0)
  assert devices.make_strategy("auto") is tf.distribute.get_strategy()


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(tf.distribute, "OneDeviceStrategy", lambda device: ("one", device))
  monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "mirrored")
  _with_gpus(monkeypatch, 1)
  assert devices.make_strategy() == ("one", "/GPU:0")
  assert devices.make_strategy("mirrored") == "mirrored"
  _with_gpus(monkeypatch, 2)
  assert devices.make_strategy() == "mirrored"
  assert devices.make_strategy("gpu") == ("one", "/GPU:0")


@pytest.mark.parametrize("name", ["gpu", "mirrored", "tpu"])
def test_refused(monkeypatch: pytest.MonkeyPatch, name: str):
  _with_gpus(monkeypatch, 0)
  with pytest.raises(ConfigError, match="strategy"):
    devices.make_strategy(name)
