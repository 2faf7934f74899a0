"""The panel: click models over one weighted-bag embedding layer, by name, and a user's own Keras models.

Importing this package is cheap: TensorFlow is loaded when one of the names below is first used. Modules that need no
TensorFlow, such as `diet_tf.models.parameter_groups`, can therefore be imported by light ones.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from diet_tf.models.bag_embedding import BagEmbedding
  from diet_tf.models.parameter_groups import PARAMETER_GROUPS, parameter_group
  from diet_tf.models.ranking_model import ModelSettings, RankingModel
  from diet_tf.models.registry import PANEL, Member, build_model, parse_member
  from diet_tf.models.tfrs_ranking import TfrsRanking

_HOMES = {"BagEmbedding": "bag_embedding", "PARAMETER_GROUPS": "parameter_groups",
          "parameter_group": "parameter_groups", "ModelSettings": "ranking_model", "RankingModel": "ranking_model",
          "PANEL": "registry", "Member": "registry", "build_model": "registry", "parse_member": "registry",
          "TfrsRanking": "tfrs_ranking"}

__all__ = ["PANEL", "PARAMETER_GROUPS", "BagEmbedding", "Member", "ModelSettings", "RankingModel", "TfrsRanking",
           "build_model", "parameter_group", "parse_member"]


def __getattr__(name: str) -> object:
  if name not in _HOMES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
