"""TFX components of DIET-TF. Names are loaded on first use, since TFX is slow to import."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "DistilledMemory": "tfx_components.artifacts",
    "LogGen": "tfx_components.log_gen.component",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
  if name not in _EXPORTS:
    raise AttributeError(f"module 'tfx_components' has no attribute {name!r}")
  return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
