"""LogGen: one span of a raw log as encoded TFX Examples. Names are loaded on first use, since TFX is slow to import."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {"LogGen": "tfx_components.log_gen.component", "generate_examples": "tfx_components.log_gen.generate",
            "available_spans": "tfx_components.log_gen.plan"}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
  if name not in _EXPORTS:
    raise AttributeError(f"module 'tfx_components.log_gen' has no attribute {name!r}")
  return getattr(importlib.import_module(_EXPORTS[name]), name)
