"""DIET-TF: streaming dataset distillation for recommender models.

The names below are loaded on first use, so that a command line that only reads a manifest does not import TensorFlow.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

# TensorFlow Recommenders builds on tf-keras; TensorFlow reads this flag once, when it is first imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.1.0"

_EXPORTS = {
    "FeatureSpec": "diet_tf.log.features",
    "Field": "diet_tf.log.features",
    "FidelityCallback": "diet_tf.fidelity.callback",
    "Label": "diet_tf.log.features",
    "LogExamples": "diet_tf.training.log_examples",
    "Memory": "diet_tf.memory.memory",
    "Recipe": "diet_tf.memory.recipe",
    "load_memory": "diet_tf.store.memories",
    "RankingModel": "diet_tf.models",
    "BagEmbedding": "diet_tf.models",
    "BagModel": "diet_tf.models.bag_model",
    "build_model": "diet_tf.models",
    "Slots": "diet_tf.memory.slots",
    "Tuning": "diet_tf.memory.tuning",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
  if name not in _EXPORTS:
    raise AttributeError(f"module 'diet_tf' has no attribute {name!r}")
  return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
