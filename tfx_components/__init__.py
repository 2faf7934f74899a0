"""TFX components of DIET-TF. Names are loaded on first use, since TFX is slow to import."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "Addressing": "tfx_components.artifacts",
    "DistillTrainer": "tfx_components.distill_trainer.component",
    "DistilledMemory": "tfx_components.artifacts",
    "FidelityEvaluator": "tfx_components.fidelity_evaluator.component",
    "FidelityReport": "tfx_components.artifacts",
    "HtmlPage": "tfx_components.artifacts",
    "InfluenceScorer": "tfx_components.influence_scorer.component",
    "InfluenceScores": "tfx_components.artifacts",
    "LogGen": "tfx_components.log_gen.component",
    "MemoryAddresser": "tfx_components.memory_addresser.component",
    "MemoryCommitter": "tfx_components.memory_committer.component",
    "MemoryLoader": "tfx_components.memory_loader.component",
    "SpanValidator": "tfx_components.span_validator.component",
    "StoreCommit": "tfx_components.artifacts",
    "TeacherState": "tfx_components.artifacts",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
  if name not in _EXPORTS:
    raise AttributeError(f"module 'tfx_components' has no attribute {name!r}")
  return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
