"""The panel that the benchmark judges fidelity on: every family, and the variants that an engineer would compare."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.fidelity.trained import PanelMember
from diet_tf.errors import ConfigError
from diet_tf.log.features import FeatureSpec
from diet_tf.models import PANEL, parse_member

# Fields that stand for single users or things have more ids than this, or a K of their own.
LEAST_ENTITY_IDS = 10_000
# Wider and deeper members, of about 5 and 25 times a proxy's FLOPs a row where there are some 36 fields.
LARGE_MEMBERS = ("dnn(hidden_units=256-128-64)", "deepfm(hidden_units=256-128-64)", "dcn_v2(hidden_units=256-128)",
                 "dnn(embedding_dim=16,hidden_units=512-256-128)", "dnn(embedding_dim=32,hidden_units=512-256)",
                 "dcn_v2(embedding_dim=16,hidden_units=512-256)")
# Members are grouped by their FLOPs a row, in units of a proxy's.
COST_CLASSES = (1, 5, 25)


def entity_fields(spec: FeatureSpec) -> tuple[str, ...]:
  """The fields that name single users and things: those with a K of their own, or else with very many ids."""
  own = tuple(field.name for field in spec.fields if field.ids_per_slot is not None)
  return own or tuple(field.name for field in spec.fields if field.num_ids > LEAST_ENTITY_IDS)


def matching_fields(spec: FeatureSpec, patterns: Sequence[str]) -> tuple[str, ...]:
  """The fields whose names match one of the shell patterns.

  Raises:
    ConfigError: no field matches a pattern.
  """
  for pattern in patterns:
    if not fnmatch.filter(spec.names, pattern):
      raise ConfigError("--feature-group", rule="each pattern matches at least one field.", received=repr(pattern),
                        remedy=f"the fields are {', '.join(spec.names)}.")
  return tuple(name for name in spec.names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))


def make_panel(spec: FeatureSpec, proxies: Sequence[str], feature_group: Sequence[str], *,
               with_large: bool = False) -> tuple[PanelMember, ...]:
  """All architectures, then their variants: embedding size, depth, dropout, and fields left out; then the large ones.

  Args:
    spec: feature spec, which names the fields.
    proxies: names of the architectures of the inner loop.
    feature_group: names of the fields that some variants are built without, as if the group were new; may be empty.
    with_large: whether the wider and deeper members join, `LARGE_MEMBERS`.
  """
  used = {parse_member(name).model for name in proxies}
  variants = ["dnn(embedding_dim=4)", "dnn(embedding_dim=16)", "fm(embedding_dim=16)", "dnn(hidden_units=64-)",
              "dnn(hidden_units=64-64-32)", "dcn_v2(num_cross_layers=3)", "dnn(dropout=0.3)"]
  entities = entity_fields(spec)
  for fields in (entities, tuple(feature_group)):
    if 0 < len(fields) < len(spec.names):
      variants += [f"{family}(without={'+'.join(fields)})" for family in ("lr", "dnn")]
  members = [PanelMember(name, name in used, False) for name in PANEL]
  members += [PanelMember(name, parse_member(name).model in used, True) for name in dict.fromkeys(variants)]
  if with_large:
    members += [PanelMember(name, parse_member(name).model in used, True, large=True) for name in LARGE_MEMBERS]
  return tuple(members)


def with_cost_classes(members: Sequence[PanelMember], flops_per_row: Mapping[str, float],
                      proxies: Sequence[str]) -> tuple[PanelMember, ...]:
  """The members with their class of cost, the one of `COST_CLASSES` that is nearest in ratio.

  Args:
    members: members of the panel.
    flops_per_row: floating-point operations of training on a row of the log, by member's name.
    proxies: names of the architectures of the inner loop; the mean over those that are members is the unit. If none is
      a member, no class is known.
  """
  known = [flops_per_row[name] for name in proxies if name in flops_per_row]
  if not known:
    return tuple(members)
  unit = float(np.mean(known))
  return tuple(dataclasses.replace(member, cost_class=_cost_class(flops_per_row[member.name] / unit))
               for member in members)


def _cost_class(ratio: float) -> int:
  return min(COST_CLASSES, key=lambda one: abs(math.log(max(ratio, 1e-9) / one)))


def short_name(name: str, spec: FeatureSpec, feature_group: Sequence[str]) -> str:
  """A member's name for tables: long lists of fields left out are named by what they are."""
  for fields, words in ((entity_fields(spec), "ids"), (tuple(feature_group), "group")):
    if fields:
      name = name.replace(f"without={'+'.join(fields)}", f"without {words}")
  return name
